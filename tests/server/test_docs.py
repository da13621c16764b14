"""The documents say what the code does: the reference is written from it, and links lead somewhere."""

import re
from pathlib import Path

import pytest
import reference_page

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_reference_is_as_the_code_has_it() -> None:
    hint = "write it again: PYTHONPATH=tests python -m reference_page"
    assert reference_page.page() == reference_page.PAGE.read_text(encoding="utf-8"), hint


def test_nothing_in_the_reference_lacks_its_meaning() -> None:
    rows = [line for line in reference_page.page().splitlines() if line.startswith("| `")]
    assert len(rows) > 120
    allowed = {"provider", "action", "kind", "url", "to"}
    bare = [row for row in rows if re.search(r"\|\s*\|$", row)]
    assert [row for row in bare if re.split(r"[`]", row)[1] not in allowed] == []


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_every_link_within_the_docs_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), target
