"""docs/decisions.md says what the code does."""

from pages import decisions

from controller.decision.model import Kind, Reason
from controller.decision.telling.reasons import REASONS


def test_the_drawn_parts_of_the_page_are_as_the_code_has_them() -> None:
    text = decisions.PAGE.read_text(encoding="utf-8")
    hint = "draw them again: PYTHONPATH=tests python -m pages.decisions"
    assert decisions.drawn(text) == text, hint


def test_every_reason_and_every_kind_can_come_about() -> None:
    decided = [decision for _, decision in decisions.decisions()]
    assert {decision.reason for decision in decided} == set(Reason) == set(REASONS)
    assert {decision.kind for decision in decided} == set(Kind)
