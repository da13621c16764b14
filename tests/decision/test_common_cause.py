"""A breach says whether the reference is breached too."""

import pytest
from worlds.snapshots import at_step, record, window

from controller.decision.decide import decide
from controller.decision.model import Kind, Reason, Reference
from controller.decision.record import verify

FAILING = {"windows": (window(150, 40),) * 3}
BREACHED = Reference("google", 0.01, 450, 120)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (BREACHED, "google is breached too (120 of 450 sends failed): a common cause is likely."),
        (Reference("google", 0.01, 450, 3), "Only this feature: of google 3 of 450 sends failed."),
        (Reference("google", 0.01, 12, 0), "cannot be told: google had 12 sends."),
    ],
    ids=["common cause", "only this", "too few"],
)
def test_a_breach_is_told_beside_the_reference_and_verified(other: Reference, said: str) -> None:
    snapshot = at_step(evidence=FAILING, reference=other)
    decision = decide(snapshot)
    assert (decision.kind, decision.reason) == (Kind.PAUSE, Reason.SLO_ERROR_RATE)
    assert said in decision.detail
    assert verify(record(snapshot, decision)) == []


def test_an_outage_is_told_beside_the_reference_too() -> None:
    outage = decide(at_step(evidence={"windows": (window(150, 140),)}, reference=BREACHED))
    assert outage.reason is Reason.OUTAGE
    assert "a common cause is likely" in outage.detail


def test_the_reference_decides_nothing() -> None:
    assert decide(at_step(reference=BREACHED)).flags == decide(at_step()).flags


def test_without_a_reference_nothing_is_said_of_one() -> None:
    assert "google" not in decide(at_step(evidence=FAILING)).detail
