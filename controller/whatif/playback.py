"""A whole course of ticks, decided one after the other as the daemon would: for replay and simulation."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from msgspec import UNSET

from controller.contract import Flags
from controller.decision.decide import assess, decide_bare
from controller.decision.feature import RolloutFeature
from controller.decision.model import Decision, Evidence, Reason, Reference, Snapshot, State, Window
from controller.decision.telling.common_cause import reference_of

NO_DATA = "there is no data for this tick"


@dataclass(frozen=True, slots=True)
class Tick:
    """Counts since the tick before, at unix second `at`; `missing` says that there is no data."""

    at: float
    sends: float = 0.0
    errors: float = 0.0
    slow: float = 0.0
    missing: bool = False
    failed_mailboxes: float | None = None
    """Distinct mailboxes with a failure in it, where that was counted."""
    very_slow: float | None = None
    """Sends slower than four times the limit of latency, where they were counted."""
    reference: tuple[float, float] | None = None
    """Sends and failed sends of the feature's reference in the same time, where they are known."""


def opened(feature: RolloutFeature) -> Flags:
    """Return the flags with which a course begins: enabled, for everybody, at the initial percentage."""
    return Flags(enabled=True, internal_only=False, rollout_percent=feature.initial_percent, paused=False)


def begun(feature: RolloutFeature, config_hash: str, at: float, window_s: float) -> State:
    """Return the state of a feature whose ramp begins at its first tick, so that this tick's counts weigh."""
    before = Evidence(now=at, judged_to=at - window_s)
    first = Snapshot(at, feature, opened(feature), before, State(), config_hash, window_s)
    return assess(first).state


def course(
    feature: RolloutFeature,
    ticks: Iterable[Tick],
    *,
    config_hash: str,
    window_s: float,
    freeze_at: Callable[[float], str] | None = None,
    decide: Callable[[Snapshot], Decision] | None = None,
    reference: RolloutFeature | None = None,
) -> Iterator[tuple[Snapshot, Decision]]:
    """Decide tick after tick, each with what the one before left behind.

    `decide` is the whole decision with words; without it the reasons and the numbers come without words,
    which is faster and decides the same. `freeze_at` gives the name of the freeze window open at an
    instant, `reference` the feature whose sends the ticks tell beside this one's.
    """
    flags = opened(feature)
    state: State | None = None
    for tick in ticks:
        if state is None:
            state = begun(feature, config_hash, tick.at, window_s)
        snapshot = Snapshot(
            now=tick.at,
            feature=feature,
            flags=flags,
            evidence=evidence_of(tick, state.judged_to),
            state=state,
            config_hash=config_hash,
            window_s=window_s,
            frozen=freeze_at(tick.at) if freeze_at else "",
            reference=_reference(feature, reference, tick) if reference else None,
        )
        decision = decide(snapshot) if decide else decide_bare(assess(snapshot))
        yield snapshot, decision
        state = decision.state
        if decision.flags is not flags:
            flags = replace(decision.flags, revision=flags.revision + 1)


def _reference(feature: RolloutFeature, other: RolloutFeature, tick: Tick) -> Reference | None:
    """Return what a tick tells of the reference, as a live one is measured."""
    if tick.reference is None:
        return None
    sends, errors = tick.reference
    counted = evidence_of(Tick(tick.at, sends, errors), tick.at)
    return reference_of(other, counted, compared=bool(feature.delta))


def evidence_of(tick: Tick, judged_to: float) -> Evidence:
    """Return one tick's counts as evidence: one window, as fresh as can be."""
    if tick.missing:
        return Evidence(now=tick.at, judged_to=judged_to, problem=Reason.METRICS_UNREACHABLE, detail=NO_DATA)
    window = Window(
        tick.at,
        tick.sends,
        tick.errors,
        tick.sends,
        tick.slow,
        failed_mailboxes=tick.failed_mailboxes,
        very_slow=UNSET if tick.very_slow is None else tick.very_slow,
    )
    return Evidence(now=tick.at, windows=(window,), judged_to=tick.at, sample_age_s=0.0, input_age_s=0.0)
