"""The first cause of what stops a feature: a pause, or a percentage that a person set to 0."""

from dataclasses import replace

from controller.contract import FLAG_NAMES, Flags, format_flags
from controller.decision.model import Cause, Reason, State

CONTROLLER = "controller"
"""The actor where this daemon decided."""
OUTSIDE = "outside"
"""The actor where somebody wrote a flag without this product."""


def with_causes(state: State, before: Flags, flags: Flags, cause: Cause) -> State:
    """Keep the first cause of each stop that these flags hold, and none of a stop that is over.

    `cause` stands for the change from the flags `before`. A pause that is paused again keeps its cause.
    """
    paused_by = _pause_cause(state, before, flags, cause)
    stopped_by = _stop_cause(state, before, flags, cause)
    if paused_by is state.paused_by and stopped_by is state.stopped_by:
        return state
    return replace(state, paused_by=paused_by, stopped_by=stopped_by)


def with_outside_causes(state: State, before: Flags, flags: Flags, now: float) -> State:
    """Keep the causes of what was changed without this product since the flags were `before`."""
    if before == flags:
        return state
    detail = f"changed outside of this product: {differences_text(before, flags)}"
    return with_causes(state, before, flags, Cause(Reason.MANUAL, OUTSIDE, now, detail))


def _pause_cause(state: State, before: Flags, flags: Flags, cause: Cause) -> Cause | None:
    if not flags.paused:
        return None
    return state.paused_by if _known(before, "paused") and before.paused else cause


def _stop_cause(state: State, before: Flags, flags: Flags, cause: Cause) -> Cause | None:
    """Stop where a percentage became 0; one above it, a resume and an enable end that.

    A percentage that is missing or cannot be read also reads as 0, and nobody set that.
    """
    if not _known(flags, "rollout_percent"):
        return state.stopped_by
    resumed = before.paused and not flags.paused
    enabled = flags.enabled and not before.enabled
    if flags.rollout_percent > 0 or resumed or enabled:
        return None
    return cause if before.rollout_percent > 0 else state.stopped_by


def _known(flags: Flags, name: str) -> bool:
    """Whether a flag holds what somebody wrote, and not what stands in for it."""
    return name not in flags.missing and name not in flags.unreadable


def differences_text(before: Flags, after: Flags) -> str:
    """Write what differs between two readings of the flags, as in `paused false -> true`, or nothing."""
    pairs = zip(FLAG_NAMES, _texts(before), _texts(after), strict=True)
    return ", ".join(f"{name} {old} -> {new}" for name, old, new in pairs if old != new)


def _texts(flags: Flags) -> list[str]:
    texts = zip(FLAG_NAMES, format_flags(flags), strict=True)
    return ["missing" if name in flags.missing else text for name, text in texts]


def cause_text(cause: Cause) -> str:
    """Write who stopped it and why, the same at every tick."""
    return f"{cause.actor} ({cause.reason}): {cause.note or cause.detail}".rstrip(".: ")
