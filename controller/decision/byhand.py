"""What a person does, as a decision: pause, resume, set, open, close, enable, disable, approve."""

from dataclasses import replace

from controller.contract import Flags, format_percent
from controller.decision.causes import cause_text, differences_text, with_causes, with_outside_causes
from controller.decision.feature import RolloutFeature
from controller.decision.model import Cause, Decision, Kind, Reason, State
from controller.decision.ramp import same_flags, with_flags

BY_HAND = (
    Kind.PAUSE,
    Kind.RESUME,
    Kind.SET,
    Kind.OPEN,
    Kind.CLOSE,
    Kind.ENABLE,
    Kind.DISABLE,
    Kind.APPROVE,
)
_BEGINS_AGAIN = frozenset({Kind.RESUME, Kind.ENABLE})
"""What ends a stop at 0 %, beside a percentage above it."""


def by_hand(
    kind: Kind,
    flags: Flags,
    feature: RolloutFeature,
    state: State,
    now: float,
    *,
    percent: float | None = None,
    actor: str = "",
    note: str = "",
) -> Decision:
    """Decide what a person asked for. A person is not clamped to the plan, only to 0..100.

    `actor` and `note` are the person's name and reason.

    Raises ValueError where it cannot be done: a percentage that is missing, out of range or finer than
    0.001 %, or an approval that no step waits for.
    """
    if kind is Kind.APPROVE:
        return _approved(flags, feature, state, percent)
    after = _flags_after(kind, flags, percent)
    seen = with_outside_causes(with_flags(state, feature, flags, now), state.flags, flags, now)
    cause = Cause(Reason.MANUAL, actor, now, differences_text(flags, after), note)
    left = with_causes(with_flags(seen, feature, after, now), flags, after, cause)
    left = _with_stop(kind, left, cause)
    return Decision(
        kind=kind,
        reason=Reason.MANUAL,
        flags=after,
        state=left,
        detail=_detail(kind, seen, flags, left) + _spent(feature, state, left),
    )


def _with_stop(kind: Kind, left: State, cause: Cause) -> State:
    """Stop at a 0 % that a person set, also where it was 0 %; who resumes or enables wants a ramp."""
    if kind is Kind.SET and left.flags.rollout_percent == 0:
        return replace(left, stopped_by=left.stopped_by or cause)
    return replace(left, stopped_by=None) if kind in _BEGINS_AGAIN else left


def external_change(state: State, flags: Flags) -> Decision | None:
    """Notice that the flags are not as this product left them; None when they are, or were never seen.

    The state is left as it was: the decision that follows starts again what the change asks for.
    """
    if not state.config_hash or same_flags(state.flags, flags):
        return None
    return Decision(
        kind=Kind.EXTERNAL_CHANGE,
        reason=Reason.MANUAL,
        flags=flags,
        state=state,
        detail=f"Changed outside of this product: {differences_text(state.flags, flags)}.",
    )


_CHANGES: dict[Kind, dict[str, bool]] = {
    Kind.PAUSE: {"paused": True},
    Kind.RESUME: {"paused": False},
    Kind.OPEN: {"internal_only": False},
    Kind.CLOSE: {"internal_only": True},
    Kind.ENABLE: {"enabled": True},
    Kind.DISABLE: {"enabled": False},
}


def _flags_after(kind: Kind, read: Flags, percent: float | None) -> Flags:
    """Return the flags to be written: all four, so that none is missing or unreadable afterwards."""
    flags = replace(read, missing=(), unreadable=())
    if kind is Kind.SET:
        return replace(flags, rollout_percent=_checked(percent))
    if kind not in _CHANGES:
        raise ValueError(f"{kind} is not done by hand")
    return replace(flags, **_CHANGES[kind])  # type: ignore[arg-type]


def _checked(percent: float | None) -> float:
    if percent is None or not 0 <= percent <= 100 or round(percent, 3) != percent:
        raise ValueError(f"{percent} is not a percentage from 0 to 100 with at most three decimals")
    return float(percent)


def _approved(flags: Flags, feature: RolloutFeature, state: State, percent: float | None) -> Decision:
    """Approve the given step, or the next one that needs it."""
    waiting = [
        step
        for step in feature.approval_steps
        if step > max(flags.rollout_percent, state.approved_percent) and percent in (None, step)
    ]
    if not waiting:
        raise ValueError(f"no step of {feature.name} waits for an approval")
    step = min(waiting)
    return Decision(
        kind=Kind.APPROVE,
        reason=Reason.MANUAL,
        flags=flags,
        state=replace(state, approved_percent=step),
        detail=f"The step to {format_percent(step)} % is approved.",
    )


def _detail(kind: Kind, before: State, flags: Flags, left: State) -> str:
    """Say what changed; `before` is the state as it was, `left` the one that this leaves."""
    changes = differences_text(flags, left.flags)
    said = f"By hand: {changes}." if changes else _unchanged(kind, before)
    if before.stopped_by and not left.stopped_by and left.flags.rollout_percent == 0:
        return f"{said if changes else 'By hand.'} The ramp begins again from 0 %."
    if left.stopped_by and not before.stopped_by:
        return (
            f"{said if changes else 'By hand.'} It stays at 0 % until a person resumes, enables or sets it."
        )
    return said


def _unchanged(kind: Kind, before: State) -> str:
    """Say that it was so already; of a pause, who paused it first and why."""
    if kind is Kind.PAUSE and before.paused_by:
        return f"Already paused by {cause_text(before.paused_by)}. Nothing changed."
    return f"{_ALREADY[kind]}; nothing changed."


_ALREADY = {
    Kind.PAUSE: "Already paused",
    Kind.RESUME: "It was not paused",
    Kind.SET: "Already at this percentage",
    Kind.OPEN: "Already open to all mail",
    Kind.CLOSE: "Already for internal mail only",
    Kind.ENABLE: "Already enabled",
    Kind.DISABLE: "Already disabled",
}


def _spent(feature: RolloutFeature, before: State, left: State) -> str:
    """Say what the tests that start again cost."""
    if left.alpha_spent <= before.alpha_spent:
        return ""
    return f" The tests start again; with them {left.alpha_spent:.3g} of alpha {feature.alpha:g} is spent."
