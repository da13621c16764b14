"""Records that were written before can still be explained, and verified by what they decided."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from controller.cli import rollout
from controller.decision.record import verify

FILE = Path(__file__).parent / "first_form.jsonl"
RECORDS: list[dict[str, Any]] = [json.loads(line) for line in FILE.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("record", RECORDS, ids=[f"{one['kind']}-{one['reason']}" for one in RECORDS])
def test_a_record_of_the_first_form_is_verified(record: dict[str, Any]) -> None:
    assert "form" not in record
    assert verify(record) == []


@pytest.mark.parametrize(("field", "other"), [("kind", "hold"), ("reason", "paused"), ("more_s", 1.0)])
def test_a_record_of_the_first_form_that_was_changed_is_named(field: str, other: object) -> None:
    step_up = next(record for record in RECORDS if record["kind"] == "step_up")
    assert verify(step_up | {field: other}) != []


def test_a_record_of_the_first_form_is_explained(tmp_path: Path) -> None:
    paused = next(record for record in RECORDS if record["kind"] == "pause")
    arguments = ["explain", paused["id"], "--journal", str(FILE), "--verify"]
    result = CliRunner().invoke(rollout, arguments, env={"ROLLOUT_REDIS_URL": "redis://127.0.0.1:1/0"})
    assert result.exit_code == 0, result.output
    assert paused["detail"] in " ".join(result.stdout.split())
