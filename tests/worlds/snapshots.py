"""Builds snapshots for the tests of the core: single ones in few words, and any at all for hypothesis."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from msgspec import UNSET

from controller.contract import Flags
from controller.decision.feature import RolloutFeature
from controller.decision.freeze import DatedFreeze, WeeklyFreeze
from controller.decision.model import (
    METRICS_PROBLEMS,
    Cause,
    Comparison,
    Decision,
    Evidence,
    Reason,
    Reference,
    ReferenceWindow,
    SloState,
    Snapshot,
    State,
    Window,
)
from controller.decision.record import record_of
from controller.decision.sequential.clusters import Clusters, Health
from controller.decision.sequential.relative import POINTS
from controller.decision.sequential.wallet import Wallet, breach_rates

FEATURE = RolloutFeature(name="microsoft", provider="microsoft", action="outlook.send")
NOW = 1_763_834_130.0
HASH = "abc123"
STEPS = FEATURE.steps


def window(sends: float = 150, errors: float = 0, slow: float = 0, **changes: Any) -> Window:
    values: dict[str, Any] = {"at": NOW, "sends": sends, "errors": errors, "timed": sends, "slow": slow}
    return Window(**(values | changes))


def at_step(percent: float = 5.0, **changes: Any) -> Snapshot:
    """Return a running feature at a step that began an hour ago, with one healthy window."""
    flags = Flags(enabled=True, internal_only=False, rollout_percent=percent, paused=False, revision=4)
    state = State(
        config_hash=HASH,
        ramp_started_at=NOW - 7200,
        step_started_at=NOW - 3600,
        counted_from=NOW - 3600,
        judged_to=NOW - 30,
        flags=flags,
    )
    snapshot = Snapshot(
        now=NOW,
        feature=FEATURE,
        flags=flags,
        evidence=Evidence(now=NOW, windows=(window(),), judged_to=NOW),
        state=state,
        config_hash=HASH,
        window_s=30.0,
    )
    return changed(snapshot, **changes)


def changed(snapshot: Snapshot, **changes: Any) -> Snapshot:
    """Change parts: `flags`, `evidence`, `state` and `feature` take a dict of their fields."""
    for name, value in changes.items():
        part = replace(getattr(snapshot, name), **value) if isinstance(value, dict) else value
        snapshot = replace(snapshot, **{name: part})
    return snapshot


def proven_healthy(percent: float = 5.0, **changes: Any) -> Snapshot:
    """Return a step whose newest window alone proves both SLOs met."""
    return changed(at_step(percent, evidence={"windows": (window(1000),)}), **changes)


def record(snapshot: Snapshot, decision: Decision, **changes: Any) -> dict[str, Any]:
    """Return the record of a decision that was applied."""
    values: dict[str, Any] = {
        "decision_id": "microsoft-1-a",
        "actor": "controller",
        "dry_run": False,
        "applied": "applied",
        "epoch": 3,
        "revision": 5,
    }
    return record_of(snapshot, decision, **(values | changes))


counts = st.one_of(st.just(0.0), st.floats(0, 2000), st.integers(0, 2000).map(float))
slopes = st.tuples(st.floats(-2000, 60), st.sampled_from((0.0, -7.5, -0.1, 0.3, 5.0)))
"""Where the logarithms of a test begin, and how they go on along its grid; 0 for a test not yet begun."""
percents = st.one_of(
    st.sampled_from((0.0, *STEPS)), st.integers(0, 100_000).map(lambda thousandths: thousandths / 1000)
)
booleans = st.booleans()


@st.composite
def windows(draw: st.DrawFn) -> Window:
    sends = draw(counts)
    return Window(
        at=NOW,
        sends=sends,
        errors=draw(st.one_of(st.just(0.0), st.floats(0, 1).map(lambda share: share * sends))),
        timed=sends,
        slow=draw(st.one_of(st.just(0.0), st.floats(0, 1).map(lambda share: share * sends))),
        converged=draw(booleans),
        failed_mailboxes=draw(st.one_of(st.none(), st.none(), counts)),
        very_slow=draw(st.one_of(st.just(UNSET), st.floats(0, 1).map(lambda share: share * sends))),
    )


@st.composite
def slo_states(draw: st.DrawFn, rates: int) -> SloState:
    def points(size: int) -> tuple[float, ...]:
        first, slope = draw(slopes)
        return tuple(first + slope * place for place in range(size)) if slope else ()

    sends, bad = sorted((draw(counts), draw(counts)), reverse=True)
    proving = Health(sends, bad, float(draw(st.integers(1, 50)))) if draw(st.booleans()) else Health()
    clusters = Clusters(draw(counts), draw(counts), draw(st.one_of(st.none(), counts)), bad, draw(counts))
    wallet = Wallet(points(rates), draw(st.sampled_from((1.0, 0.5, 0.1, 1e-9))))
    return SloState(wallet, points(rates), proving, clusters, sends, bad)


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    like = draw(slo_states(POINTS))
    name, delta = draw(st.sampled_from(("google", "aws"))), draw(st.sampled_from((1.0, 1.5)))
    return Comparison(name, delta, like.wallet, like.clusters, like.sends, like.bad, like.sends, like.bad)


flags = st.builds(
    Flags,
    enabled=st.sampled_from((True, True, True, False)),
    internal_only=booleans,
    rollout_percent=percents,
    paused=st.sampled_from((False, False, False, True)),
    revision=st.integers(0, 9),
    unreadable=st.sampled_from(((), (), (), ("paused",))),
    missing=st.sampled_from(((), (), (), ("rollout_percent",))),
)

evidences = st.builds(
    Evidence,
    now=st.just(NOW),
    windows=st.lists(windows(), max_size=3).map(tuple),
    judged_to=st.sampled_from((0.0, NOW)),
    unmeasured_s=st.sampled_from((0.0, 0.0, 45.0, 3600.0, -3600.0)),
    problem=st.sampled_from((None, None, None, *sorted(METRICS_PROBLEMS))),
    detail=st.sampled_from(("", "sender-1 does not answer")),
    sample_age_s=st.one_of(st.none(), st.floats(0, 1000)),
    gate_revision=st.one_of(st.none(), st.integers(0, 9)),
    alerts=st.sampled_from(((), (), ("OutlookSendHighErrorRateWarning",))),
    rules_missing=st.sampled_from(((), (), ("rollout:evidence_sends",))),
)

features = st.builds(
    RolloutFeature,
    name=st.just("microsoft"),
    provider=st.just("microsoft"),
    action=st.just("outlook.send"),
    slo_error_rate_threshold=st.floats(1e-5, 0.4),
    bake_s=st.sampled_from((0.0, 600.0, 10_000.0, (0.0, 10.0, 600.0, 600.0, 10_000.0, 0.0))),
    steps=st.sampled_from((STEPS, (100.0,), (0.5, 2.0, 100.0), (1.0, 5.0, 50.0))),
    policy=st.sampled_from(("sequential", "threshold")),
    on_breach=st.sampled_from(("pause", "step_back")),
    max_failed_sends_per_step=st.one_of(st.none(), st.integers(1, 500)),
    approval_steps=st.sampled_from(((), (), (50.0,), (5.0, 100.0))),
    freezes=st.sampled_from(
        ((), (DatedFreeze(0.0, 1.0, "new year"), WeeklyFreeze((4, 5), 0, 86_400, "Europe/Berlin")))
    ),
    hold_on_alert=booleans,
    alpha=st.floats(0.001, 0.5),
    step_up_error=st.floats(0.001, 0.5),
    margin=st.floats(1.0, 2.4),
    blip_s=st.sampled_from((0.0, 3.0, 3.0, 600.0)),
    slo_very_slow_threshold=st.sampled_from((UNSET, UNSET, 0.01)),
    reference=st.just("google"),
    delta=st.sampled_from((UNSET, UNSET, 1.0, 1.5, 100.0)),
)

references = st.builds(
    Reference,
    name=st.sampled_from(("google", "google", "aws")),
    limit=st.just(0.01),
    sends=counts,
    errors=st.just(0.0),
    windows=st.one_of(
        st.just(UNSET),
        st.builds(
            ReferenceWindow, at=st.just(NOW), sends=counts, errors=st.sampled_from((0.0, 0.5, 20.0))
        ).map(lambda one: (replace(one, errors=min(one.errors, one.sends)),)),
    ),
)


causes = st.one_of(
    st.none(),
    st.just(Cause(Reason.OUTAGE, "controller", NOW - 60, "Outage.")),
    st.just(Cause(Reason.MANUAL, "ann", NOW - 60, "paused false -> true", "just in case")),
)


@st.composite
def states(draw: st.DrawFn, of: Flags, limit: float) -> State:
    return State(
        config_hash=draw(st.sampled_from((HASH, HASH, HASH, "", "other"))),
        ramp_started_at=NOW - 7200,
        step_started_at=draw(st.sampled_from((0.0, NOW - 3600, NOW - 60))),
        counted_from=draw(st.sampled_from((0.0, NOW - 3600, NOW - 60, NOW + 3600))),
        judged_to=draw(st.sampled_from((0.0, NOW - 30))),
        held_since=draw(st.sampled_from((0.0, NOW - 60))),
        flags=draw(st.one_of(st.just(of), st.just(of), flags)),
        error_rate=draw(slo_states(len(breach_rates(limit)))),
        latency=draw(slo_states(8)),
        step_sends=draw(counts),
        step_errors=draw(counts),
        approved_percent=draw(percents),
        tests_started=draw(st.integers(0, 9)),
        alpha_spent=draw(st.floats(0, 1)),
        half_failed=draw(st.sampled_from((0, 0, 1))),
        unplaced=draw(st.sampled_from((False, False, True))),
        paused_by=draw(causes),
        stopped_by=draw(causes),
        stepped_back=draw(st.sampled_from(((), (), (5.0,), (5.0, 50.0)))),
        very_slow=draw(st.one_of(st.just(UNSET), slo_states(8))),
        comparison=draw(st.one_of(st.just(UNSET), comparisons())),
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Return any snapshot that could be read, and many that should not be."""
    read, feature = draw(flags), draw(features)
    return Snapshot(
        now=NOW,
        feature=feature,
        flags=read,
        evidence=draw(evidences),
        state=draw(states(read, feature.slo_error_rate_threshold)),
        config_hash=HASH,
        window_s=draw(st.sampled_from((1.0, 30.0, 300.0))),
        frozen=draw(st.sampled_from(("", "", "weekend"))),
        newer=draw(st.one_of(st.none(), st.none(), flags)),
        reference=draw(st.one_of(st.none(), references)),
    )
