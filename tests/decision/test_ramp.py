"""What starts again, and what it spends: a state machine over flags, configuration and clocks."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from kit.examples import examples
from worlds.snapshots import FEATURE, HASH, NOW, STEPS, at_step, changed, proven_healthy, window

from controller.contract import CLOSED, Flags
from controller.decision.byhand import by_hand, external_change
from controller.decision.decide import decide
from controller.decision.judge import add_windows, feature_tests
from controller.decision.model import Evidence, Kind, Reason, SloState, Snapshot, State
from controller.decision.ramp import step_above, step_below
from controller.whatif.playback import Tick, course

STEP_SHARE, LATE_SHARE = 0.9 * 0.05 / 6, 0.1 * 0.05
USED = SloState((1.0,) * 8, (2.0,) * 8, (-9.0,) * 7, 300.0, 3.0)
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
    snapshot = at_step(**WITH_TESTS)
    snapshot = changed(snapshot, state={"flags": replace(snapshot.flags, **before)})
    state = decide(snapshot).state
    assert (state.error_rate, state.latency, state.step_sends) == (SloState(), SloState(), 0.0)
    assert state.step_started_at == NOW
    assert state.counted_from == NOW
    assert state.tests_started == 3
    assert state.alpha_spent == pytest.approx(0.02 + STEP_SHARE + LATE_SHARE)


def test_another_percentage_begins_the_step_but_the_late_test_goes_on() -> None:
    snapshot = at_step(**WITH_TESTS)
    snapshot = changed(snapshot, state={"flags": replace(snapshot.flags, rollout_percent=1.0)})
    state = decide(snapshot).state
    assert state.error_rate == SloState(late=USED.late)
    assert state.tests_started == 3
    assert state.alpha_spent == pytest.approx(0.02 + STEP_SHARE)


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


def test_another_configuration_begins_a_ramp_and_keeps_the_old_hash() -> None:
    state = decide(replace(at_step(**WITH_TESTS), config_hash="new")).state
    assert (state.config_hash, state.previous_config_hash) == ("new", HASH)
    assert (state.ramp_started_at, state.ramp_sends) == (NOW, 0.0)
    assert state.alpha_spent == pytest.approx(STEP_SHARE + LATE_SHARE)


def test_leaving_zero_begins_a_ramp() -> None:
    state = decide(at_step(0.0, **WITH_TESTS)).state
    assert (state.tests_started, state.error_rate) == (1, SloState())
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
    assert (state.tests_started, state.alpha_spent) == (2, 0.02)


def test_paused_or_disabled_features_learn_nothing() -> None:
    for closed in ({"paused": True}, {"enabled": False}):
        snapshot = proven_healthy(flags=closed)
        state = decide(changed(snapshot, state={"flags": snapshot.flags})).state
        assert state.error_rate == SloState()


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
        previous_config_hash="b",
        unplaced=True,
    )
    evidence = at_step().evidence
    weighed = add_windows(feature_tests(FEATURE, 30.0), kept, evidence.windows, evidence)
    counted = {"judged_to", "error_rate", "latency", "step_sends", "step_errors", "ramp_sends", "ramp_errors"}
    for field in fields(State):
        assert (getattr(weighed, field.name) == getattr(kept, field.name)) is (
            field.name not in counted - {"step_errors", "ramp_errors"}
        ), field.name


def test_the_whole_ramp_spends_just_alpha() -> None:
    ticks = [Tick(30.0 * i, 150, 0.45, 2) for i in range(200)]
    *_, (_, last) = course(FEATURE, ticks, config_hash=HASH, window_s=30.0)
    assert last.state.tests_started == 6
    assert last.state.alpha_spent == pytest.approx(0.05)


def test_lowering_the_percentage_voids_the_approvals_above_it() -> None:
    snapshot = at_step(50.0, state={"approved_percent": 100.0})
    lowered = by_hand(Kind.SET, snapshot.flags, FEATURE, snapshot.state, NOW, percent=5.0)
    assert lowered.state.approved_percent == 5.0


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
        "By hand: paused true -> false. The tests start again; with them 0.0325 of alpha 0.05 is spent."
    )
    assert (resumed.state.error_rate, resumed.state.unplaced) == (SloState(), True)


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
            assert decision.reason is Reason.FIRST_STEP or evidence.now - begun >= FEATURE.bake_s
            assert step_above(STEPS, before.rollout_percent) == self.flags.rollout_percent
            assert self.state.error_rate.breach == ()

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
    def the_state_knows_the_flags_it_was_left_with(self) -> None:
        flags = self.state.flags
        if self.state.config_hash and not (self.flags.paused and not flags.paused):
            assert flags == self.flags


TestRollout = Rollout.TestCase
TestRollout.settings = examples(1000, stateful_step_count=40)
