"""What a person does to a feature, as a decision: pause, resume, set, enable, disable, approve."""

from dataclasses import replace

from controller.contract import Flags, format_percent
from controller.decision.model import Decision, Kind, Reason, RolloutFeature, State
from controller.decision.ramp import same_flags, with_flags

OUTSIDE = "outside"
"""The actor where somebody wrote a flag without this product."""
BY_HAND = frozenset({Kind.PAUSE, Kind.RESUME, Kind.SET, Kind.ENABLE, Kind.DISABLE, Kind.APPROVE})


def by_hand(
    kind: Kind,
    flags: Flags,
    feature: RolloutFeature,
    state: State,
    now: float,
    *,
    percent: float | None = None,
) -> Decision:
    """Decide what a person asked for. A person is not clamped to the plan, only to 0..100.

    Raises ValueError where it cannot be done: a percentage that is missing, out of range or finer than
    0.001 %, or an approval that no step waits for.
    """
    if kind is Kind.APPROVE:
        return _approved(flags, feature, state, percent)
    after = _flags_after(kind, flags, percent)
    left = with_flags(with_flags(state, feature, flags, now), feature, after, now)
    return Decision(
        kind=kind,
        reason=Reason.MANUAL,
        flags=after,
        state=left,
        detail=_detail(kind, flags, after) + _spent(feature, state, left),
    )


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
        detail=f"Changed outside of this product: {_differences(state.flags, flags)}.",
    )


def _flags_after(kind: Kind, flags: Flags, percent: float | None) -> Flags:
    match kind:
        case Kind.PAUSE:
            return replace(flags, paused=True)
        case Kind.RESUME:
            return replace(flags, paused=False)
        case Kind.ENABLE:
            return replace(flags, enabled=True)
        case Kind.DISABLE:
            return replace(flags, enabled=False)
        case Kind.SET:
            return replace(flags, rollout_percent=_checked(percent))
        case _:
            raise ValueError(f"{kind} is not done by hand")


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


def _detail(kind: Kind, before: Flags, after: Flags) -> str:
    if same_flags(before, after):
        return f"Nothing to {kind}: it was so already."
    return f"By hand: {_differences(before, after)}."


def _spent(feature: RolloutFeature, before: State, left: State) -> str:
    """Say what the tests that start again cost."""
    if left.alpha_spent <= before.alpha_spent:
        return ""
    return f" The tests start again; with them {left.alpha_spent:.3g} of alpha {feature.alpha:g} is spent."


def _differences(before: Flags, after: Flags) -> str:
    changes = [
        ("enabled", str(before.enabled).lower(), str(after.enabled).lower()),
        ("internal_only", str(before.internal_only).lower(), str(after.internal_only).lower()),
        ("rollout_percent", format_percent(before.rollout_percent), format_percent(after.rollout_percent)),
        ("paused", str(before.paused).lower(), str(after.paused).lower()),
    ]
    return ", ".join(f"{name} {old} -> {new}" for name, old, new in changes if old != new)
