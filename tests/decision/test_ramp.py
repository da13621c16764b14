"""What starts again, and what it spends: a state machine over flags, configuration and clocks."""

from collections.abc import Callable
from dataclasses import fields, replace
from math import isfinite, log
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from kit.examples import examples
from worlds.snapshots import FEATURE, HASH, NOW, STEPS, at_step, changed, proven_healthy, window

from controller.contract import CLOSED, Flags
from controller.decision.byhand import by_hand, external_change
from controller.decision.causes import CONTROLLER, OUTSIDE
from controller.decision.decide import decide
from controller.decision.judging.judge import feature_tests
from controller.decision.model import Cause, Evidence, Kind, Reason, SloState, Snapshot, State
from controller.decision.ramp import step_above, step_below
from controller.decision.sequential.clusters import Clusters, Health
from controller.decision.sequential.wallet import Wallet
from controller.whatif.playback import Tick, course

CAUSE = Cause(Reason.OUTAGE, CONTROLLER, 9.0, "Outage.")
CASH = 0.4
USED = SloState(
    Wallet((1.0,) * 8, CASH), (2.0,) * 8, Health(300.0, 3.0, 2.0), Clusters(9.0, 3.0, 1.0), 300.0, 3.0
)


def spent(cash: float) -> float:
    """Return what of alpha 0.05 is spent while so much of the wallet is not staked."""
    return 0.05 * (0.9 * (1 - cash) + 0.1)


WITH_TESTS: dict[str, Any] = {
    "state": {
        "error_rate": USED,
        "latency": USED,
        "step_sends": 300.0,
        "tests_started": 2,
        "alpha_spent": 0.02,
    }
}


def test_the_steps_of_the_plan_are_walked_one_by_one_from_anywhere() -> None:
    assert [step_above(STEPS, percent) for percent in (0, 1, 3.5, 99.9, 100)] == [1, 5, 5, 100, None]
    assert [step_below(STEPS, percent) for percent in (100, 50.5, 5, 1, 0)] == [50, 50, 1, None, None]


@pytest.mark.parametrize(
    "before",
    [{"paused": True}, {"internal_only": True}, {"enabled": False}],
    ids=["resumed", "opened to external users", "enabled"],
)
def test_everything_begins_anew_and_spends_alpha_again(before: dict[str, Any]) -> None:
    snapshot = at_step(1.0, **WITH_TESTS)
    snapshot = changed(snapshot, state={"flags": replace(snapshot.flags, **before)})
    state = decide(snapshot).state
    left = CASH * 6 / 7  # of six parts for the steps ahead and one for the resumes
    assert state.error_rate == state.latency == SloState(state.error_rate.wallet)
    assert state.error_rate.wallet == Wallet(cash=CASH).staked(6, 8)
    assert state.error_rate.wallet.cash == pytest.approx(left)
    assert state.step_sends == 0.0
    assert state.step_started_at == NOW
    assert state.counted_from == NOW
    assert state.tests_started == 3
    assert state.alpha_spent == pytest.approx(spent(left))


def test_another_percentage_begins_the_step_s_health_but_the_other_tests_go_on() -> None:
    snapshot = at_step(**WITH_TESTS)
    snapshot = changed(snapshot, state={"flags": replace(snapshot.flags, rollout_percent=1.0)})
    state = decide(snapshot).state
    wallet = USED.wallet.staked(5, 8)
    assert min(wallet.bets) > 1.0
    assert state.error_rate == SloState(wallet, USED.late, clusters=USED.clusters.stepped())
    assert state.tests_started == 3
    assert state.alpha_spent == pytest.approx(spent(wallet.cash))


def test_windows_from_before_a_change_count_for_nothing() -> None:
    snapshot = proven_healthy()
    snapshot = changed(snapshot, state={"flags": replace(snapshot.flags, rollout_percent=1.0)})
    decision = decide(snapshot)
    assert decision.kind is Kind.HOLD
    assert decision.state.step_sends == 0


def test_a_new_revision_alone_begins_nothing() -> None:
    snapshot = at_step(**WITH_TESTS)
    state = decide(changed(snapshot, flags={"revision": 5})).state
    assert state.tests_started == 2
    assert state.step_sends == 450.0


def test_another_configuration_begins_with_the_cash_that_is_left_and_keeps_the_old_hash() -> None:
    state = decide(replace(at_step(**WITH_TESTS), config_hash="new")).state
    assert (state.config_hash, state.previous_config_hash) == ("new", HASH)
    assert (state.ramp_started_at, state.ramp_sends) == (NOW, 0.0)
    assert state.error_rate.wallet == Wallet(cash=CASH).staked(5, 8)
    assert state.alpha_spent == pytest.approx(spent(state.error_rate.wallet.cash))


def test_leaving_zero_begins_a_ramp() -> None:
    state = decide(at_step(0.0, **WITH_TESTS)).state
    assert (state.tests_started, state.error_rate) == (1, SloState(Wallet().staked(6, 8)))
    assert state.ramp_started_at == NOW


def test_a_step_up_is_counted_from_the_clock_of_the_source() -> None:
    ahead = proven_healthy(evidence={"now": NOW + 7200})
    state = decide(ahead).state
    assert (state.step_started_at, state.counted_from) == (NOW, NOW + 7200)


def test_the_tests_begin_on_the_source_s_clock_as_soon_as_it_can_be_read() -> None:
    flags = at_step().flags
    resumed = by_hand(
        Kind.RESUME, replace(flags, paused=True), FEATURE, replace(at_step().state, flags=flags), NOW
    )
    assert resumed.state.unplaced
    unreachable = {"windows": (), "problem": Reason.METRICS_UNREACHABLE}
    first = decide(at_step(state=resumed.state, evidence=unreachable))
    assert first.state.unplaced
    second = decide(proven_healthy(state=first.state))
    assert (second.state.unplaced, second.state.counted_from, second.state.step_sends) == (False, NOW, 0.0)
    third = decide(proven_healthy(state=second.state))
    assert third.state.step_sends == 1000.0


def test_closed_flags_spend_nothing() -> None:
    snapshot = at_step(**WITH_TESTS)
    state = decide(changed(snapshot, flags={"enabled": False})).state
    assert (state.tests_started, state.error_rate.wallet) == (2, Wallet(cash=CASH))


def test_paused_or_disabled_features_learn_nothing() -> None:
    for closed in ({"paused": True}, {"enabled": False}):
        snapshot = proven_healthy(flags=closed)
        state = decide(changed(snapshot, state={"flags": snapshot.flags})).state
        assert (state.error_rate.sends, state.error_rate.late) == (0.0, ())


def test_weighing_windows_loses_no_field_of_the_state() -> None:
    kept = State(
        config_hash="a",
        ramp_started_at=1.0,
        step_started_at=2.0,
        counted_from=3.0,
        held_since=4.0,
        flags=at_step().flags,
        approved_percent=5.0,
        tests_started=6,
        alpha_spent=7.0,
        half_failed=1,
        previous_config_hash="b",
        unplaced=True,
        paused_by=CAUSE,
        stopped_by=CAUSE,
        stepped_back=(8.0,),
    )
    evidence = at_step().evidence
    weighed = feature_tests(FEATURE, 30.0).with_windows(kept, evidence.windows, evidence)
    counts = {"step_sends", "step_errors", "ramp_sends", "ramp_errors"}
    counted = {"judged_to", "error_rate", "latency", "half_failed", *counts}
    for field in fields(State):
        assert (getattr(weighed, field.name) == getattr(kept, field.name)) is (
            field.name not in counted - {"step_errors", "ramp_errors"}
        ), field.name


def test_the_whole_ramp_spends_no_more_than_alpha_and_leaves_some_for_resumes() -> None:
    ticks = [Tick(30.0 * i, 150, 0.45, 2) for i in range(200)]
    *_, (_, last) = course(FEATURE, ticks, config_hash=HASH, window_s=30.0)
    assert last.state.tests_started == 6
    assert last.state.alpha_spent == pytest.approx(spent(1 / 12))


def test_resumes_without_number_and_changed_configurations_never_spend_more_than_alpha() -> None:
    snapshot = proven_healthy(100.0)
    state = decide(at_step(0.0)).state
    for number in range(2000):
        paused = by_hand(Kind.PAUSE, snapshot.flags, FEATURE, state, NOW)
        state = by_hand(Kind.RESUME, paused.flags, FEATURE, paused.state, NOW).state
        if number % 10 == 0:
            state = decide(changed(snapshot, state=state, config_hash=f"config {number}")).state
        assert state.alpha_spent <= 0.05 + 1e-12
        assert all(isfinite(bet) for bet in state.error_rate.wallet.bets)
    assert isfinite(state.error_rate.wallet.evidence())


def test_a_resume_forgets_the_evidence_but_not_what_was_spent() -> None:
    snapshot = at_step(**WITH_TESTS)
    paused = by_hand(Kind.PAUSE, snapshot.flags, FEATURE, snapshot.state, NOW)
    resumed = by_hand(Kind.RESUME, paused.flags, FEATURE, paused.state, NOW).state.error_rate
    assert resumed == SloState(Wallet(cash=CASH).staked(5, 8))
    assert resumed.wallet.evidence() == pytest.approx(log(CASH))


def test_lowering_the_percentage_voids_the_approvals_above_it() -> None:
    snapshot = at_step(50.0, state={"approved_percent": 100.0})
    lowered = by_hand(Kind.SET, snapshot.flags, FEATURE, snapshot.state, NOW, percent=5.0)
    assert lowered.state.approved_percent == 0.0


HAND: list[tuple[Kind, float | None, dict[str, Any]]] = [
    (Kind.PAUSE, None, {"paused": True}),
    (Kind.DISABLE, None, {"enabled": False}),
    (Kind.ENABLE, None, {}),
    (Kind.RESUME, None, {}),
    (Kind.SET, 37.125, {"rollout_percent": 37.125}),
    (Kind.SET, 0.0, {"rollout_percent": 0.0}),
]


@pytest.mark.parametrize(("kind", "percent", "difference"), HAND)
def test_a_person_changes_just_what_was_asked_for(
    kind: Kind, percent: float | None, difference: dict[str, Any]
) -> None:
    snapshot = at_step(**WITH_TESTS)
    decision = by_hand(kind, snapshot.flags, FEATURE, snapshot.state, NOW, percent=percent)
    assert decision.flags == replace(snapshot.flags, **difference)
    assert (decision.kind, decision.reason) == (kind, Reason.MANUAL)
    assert decision.state.flags == decision.flags
    assert (decision.state.error_rate == USED) is not (kind in {Kind.SET, Kind.DISABLE})


def test_a_resume_begins_the_tests_anew_and_says_how_much_of_alpha_is_spent_with_them() -> None:
    snapshot = at_step(**WITH_TESTS)
    paused = by_hand(Kind.PAUSE, snapshot.flags, FEATURE, snapshot.state, NOW)
    assert paused.detail == "By hand: paused false -> true."
    resumed = by_hand(Kind.RESUME, paused.flags, FEATURE, paused.state, NOW)
    assert resumed.detail == (
        "By hand: paused true -> false. The tests start again; with them 0.035 of alpha 0.05 is spent."
    )
    assert (resumed.state.error_rate.sends, resumed.state.unplaced) == (0.0, True)


@pytest.mark.parametrize("percent", [None, -1.0, 100.5, 1.2345, float("nan")])
def test_a_percentage_that_is_none_is_refused(percent: float | None) -> None:
    with pytest.raises(ValueError, match="percentage"):
        by_hand(Kind.SET, CLOSED, FEATURE, State(), NOW, percent=percent)


def test_an_approval_is_of_the_next_step_that_waits_for_one() -> None:
    feature = replace(FEATURE, approval_steps=(10.0, 100.0))
    flags = at_step().flags
    first = by_hand(Kind.APPROVE, flags, feature, State(flags=flags), NOW)
    assert first.state.approved_percent == 10.0
    second = by_hand(Kind.APPROVE, flags, feature, first.state, NOW)
    assert second.state.approved_percent == 100.0
    with pytest.raises(ValueError, match="no step of microsoft"):
        by_hand(Kind.APPROVE, flags, feature, second.state, NOW)


def test_what_a_machine_does_cannot_be_done_by_hand() -> None:
    with pytest.raises(ValueError, match="not done by hand"):
        by_hand(Kind.STEP_UP, CLOSED, FEATURE, State(), NOW)


def test_a_change_from_outside_is_noticed_once() -> None:
    snapshot = at_step(flags={"rollout_percent": 50.0})
    noticed = external_change(snapshot.state, snapshot.flags)
    assert noticed is not None
    assert noticed.detail == "Changed outside of this product: rollout_percent 5 -> 50."
    assert external_change(decide(snapshot).state, snapshot.flags) is None


def test_flags_never_seen_before_are_no_change_from_outside() -> None:
    assert external_change(State(), at_step().flags) is None


class Rollout(RuleBasedStateMachine):
    """A feature among people, clocks and metrics: what holds after every possible history."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.set_by_s = 0.0
        self.flags = Flags(enabled=True, internal_only=False, rollout_percent=0.0, paused=False)
        self.state = State()
        self.highest_by_machine = 0.0
        self.spent = 0.0

    def tick(self, evidence: Evidence) -> None:
        self.now += 30
        before, begun = self.flags, self.state.counted_from
        decision = decide(Snapshot(self.here, FEATURE, self.flags, evidence, self.state, HASH, window_s=30.0))
        self.flags, self.state = decision.flags, decision.state
        if decision.kind is Kind.STEP_UP:
            assert decision.reason is Reason.FIRST_STEP or evidence.now - begun >= FEATURE.bake_s_at(0)
            assert step_above(STEPS, before.rollout_percent) == self.flags.rollout_percent
            assert self.state.error_rate.health == Health()

    @property
    def here(self) -> float:
        """The clock of the controller's machine."""
        return self.now + self.set_by_s

    def measured(self, sends: float, errors: float, problem: Reason | None) -> Evidence:
        at = self.now + 30
        windows = (window(sends, errors, at=at),)
        return Evidence(now=at, windows=windows, judged_to=at, problem=problem)

    @rule(sends=st.integers(0, 600))
    def healthy_tick(self, sends: int) -> None:
        self.tick(self.measured(sends, 0, None))

    @rule(sends=st.integers(0, 600))
    def broken_tick(self, sends: int) -> None:
        self.tick(self.measured(sends, 0.3 * sends, None))

    @rule(problem=st.sampled_from((Reason.METRICS_STALE, Reason.METRICS_UNREACHABLE)))
    def tick_without_data(self, problem: Reason) -> None:
        before = (self.state.error_rate, self.flags)
        resting = not self.state.unplaced and self.state.flags == self.flags and self.state.config_hash
        self.tick(Evidence(now=self.now + 30, problem=problem))
        if resting and before[1].rollout_percent > 0:
            assert (self.state.error_rate, self.flags) == before

    @rule(hours=st.integers(1, 5))
    def time_passes(self, hours: int) -> None:
        self.now += 3600 * hours

    @rule(hours=st.integers(-48, 48))
    def the_clock_here_is_set(self, hours: int) -> None:
        self.set_by_s = 3600.0 * hours

    @rule(kind=st.sampled_from((Kind.PAUSE, Kind.RESUME, Kind.ENABLE, Kind.DISABLE)))
    def person(self, kind: Kind) -> None:
        self.by(lambda: by_hand(kind, self.flags, FEATURE, self.state, self.here))

    @rule(percent=st.sampled_from((0.0, 0.5, 1.0, 7.0, 50.0, 100.0)))
    def person_sets(self, percent: float) -> None:
        self.by(lambda: by_hand(Kind.SET, self.flags, FEATURE, self.state, self.here, percent=percent))

    def by(self, act: Callable[[], Any]) -> None:
        decision = act()
        self.flags, self.state = decision.flags, decision.state

    @precondition(lambda self: not self.flags.paused)
    @rule()
    def somebody_types_into_redis(self) -> None:
        self.flags = replace(self.flags, paused=True)

    @invariant()
    def evidence_is_never_older_than_the_step(self) -> None:
        assert self.state.counted_from <= self.now + 30
        if self.state.unplaced:
            assert self.state.step_sends == 0

    @invariant()
    def no_more_than_alpha_is_spent(self) -> None:
        assert self.state.alpha_spent <= FEATURE.alpha + 1e-12

    @invariant()
    def the_state_knows_the_flags_it_was_left_with(self) -> None:
        flags = self.state.flags
        if self.state.config_hash and not (self.flags.paused and not flags.paused):
            assert flags == self.flags


TestRollout = Rollout.TestCase
TestRollout.settings = examples(1000, stateful_step_count=40)


def test_a_percentage_that_a_person_set_to_zero_stays_until_a_person_begins_again() -> None:
    snapshot = at_step(10.0)
    stopped = by_hand(
        Kind.SET, snapshot.flags, FEATURE, snapshot.state, NOW, percent=0.0, actor="ann", note="bad"
    )
    assert stopped.state.stopped_by == Cause(Reason.MANUAL, "ann", NOW, "rollout_percent 10 -> 0", "bad")
    later = changed(snapshot, flags=stopped.flags, state=stopped.state, now=NOW + 30)
    for problem in (None, Reason.METRICS_UNREACHABLE):
        held = decide(changed(later, evidence={"problem": problem}))
        assert (held.kind, held.reason) == (Kind.HOLD, Reason.STOPPED)
        assert "ann (manual): bad" in held.detail


@pytest.mark.parametrize(
    ("kind", "percent"), [(Kind.RESUME, None), (Kind.ENABLE, None), (Kind.SET, 1.0)], ids=str
)
def test_resume_enable_and_a_percentage_end_the_stop(kind: Kind, percent: float | None) -> None:
    snapshot = at_step(10.0)
    stopped = by_hand(Kind.SET, snapshot.flags, FEATURE, snapshot.state, NOW, percent=0.0)
    assert stopped.state.stopped_by
    begun = by_hand(kind, stopped.flags, FEATURE, stopped.state, NOW, percent=percent)
    assert begun.state.stopped_by is None
    after = decide(changed(snapshot, flags=begun.flags, state=begun.state))
    assert after.reason is not Reason.STOPPED


def test_a_zero_that_was_set_with_redis_cli_stays_as_well_and_one_that_cannot_be_read_does_not() -> None:
    read = at_step(0.0, state={"flags": at_step(10.0).flags})
    held = decide(read)
    assert (held.reason, held.state.stopped_by and held.state.stopped_by.actor) == (Reason.STOPPED, OUTSIDE)
    again = decide(changed(read, state=held.state, flags={"enabled": False}))
    assert decide(changed(read, state=again.state)).reason is Reason.FIRST_STEP
    lost = decide(changed(read, flags={"missing": ("rollout_percent",)}))
    assert (lost.reason, lost.state.stopped_by) == (Reason.FLAGS_UNREADABLE, None)


def test_a_ramp_that_was_never_stopped_begins_by_itself() -> None:
    assert decide(at_step(0.0)).reason is Reason.FIRST_STEP


def test_the_first_cause_of_a_pause_stays_through_every_further_pause_and_ends_with_it() -> None:
    failing = at_step(10.0, evidence={"windows": (window(150, 140),)})
    paused = decide(failing)
    first = paused.state.paused_by
    assert first is not None
    assert (first.reason, first.actor, first.at) == (Reason.OUTAGE, CONTROLLER, NOW)
    assert first.detail == paused.detail
    again = by_hand(Kind.PAUSE, paused.flags, FEATURE, paused.state, NOW + 60, actor="bob", note="in case")
    assert again.state.paused_by == first
    assert again.detail.startswith("Already paused by controller (outage): Outage")
    held = decide(changed(failing, flags=again.flags, state=again.state, now=NOW + 90))
    assert held.state.paused_by == first
    assert held.detail.startswith(
        "Paused: nobody is in (10 % when resumed); only a person resumes it. By con"
    )
    resumed = by_hand(Kind.RESUME, again.flags, FEATURE, held.state, NOW + 120)
    assert resumed.state.paused_by is None


def test_a_pause_by_redis_cli_has_a_cause_too() -> None:
    snapshot = at_step(10.0, flags={"paused": True})
    noticed = decide(snapshot).state.paused_by
    assert noticed is not None
    assert (noticed.actor, noticed.at) == (OUTSIDE, NOW)
    assert noticed.detail.endswith("paused false -> true")
    by_name = by_hand(Kind.PAUSE, snapshot.flags, FEATURE, snapshot.state, NOW, actor="bob")
    assert by_name.state.paused_by == noticed


def test_a_pause_where_no_flag_exists_is_no_pause_of_what_is_paused() -> None:
    paused = by_hand(Kind.PAUSE, CLOSED, FEATURE, State(flags=CLOSED), NOW, actor="ann", note="off")
    assert "Already" not in paused.detail
    assert "paused missing -> true" in paused.detail
    assert paused.state.paused_by is not None
    assert not paused.flags.missing


def test_the_second_breach_of_a_step_that_was_left_by_a_step_back_pauses() -> None:
    feature = {"on_breach": "step_back"}
    failing = at_step(10.0, feature=feature, evidence={"windows": (window(150, 140),)})
    first = decide(failing)
    assert (first.kind, first.flags.rollout_percent) == (Kind.STEP_BACK, 5.0)
    up = decide(
        proven_healthy(
            flags=first.flags, feature=feature, state=replace(first.state, counted_from=NOW - 3600)
        )
    )
    assert (up.kind, up.flags.rollout_percent) == (Kind.STEP_UP, 10.0)
    second = decide(changed(failing, flags=up.flags, state=replace(up.state, counted_from=NOW - 3600)))
    assert second.kind is Kind.PAUSE
    assert second.detail.endswith("The second breach of this step in this ramp: paused at 10 %.")
    new_ramp = decide(
        changed(failing, state=first.state, config_hash="other", flags={"rollout_percent": 10.0})
    )
    assert new_ramp.state.stepped_back == ()


def test_an_approval_is_spent_by_its_step_and_by_any_breach() -> None:
    feature = {"approval_steps": (10.0, 25.0)}
    approved = proven_healthy(feature=feature, state={"approved_percent": 10.0})
    up = decide(approved)
    assert (up.kind, up.state.approved_percent) == (Kind.STEP_UP, 0.0)
    for on_breach in ("pause", "step_back"):
        failing = changed(approved, evidence={"windows": (window(150, 140),)})
        broken = decide(changed(failing, feature=feature | {"on_breach": on_breach}))
        assert broken.state.approved_percent == 0.0


def test_a_plan_that_ends_below_the_present_percentage_says_so() -> None:
    held = decide(at_step(50.0, feature={"steps": (1.0, 25.0)}))
    assert held.reason is Reason.COMPLETE
    assert held.detail.startswith("At 50 %, above the end of the plan, 25 %; nothing steps it down.")


def test_words_say_that_only_internal_mail_is_in() -> None:
    held = decide(at_step(100.0, flags={"internal_only": True}))
    assert held.detail == "At 100 % of internal mail, the end of the plan; the tests keep monitoring."
    paused = decide(at_step(10.0, flags={"internal_only": True, "paused": True}))
    assert "(10 % of internal mail when resumed)" in paused.detail


def test_open_and_close_change_who_may_be_in_and_begin_the_tests_again() -> None:
    snapshot = at_step(**WITH_TESTS, flags={"internal_only": True})
    snapshot = changed(snapshot, state={"flags": snapshot.flags})
    opened = by_hand(Kind.OPEN, snapshot.flags, FEATURE, snapshot.state, NOW)
    assert (opened.flags.internal_only, opened.state.error_rate.sends) == (False, 0.0)
    closed = by_hand(Kind.CLOSE, opened.flags, FEATURE, opened.state, NOW)
    assert closed.flags == snapshot.flags
    assert by_hand(Kind.CLOSE, closed.flags, FEATURE, closed.state, NOW).detail == (
        "Already for internal mail only; nothing changed."
    )
