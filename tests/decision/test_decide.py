"""Guard, policy, clamp: which reason wins, and what no snapshot at all may bring about."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from kit.examples import examples
from worlds.snapshots import FEATURE, NOW, STEPS, at_step, changed, proven_healthy, record, snapshots, window

from controller.contract import CLOSED, FLAG_NAMES, Flags
from controller.decision.decide import assess, decide, decide_bare, rejected_write
from controller.decision.model import METRICS_PROBLEMS, Decision, Kind, Reason, Snapshot, Verdict
from controller.decision.ramp import bake_s_of, step_above, step_below
from controller.decision.record import snapshot_from, verify
from controller.decision.telling.reasons import REASONS
from controller.store.record_json import dump
from controller.whatif.playback import Tick, course

BREACHING = {"windows": (window(150, 40),) * 3}
UNREADABLE = Flags(True, False, 5.0, True, unreadable=("paused",))

HOLDS: list[tuple[Reason, Snapshot]] = [
    (Reason.FLAGS_UNREADABLE, proven_healthy(flags=UNREADABLE)),
    (Reason.FLAGS_UNREADABLE, proven_healthy(0.0, flags={"missing": ("rollout_percent",)})),
    (Reason.DISABLED, proven_healthy(flags={"enabled": False})),
    (Reason.DISABLED, proven_healthy(flags=CLOSED)),
    (Reason.DISABLED, proven_healthy(flags={"enabled": False, "paused": True})),
    (Reason.PAUSED, proven_healthy(flags={"paused": True}, evidence={"problem": Reason.METRICS_STALE})),
    (Reason.METRICS_STALE, proven_healthy(evidence={"problem": Reason.METRICS_STALE})),
    (Reason.METRICS_STALE, proven_healthy(100.0, evidence={"problem": Reason.METRICS_STALE})),
    (Reason.METRICS_INCOMPLETE, proven_healthy(evidence={"problem": Reason.METRICS_INCOMPLETE})),
    (Reason.METRICS_UNREACHABLE, at_step(0.0, evidence={"problem": Reason.METRICS_UNREACHABLE})),
    (
        Reason.METRICS_INCOMPLETE,
        at_step(0.0, evidence={"problem": Reason.METRICS_INCOMPLETE, "rules_missing": ("a",)}),
    ),
    (Reason.COMPLETE, proven_healthy(100.0)),
    (Reason.COMPLETE, proven_healthy(100.0, frozen="weekend")),
    (Reason.GATE_NOT_CONVERGED, proven_healthy(evidence={"gate_revision": 3})),
    (Reason.FROZEN, proven_healthy(frozen="weekend")),
    (Reason.FROZEN, at_step(0.0, frozen="weekend")),
    (Reason.AWAITING_APPROVAL, proven_healthy(feature={"approval_steps": (10.0,)})),
    (Reason.AWAITING_APPROVAL, at_step(0.0, feature={"approval_steps": (1.0,)})),
    (Reason.ALERT_FIRING, proven_healthy(evidence={"alerts": ("SendHighErrorRate",)})),
    (Reason.NO_TRAFFIC, at_step(evidence={"windows": (window(0),)})),
    (Reason.GATHERING_EVIDENCE, at_step(evidence={"windows": (window(20),)})),
    (Reason.GATHERING_EVIDENCE, at_step(evidence={"windows": ()})),
    (Reason.BAKING, proven_healthy(state={"counted_from": NOW - 599})),
]


@pytest.mark.parametrize(("reason", "snapshot"), HOLDS)
def test_a_hold_has_the_reason_that_comes_first(reason: Reason, snapshot: Snapshot) -> None:
    decision = decide(snapshot)
    assert (decision.kind, decision.reason) == (Kind.HOLD, reason)
    assert decision.flags == snapshot.flags
    assert decision.detail


def test_a_step_is_taken_when_every_slo_is_met_and_the_bake_time_is_over() -> None:
    decision = decide(proven_healthy())
    assert (decision.kind, decision.reason) == (Kind.STEP_UP, Reason.HEALTHY)
    assert decision.flags.rollout_percent == 10.0


def test_the_first_step_needs_neither_evidence_nor_bake_time_nor_fresh_samples() -> None:
    stale = at_step(0.0, evidence={"windows": (), "problem": Reason.METRICS_STALE, "gate_revision": 1})
    decision = decide(changed(stale, state={"counted_from": NOW}))
    assert (decision.kind, decision.reason) == (Kind.STEP_UP, Reason.FIRST_STEP)
    assert decision.flags.rollout_percent == 1.0


@pytest.mark.parametrize("set_by_s", [86_400.0, -86_400.0])
def test_a_clock_that_is_set_here_neither_shortens_nor_lengthens_the_bake_time(set_by_s: float) -> None:
    baking = proven_healthy(now=NOW + set_by_s, state={"counted_from": NOW - 599})
    assert decide(baking).reason is Reason.BAKING
    baked = proven_healthy(now=NOW + set_by_s, state={"counted_from": NOW - 600})
    assert decide(baked).kind is Kind.STEP_UP


def test_what_no_window_tells_of_is_no_bake_time() -> None:
    gap = proven_healthy(state={"counted_from": NOW - 3600}, evidence={"unmeasured_s": 3001.0})
    decision = decide(gap)
    assert (decision.reason, decision.more_s) == (Reason.BAKING, 1.0)
    assert decision.state.counted_from == NOW - 599


def test_reaching_the_end_of_the_plan_is_a_step_up_and_from_then_on_complete() -> None:
    decision = decide(proven_healthy(50.0))
    assert (decision.kind, decision.flags.rollout_percent) == (Kind.STEP_UP, 100.0)


def test_a_percentage_off_the_plan_goes_to_the_next_step_above() -> None:
    assert decide(proven_healthy(7.3)).flags.rollout_percent == 10.0


def test_a_breach_pauses() -> None:
    decision = decide(at_step(evidence=BREACHING))
    assert (decision.kind, decision.reason, decision.flags.paused) == (
        Kind.PAUSE,
        Reason.SLO_ERROR_RATE,
        True,
    )
    assert [finding.verdict for finding in decision.findings] == [Verdict.BREACHED, Verdict.MET]


def test_a_latency_breach_names_latency_as_the_cause() -> None:
    slow = {"windows": (window(150, 0, 80),) * 3}
    decision = decide(at_step(evidence=slow))
    assert (decision.kind, decision.reason) == (Kind.PAUSE, Reason.SLO_LATENCY)


@pytest.mark.parametrize("problem", sorted(METRICS_PROBLEMS))
def test_a_breach_that_is_proven_pauses_whatever_the_metrics_have(problem: Reason) -> None:
    decision = decide(at_step(evidence=BREACHING | {"problem": problem, "gate_revision": 1}, frozen="now"))
    assert (decision.kind, decision.reason) == (Kind.PAUSE, Reason.SLO_ERROR_RATE)


def test_a_breach_pauses_at_the_end_of_the_plan_too() -> None:
    assert decide(at_step(100.0, evidence=BREACHING)).kind is Kind.PAUSE


ONE_OF_60, TWO_OF_20 = (window(60, 34),), (window(20, 13), window(20, 13))
OF_THREE, OF_TWO = window(20, 10, failed_mailboxes=3), window(200, 150, failed_mailboxes=2)


@pytest.mark.parametrize("windows", [ONE_OF_60, TWO_OF_20, (OF_THREE,)], ids=["sure", "twice", "three boxes"])
def test_half_failed_sends_are_an_outage_where_they_are_not_one_mailbox_s(windows: Any) -> None:
    decision = decide(at_step(evidence={"windows": windows}))
    assert (decision.kind, decision.reason) == (Kind.PAUSE, Reason.OUTAGE)


def test_a_record_of_the_second_form_is_verified_by_the_half_of_its_time() -> None:
    of_now = at_step(evidence={"windows": (window(60, 30),)})
    assert decide(of_now).kind is Kind.HOLD
    of_then = replace(of_now, form=2)
    assert decide(of_then).reason is Reason.OUTAGE
    assert verify(record(of_then, decide(of_then)) | {"form": 2}) == []


def test_two_half_failed_windows_in_two_ticks_are_an_outage() -> None:
    first = decide(at_step(evidence={"windows": (window(20, 13),)}))
    assert (first.kind, first.state.half_failed) == (Kind.HOLD, 1)
    second = decide(at_step(evidence={"windows": (window(20, 13),)}, state=first.state))
    assert second.reason is Reason.OUTAGE
    assert "at least half in the window before" in second.detail


@pytest.mark.parametrize(
    "windows",
    [
        (window(59, 59),),
        (window(19, 19),) * 2,
        (window(60, 29.9, failed_mailboxes=9),),
        (window(60, 33),),
        (window(20, 13), window(20, 0), window(20, 13)),
        (OF_TWO,) * 2,
    ],
    ids=["one window", "few sends", "few failures", "half by chance", "not in a row", "two mailboxes"],
)
def test_fewer_sends_failures_windows_or_mailboxes_are_not_yet_an_outage(windows: Any) -> None:
    assert decide(at_step(evidence={"windows": windows})).reason is not Reason.OUTAGE


def test_a_blip_is_no_outage_however_short_the_windows_are() -> None:
    blip = at_step(evidence={"windows": (window(600, 600),) * 4}, window_s=1.0)
    assert decide(blip).reason is not Reason.OUTAGE
    assert decide(changed(blip, evidence={"windows": (window(600, 600),) * 5})).reason is Reason.OUTAGE


def retries(mailboxes: int) -> dict[str, Any]:
    """Return ten windows of 20 sends, in each of which half fail, of so many mailboxes."""
    return {"windows": (window(20, 10, failed_mailboxes=mailboxes),) * 10}


def test_the_retries_of_one_mailbox_never_pause_by_themselves_but_those_of_five_do() -> None:
    assert decide(at_step(evidence=retries(1))).kind is Kind.HOLD
    assert decide(at_step(evidence=retries(5))).kind is Kind.PAUSE


def test_more_failed_sends_than_the_harm_budget_pause() -> None:
    budget = {"max_failed_sends_per_step": 3}
    within = at_step(feature=budget, evidence={"windows": (window(150, 3),)})
    assert decide(within).kind is Kind.HOLD
    for on_breach in ("pause", "step_back"):
        feature = {**budget, "on_breach": on_breach}
        over = decide(at_step(feature=feature, evidence={"windows": (window(150, 4),)}))
        assert (over.kind, over.reason) == (Kind.PAUSE, Reason.HARM_BUDGET)


def test_a_breach_steps_back_where_the_feature_asks_for_it() -> None:
    decision = decide(at_step(10.0, feature={"on_breach": "step_back"}, evidence=BREACHING))
    assert (decision.kind, decision.reason) == (Kind.STEP_BACK, Reason.SLO_ERROR_RATE)
    assert (decision.flags.rollout_percent, decision.flags.paused) == (5.0, False)
    assert decision.state.error_rate.late == ()


def test_a_breach_at_the_lowest_step_pauses_because_there_is_none_below() -> None:
    decision = decide(at_step(1.0, feature={"on_breach": "step_back"}, evidence=BREACHING))
    assert decision.kind is Kind.PAUSE


def test_lagging_senders_may_prove_harm_but_not_health() -> None:
    lagging = decide(at_step(evidence={"windows": (window(5000, converged=False),)}))
    assert lagging.reason is Reason.GATHERING_EVIDENCE
    harmed = {"windows": (window(150, 40, converged=False),) * 3}
    assert decide(at_step(evidence=harmed)).kind is Kind.PAUSE


def test_an_approved_step_is_taken() -> None:
    approved = proven_healthy(feature={"approval_steps": (10.0,)}, state={"approved_percent": 10.0})
    assert decide(approved).flags.rollout_percent == 10.0


def test_a_feature_whose_senders_export_no_revision_is_not_waited_for() -> None:
    assert decide(proven_healthy(evidence={"gate_revision": None})).kind is Kind.STEP_UP


def test_alerts_are_passed_over_where_the_feature_says_so() -> None:
    quiet = proven_healthy(feature={"hold_on_alert": False}, evidence={"alerts": ("X",)})
    assert decide(quiet).kind is Kind.STEP_UP


def test_a_hold_remembers_since_when_and_a_step_forgets_it() -> None:
    few = {"windows": (window(20),)}
    held = decide(at_step(evidence=few))
    assert held.state.held_since == NOW
    assert decide(at_step(evidence=few, state={"held_since": NOW - 90})).state.held_since == NOW - 90
    assert decide(proven_healthy(state={"held_since": NOW - 90})).state.held_since == 0.0


def test_gathering_says_how_many_sends_and_how_long() -> None:
    decision = decide(at_step(evidence={"windows": (window(30),)}))
    assert decision.more_sends == pytest.approx(14, abs=2)
    assert decision.more_s is not None
    assert decision.detail.startswith("About 14 more sends, about ")


def test_a_hold_says_that_clusters_are_reckoned_with() -> None:
    clustered = {"windows": (window(150, 0), window(150, 5), window(150, 0), window(150, 0))}
    held = decide(at_step(evidence=clustered))
    assert held.reason is Reason.GATHERING_EVIDENCE
    assert held.findings[0].effect == pytest.approx(4.84, abs=0.1)
    assert "reckoned with failures in groups of about 4.8, so more sends are asked for" in held.detail


def test_the_state_says_up_to_when_all_is_judged_and_keeps_it_without_an_answer() -> None:
    assert decide(at_step()).state.judged_to == NOW
    silent = decide(
        at_step(evidence={"windows": (), "judged_to": 0.0, "problem": Reason.METRICS_UNREACHABLE})
    )
    assert silent.state.judged_to == NOW - 30


def test_a_decision_that_was_not_written_holds_and_changes_nothing() -> None:
    snapshot = proven_healthy()
    refused = rejected_write(snapshot, decide(snapshot), Reason.CONFLICT)
    assert (refused.kind, refused.reason) == (Kind.HOLD, Reason.CONFLICT)
    assert (refused.flags, refused.state) == (snapshot.flags, snapshot.state)


Property = Callable[[Snapshot, Decision], None]


def never_up_unless_proven_fresh_and_converged(snapshot: Snapshot, decision: Decision) -> None:
    if decision.kind is not Kind.STEP_UP:
        assert decision.flags.rollout_percent <= snapshot.flags.rollout_percent
        return
    flags, evidence = snapshot.flags, snapshot.evidence
    assert flags.enabled
    assert not flags.paused
    assert not flags.unreadable
    assert not flags.missing
    assert not snapshot.frozen
    assert not (evidence.alerts and snapshot.feature.hold_on_alert)
    assert evidence.problem is not Reason.METRICS_UNREACHABLE
    if decision.reason is Reason.FIRST_STEP:
        assert flags.rollout_percent == 0
        return
    assert evidence.problem is None
    assert evidence.gate_revision is None or evidence.gate_revision >= flags.revision
    assert [finding.verdict for finding in decision.findings] == [Verdict.MET, Verdict.MET]
    assert evidence.now - snapshot.state.counted_from - evidence.unmeasured_s >= bake_s_of(snapshot)


def at_most_one_step_on_the_plan_and_never_past_its_end(snapshot: Snapshot, decision: Decision) -> None:
    before, after = snapshot.flags.rollout_percent, decision.flags.rollout_percent
    steps = snapshot.feature.steps
    if snapshot.newer is None:
        assert after in (before, step_above(steps, before), step_below(steps, before))
    assert 0 <= after <= 100


def only_a_step_back_lowers_the_percentage(snapshot: Snapshot, decision: Decision) -> None:
    if decision.flags.rollout_percent < snapshot.flags.rollout_percent and snapshot.newer is None:
        assert decision.kind is Kind.STEP_BACK
        assert snapshot.feature.on_breach == "step_back"


def never_resumed_enabled_or_opened_to_external_users(snapshot: Snapshot, decision: Decision) -> None:
    before, after = snapshot.flags, decision.flags
    assert after.enabled <= before.enabled
    assert after.internal_only >= before.internal_only
    assert after.paused >= before.paused


def a_pause_wins_over_everything_that_evidence_may_say(snapshot: Snapshot, _: Decision) -> None:
    paused = decide(changed(snapshot, flags={"paused": True}, newer=None))
    assert paused.kind is Kind.HOLD
    assert paused.flags.paused


def the_same_snapshot_gives_the_same_decision(snapshot: Snapshot, decision: Decision) -> None:
    assert decide(snapshot) == decision


def words_change_no_decision(snapshot: Snapshot, decision: Decision) -> None:
    settled = decide_bare(assess(snapshot))
    assert (settled.kind, settled.reason, settled.flags) == (decision.kind, decision.reason, decision.flags)
    causes: dict[str, Any] = {"paused_by": None, "stopped_by": None}
    assert replace(settled.state, **causes) == replace(decision.state, **causes)


def a_tick_without_data_proves_and_forgets_nothing(snapshot: Snapshot, _: Decision) -> None:
    for problem in (None, *METRICS_PROBLEMS):
        nothing = {"windows": (), "problem": problem}
        quiet = decide(changed(snapshot, evidence=nothing))
        settled = changed(snapshot, state=quiet.state, flags=quiet.flags, newer=None)
        again = decide(changed(settled, evidence=nothing))
        if again.kind is Kind.HOLD:
            assert again.state.error_rate == quiet.state.error_rate
            assert again.state.latency == quiet.state.latency


def every_decision_has_a_reason_of_the_list_and_words(_: Snapshot, decision: Decision) -> None:
    assert decision.reason in REASONS
    assert len(decision.detail) > 10


def a_record_recomputes_to_the_same_decision(snapshot: Snapshot, decision: Decision) -> None:
    text = dump(record(snapshot, decision))
    assert verify(json.loads(text)) == []
    assert snapshot_from(json.loads(text)) == snapshot


PROPERTIES: tuple[Property, ...] = (
    never_up_unless_proven_fresh_and_converged,
    at_most_one_step_on_the_plan_and_never_past_its_end,
    only_a_step_back_lowers_the_percentage,
    never_resumed_enabled_or_opened_to_external_users,
    a_pause_wins_over_everything_that_evidence_may_say,
    the_same_snapshot_gives_the_same_decision,
    words_change_no_decision,
    a_tick_without_data_proves_and_forgets_nothing,
    every_decision_has_a_reason_of_the_list_and_words,
    a_record_recomputes_to_the_same_decision,
)


@examples(2000, suppress_health_check=list(HealthCheck))
@given(snapshots())
def test_whatever_is_read_each_property_of_a_decision_holds(snapshot: Snapshot) -> None:
    decision = decide(snapshot)
    for holds in PROPERTIES:
        holds(snapshot, decision)


TICKS = st.lists(
    st.tuples(st.integers(0, 400), st.floats(0, 0.2), st.floats(0, 0.2), st.booleans()),
    min_size=1,
    max_size=60,
)


@examples(1000)
@given(TICKS, st.data())
def test_ticks_without_data_in_between_change_no_verdict(ticks: list[Any], data: st.DataObject) -> None:
    """The tests add up the same, whatever silence or failure of the metrics lies between."""
    flat = replace(FEATURE, initial_percent=5.0, bake_s=1e9)
    seen = [Tick(30.0 * i, n, round(n * e), round(n * s)) for i, (n, e, s, _) in enumerate(ticks)]
    holes = [
        Tick(30.0 * i + offset, missing=True)
        for i, offset in data.draw(
            st.lists(st.tuples(st.integers(0, len(seen)), st.floats(1, 29)), max_size=8)
        )
    ]
    mixed = {tick.at: tick for tick in (*holes, *seen)}
    with_holes = [mixed[at] for at in sorted(mixed)]

    def findings(of: list[Tick]) -> list[Any]:
        decided = course(flat, of, config_hash="h", window_s=30.0)
        return [
            (d.kind, [(f.verdict, f.n, f.k, f.evidence_for_health) for f in d.findings])
            for s, d in decided
            if s.evidence.problem is None
        ]

    assert findings(with_holes) == findings(seen)


def test_a_healthy_ramp_climbs_the_whole_plan_one_step_at_a_time() -> None:
    ticks = [Tick(30.0 * i, 150, 0.45, 2) for i in range(200)]
    ups = [
        decision.flags.rollout_percent
        for _, decision in course(FEATURE, ticks, config_hash="h", window_s=30.0)
        if decision.kind is Kind.STEP_UP
    ]
    assert tuple(ups) == STEPS


def test_an_outage_at_fifty_sends_a_second_pauses_after_one_tick() -> None:
    ticks = [Tick(0.0), Tick(30.0, 1500, 1500, 0), Tick(60.0, 1500, 1500, 0)]
    reasons = [d.reason for _, d in course(FEATURE, ticks, config_hash="h", window_s=30.0)]
    assert reasons == [Reason.FIRST_STEP, Reason.OUTAGE, Reason.PAUSED]


@pytest.mark.parametrize("name", FLAG_NAMES)
def test_a_lost_flag_never_leads_up(name: str) -> None:
    closed = {"enabled": False, "internal_only": True, "rollout_percent": 0.0, "paused": True}
    lost = proven_healthy(flags={name: closed[name], "missing": (name,)})
    assert decide(lost).kind is Kind.HOLD
