"""docs/security.md: each promise names the tests that show it, and they are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
PROMISES = re.split(r"\n- ", PAGE.partition("## Promised")[2].partition("\n## ")[0])[1:]


@pytest.mark.parametrize("promise", PROMISES, ids=lambda text: text[:40])
def test_each_promise_names_tests_that_exist(promise: str) -> None:
    named = re.findall(r"tests/[\w/]+\.py", promise)
    assert named
    assert [one for one in named if not (ROOT / one).is_file()] == []


def test_there_are_promises() -> None:
    assert len(PROMISES) > 15
