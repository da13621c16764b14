"""What became of a course of decisions: how far it came, when, why, and at what cost."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from controller.decision.model import Decision, Kind, Reason, Snapshot


@dataclass(slots=True)
class RampOutcome:
    """Adds up a course, tick by tick; times are unix seconds."""

    began_at: float = 0.0
    ended_at: float = 0.0
    ticks: int = 0
    percent: float = 0.0
    last_reason: str = ""
    complete_at: float | None = None
    paused_at: float | None = None
    pause_reason: str = ""
    steps_up: int = 0
    steps_back: int = 0
    sends: float = 0.0
    failed: float = 0.0
    """Sends and failed sends while anybody was in: until the pause, if there was one."""
    holds: Counter[str] = field(default_factory=Counter)

    def add(self, snapshot: Snapshot, decision: Decision) -> None:
        """Add one tick."""
        if not self.ticks:
            self.began_at, self.percent = snapshot.now, snapshot.flags.rollout_percent
        self.ticks += 1
        self.ended_at = snapshot.now
        if not snapshot.flags.paused:
            for window in snapshot.evidence.windows:
                self.sends += window.sends
                self.failed += min(window.errors, window.sends)
        if decision.kind is Kind.HOLD:
            self.holds[decision.reason] += 1
            return
        self.steps_up += decision.kind is Kind.STEP_UP
        self.steps_back += decision.kind is Kind.STEP_BACK
        self.percent = decision.flags.rollout_percent
        if decision.kind is Kind.PAUSE and self.paused_at is None:
            self.paused_at, self.pause_reason = snapshot.now, decision.reason.value
        last = decision.flags.rollout_percent >= snapshot.feature.steps[-1]
        if last and self.complete_at is None:
            self.complete_at = snapshot.now

    @property
    def completed(self) -> bool:
        """Whether the end of the plan was reached, and not left again by a pause."""
        return self.complete_at is not None and self.paused_at is None

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON values; lengths are seconds."""
        return {
            "ticks": self.ticks,
            "length_s": self.ended_at - self.began_at,
            "percent": self.percent,
            "completed": self.completed,
            "complete_after_s": _after(self.complete_at, self.began_at),
            "paused_after_s": _after(self.paused_at, self.began_at),
            "pause_reason": self.pause_reason or None,
            "steps_up": self.steps_up,
            "steps_back": self.steps_back,
            "sends": self.sends,
            "failed_sends": self.failed,
            "holds": dict(self.holds.most_common()),
        }


def _after(at: float | None, began_at: float) -> float | None:
    return None if at is None else at - began_at


def outcome_of(decided: Iterable[tuple[Snapshot, Decision]], *, until_settled: bool = False) -> RampOutcome:
    """Add up a course; with `until_settled` only until it is paused or complete."""
    outcome = RampOutcome()
    for snapshot, decision in decided:
        outcome.add(snapshot, decision)
        if until_settled and (outcome.paused_at is not None or decision.reason is Reason.COMPLETE):
            break
    return outcome
