"""Where a ramp stands: what starts again when the flags or the configuration change, and what it costs."""

from dataclasses import replace

from msgspec import UNSET, UnsetType

from controller.contract import Flags
from controller.decision.causes import with_outside_causes
from controller.decision.feature import RolloutFeature
from controller.decision.model import (
    LIVE,
    SLOW_SHARE_LIMIT,
    Comparison,
    Evidence,
    LiveState,
    Reason,
    SloState,
    Snapshot,
    State,
)
from controller.decision.sequential.relative import POINTS
from controller.decision.sequential.wallet import RAMP_SHARE, Wallet, breach_points


def step_above(steps: tuple[float, ...], percent: float) -> float | None:
    """Return the next step of the plan, which rises, also from a percentage not on it; None at its end."""
    return next((step for step in steps if step > percent), None)


def step_below(steps: tuple[float, ...], percent: float) -> float | None:
    """Return the step below a percentage; None below the first."""
    return max((step for step in steps if step < percent), default=None)


def is_open(flags: Flags) -> bool:
    """Whether anybody can be in, so that sends say something about the feature."""
    return flags.enabled and not flags.paused and flags.rollout_percent > 0


def same_flags(one: Flags, other: Flags) -> bool:
    """Whether four values are the same, whatever the revisions."""
    return (
        one.enabled == other.enabled
        and one.internal_only == other.internal_only
        and one.rollout_percent == other.rollout_percent
        and one.paused == other.paused
    )


def most_restrictive(one: Flags, other: Flags) -> Flags:
    """Return flags that let nobody in whom either of the two keeps out, paused; with the first's revision."""
    return replace(
        one,
        enabled=one.enabled and other.enabled,
        internal_only=one.internal_only or other.internal_only,
        rollout_percent=min(one.rollout_percent, other.rollout_percent),
        paused=True,
    )


def apply_flag_changes(snapshot: Snapshot) -> tuple[State, bool]:
    """Return the state after what happened outside since it was written, and whether these windows count.

    Tests that started again are placed on the source's clock as soon as that is known. What this snapshot
    holds was measured before that, so windows count from the next snapshot on. The place moves with the
    clock: what no window tells of, an outage of the source or a clock that was set, counts for nothing.
    """
    state = snapshot.state
    if state.config_hash != snapshot.config_hash:
        state = begin_ramp(state, snapshot.feature, snapshot.flags, snapshot.now, snapshot.config_hash)
    else:
        state = _fitted(with_flags(state, snapshot.feature, snapshot.flags, snapshot.now), snapshot)
    state = with_outside_causes(state, snapshot.state.flags, snapshot.flags, snapshot.now)
    if state.unplaced:
        return anchor_to_source_clock(state, snapshot.evidence), False
    unmeasured_s = snapshot.evidence.unmeasured_s
    if unmeasured_s:
        state = replace(state, counted_from=state.counted_from + unmeasured_s)
    return state, True


def _fitted(state: State, snapshot: Snapshot) -> State:
    """Begin the tests again where another configuration began them: that of a person's command, say."""
    feature = snapshot.feature
    limits = (
        (state.error_rate, feature.slo_error_rate_threshold),
        (state.latency, SLOW_SHARE_LIMIT),
        (state.very_slow, feature.slo_very_slow_threshold),
    )
    if all(_fits(tests, limit) for tests, limit in limits):
        return state
    return reset_tests(state, feature, snapshot.flags, snapshot.now)


def _fits(tests: SloState | UnsetType, limit: float | UnsetType) -> bool:
    """Whether tests can go on with this limit; what no limit asks for may be there."""
    return not limit or (tests is not UNSET and len(tests.wallet.bets) in {0, breach_points(limit)})


def with_flags(state: State, feature: RolloutFeature, flags: Flags, now: float) -> State:
    """Follow the flags from what they were to what they are, and start again whatever that asks for."""
    old = state.flags
    if old == flags:
        return state
    if same_flags(old, flags):
        return replace(state, flags=flags)
    if old.rollout_percent == 0 and flags.rollout_percent > 0:
        return begin_ramp(state, feature, flags, now, state.config_hash)
    reopened = old.paused and not flags.paused
    if reopened or old.enabled != flags.enabled or old.internal_only != flags.internal_only:
        return reset_tests(state, feature, flags, now)
    if old.rollout_percent != flags.rollout_percent:
        return begin_step(state, feature, flags, now)
    return replace(state, flags=flags)


def begin_ramp(state: State, feature: RolloutFeature, flags: Flags, now: float, config_hash: str) -> State:
    """Begin a ramp: nothing of an earlier one counts, but its configuration stays known.

    Another configuration in the middle of a ramp begins with the cash that is left, so that alpha holds.
    """
    changed = config_hash != state.config_hash
    goes_on = changed and state.config_hash != "" and state.flags.rollout_percent > 0
    fresh = State(
        config_hash=config_hash,
        previous_config_hash=state.config_hash if changed else state.previous_config_hash,
        ramp_started_at=now,
        judged_to=state.judged_to,
        held_since=state.held_since,
        approved_percent=0.0 if changed else state.approved_percent,
        error_rate=_emptied(state.error_rate) if goes_on else SloState(),
        latency=_emptied(state.latency) if goes_on else SloState(),
        very_slow=_of_very_slow(feature, state) if goes_on else _of_very_slow(feature, State()),
        live=LiveState(starts=(state.live.starts if goes_on else 0) + is_open(flags)),
        comparison=_emptied_comparison(state) if goes_on else UNSET,
        paused_by=state.paused_by,
        stopped_by=state.stopped_by,
    )
    return begin_step(fresh, feature, flags, now)


def reset_tests(state: State, feature: RolloutFeature, flags: Flags, now: float) -> State:
    """Begin every test again, the late-change test too; the wallet pays for it from its cash."""
    emptied = replace(
        state,
        error_rate=_emptied(state.error_rate),
        latency=_emptied(state.latency),
        very_slow=_of_very_slow(feature, state),
        live=LiveState(starts=state.live.starts + is_open(flags)),
        comparison=_emptied_comparison(state),
    )
    return begin_step(emptied, feature, flags, now)


def _emptied(state: SloState) -> SloState:
    return SloState(wallet=state.wallet.emptied())


def _of_very_slow(feature: RolloutFeature, state: State) -> SloState | UnsetType:
    """Begin the test of very slow sends with the cash that each SLO has left."""
    return _emptied(state.error_rate) if feature.slo_very_slow_threshold else UNSET


def _emptied_comparison(state: State) -> Comparison | UnsetType:
    seen = state.comparison
    return Comparison(seen.reference, seen.delta, seen.wallet.emptied()) if seen else seen


def begin_step(state: State, feature: RolloutFeature, flags: Flags, now: float) -> State:
    """Begin a step: its health counts for itself, the other tests go on. Closed flags stake nothing.

    An approval is spent by the step that it allowed, and void once the percentage has been lowered.
    """
    opened = is_open(flags)
    spent = (
        flags.rollout_percent < state.flags.rollout_percent or flags.rollout_percent >= state.approved_percent
    )
    ahead = max(sum(step >= flags.rollout_percent for step in feature.steps), 1) if opened else 0
    errors = _stepped(state.error_rate, ahead, feature.slo_error_rate_threshold)
    very_slow = feature.slo_very_slow_threshold
    return replace(
        state,
        flags=flags,
        step_started_at=now,
        error_rate=errors,
        latency=_stepped(state.latency, ahead, SLOW_SHARE_LIMIT),
        very_slow=_stepped(state.very_slow, ahead, very_slow) if very_slow and state.very_slow else UNSET,
        step_sends=0.0,
        step_errors=0.0,
        half_failed=0,
        comparison=_stepped_comparison(state.comparison, ahead if feature.delta else 0),
        tests_started=state.tests_started + opened,
        alpha_spent=_alpha_spent(feature, errors.wallet),
        approved_percent=0.0 if spent else state.approved_percent,
        unplaced=True,
    )


def _stepped(state: SloState, steps_ahead: int, limit: float) -> SloState:
    """Go on at another step, where the tests of an open feature stake a part of their cash."""
    wallet = state.wallet.staked(steps_ahead, breach_points(limit)) if steps_ahead else state.wallet
    return SloState(wallet=wallet, late=state.late, clusters=state.clusters.stepped())


def _stepped_comparison(seen: Comparison | UnsetType, steps_ahead: int) -> Comparison | UnsetType:
    if not seen:
        return seen
    wallet = seen.wallet.staked(steps_ahead, POINTS) if steps_ahead else seen.wallet
    return Comparison(seen.reference, seen.delta, wallet, seen.clusters.stepped())


def _alpha_spent(feature: RolloutFeature, wallet: Wallet) -> float:
    """Return what may be spent so far: what was staked of the wallet, and the other tests' shares whole."""
    staked = 1 - wallet.cash
    return feature.alpha * (staked * RAMP_SHARE + (1 - RAMP_SHARE)) if staked > 0 else 0.0


def anchor_to_source_clock(state: State, evidence: Evidence) -> State:
    """Place the tests' start on the source's clock: windows that began before this instant do not count."""
    if evidence.problem is Reason.METRICS_UNREACHABLE or evidence.source == LIVE:
        return state
    return replace(state, counted_from=evidence.now, unplaced=False)


def baked_s(evidence: Evidence, state: State) -> float:
    """Return how long the step has been measured, on the source's clock: the one here may be set."""
    return evidence.now - state.counted_from


def bake_s_of(snapshot: Snapshot) -> float:
    """Return how long the present step has to be measured."""
    return snapshot.feature.bake_s_at(snapshot.flags.rollout_percent)
