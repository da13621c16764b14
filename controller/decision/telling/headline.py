"""Where a feature is, in a word and in one line: what status, page, API and notices begin with."""

from enum import StrEnum

from controller.contract import Flags, format_percent
from controller.decision.feature import RolloutFeature
from controller.decision.model import METRICS_PROBLEMS, Kind, Reason
from controller.decision.telling.sentences import audience_text, paused_text


class Stage(StrEnum):
    """Where a feature is; `WORST_FIRST` is the order in which a person wants to see them."""

    UNWATCHED = "unwatched"
    UNREADABLE = "unreadable"
    PAUSED = "paused"
    WAITS_FOR_PERSON = "waits_for_person"
    HELD = "held"
    STOPPED = "stopped"
    RAMPING = "ramping"
    COMPLETE = "complete"
    DISABLED = "disabled"
    NOT_SET_UP = "not_set_up"


WORST_FIRST = tuple(Stage)
HELD_BY = METRICS_PROBLEMS | {
    Reason.ALERT_FIRING,
    Reason.WORSE_THAN_REFERENCE,
    Reason.GATE_NOT_CONVERGED,
    Reason.NO_TRAFFIC,
    Reason.FROZEN,
    Reason.CONFLICT,
    Reason.NOT_LEADER,
}
"""Holds for a reason that is not the feature's own progress."""


def stage_of(feature: RolloutFeature, flags: Flags, *, stopped: bool, reason: str) -> Stage:
    """Return where a feature is; `reason` is that of its newest decision, empty before the first.

    The flags come first: they are what the gate obeys now, and a decision may be older.
    """
    complete = flags.rollout_percent >= feature.steps[-1]
    stages = (
        (flags.missing and not reason, Stage.NOT_SET_UP),
        (flags.missing or flags.unreadable, Stage.UNREADABLE),
        (not flags.enabled, Stage.DISABLED),
        (flags.paused, Stage.PAUSED),
        (stopped and flags.rollout_percent == 0, Stage.STOPPED),
        (reason == Reason.AWAITING_APPROVAL, Stage.WAITS_FOR_PERSON),
        (reason in METRICS_PROBLEMS, Stage.HELD),
        (complete, Stage.COMPLETE),
        (reason in HELD_BY, Stage.HELD),
    )
    return next((stage for holds, stage in stages if holds), Stage.RAMPING)


def headline(feature: RolloutFeature, flags: Flags, stage: Stage, kind: str) -> str:
    """Say in one line who is in; `kind` is that of the newest decision."""
    end = feature.steps[-1]
    at = audience_text(flags.rollout_percent, internal_only=flags.internal_only)
    whole = {
        Stage.UNWATCHED: f"Unwatched at {at}: in no configuration, so nobody pauses it",
        Stage.NOT_SET_UP: "Not set up yet: nobody is in",
        Stage.UNREADABLE: "A flag cannot be read, so the gate is closed: nobody is in",
        Stage.DISABLED: f"Disabled: nobody is in ({at} when enabled)",
        Stage.PAUSED: paused_text(flags),
        Stage.STOPPED: "Stopped: a person set it to 0 %, nobody is in",
        Stage.WAITS_FOR_PERSON: f"Waits for a person at {at}",
        Stage.HELD: f"Held at {at}",
        Stage.COMPLETE: f"Complete: {_users_in(flags)}",
    }
    if stage is Stage.COMPLETE and flags.rollout_percent > end:
        return f"Above its plan, which ends at {format_percent(end)} %: {_users_in(flags)}"
    stepped = "Stepped up to" if kind == Kind.STEP_UP else "Ramping at"
    return whole.get(stage, f"{stepped} {at}")


def _users_in(flags: Flags) -> str:
    if flags.internal_only:
        return f"{audience_text(flags.rollout_percent, internal_only=True)}; other mail is not in"
    return f"{format_percent(flags.rollout_percent)} % of the users are in"
