"""docs/decisions.md says what the code does."""

import decision_page

from controller.decision.model import REASONS, Kind, Reason


def test_the_drawn_parts_of_the_page_are_as_the_code_has_them() -> None:
    text = decision_page.PAGE.read_text(encoding="utf-8")
    hint = "draw them again: PYTHONPATH=tests python -m decision_page"
    assert decision_page.drawn(text) == text, hint


def test_every_reason_and_every_kind_can_come_about() -> None:
    decided = [decision for _, decision in decision_page.decisions()]
    assert {decision.reason for decision in decided} == set(Reason) == set(REASONS)
    assert {decision.kind for decision in decided} == set(Kind)
