"""The always-valid tests: the figures they were chosen for, and what holds for any counts."""

from dataclasses import replace
from itertools import pairwise
from math import ceil, exp, inf, log, nan
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.examples import examples, share_of
from worlds.snapshots import FEATURE

from controller.decision.model import RolloutFeature, SloState
from controller.decision.sequential import (
    SloTest,
    breach_evidence,
    breach_rates,
    health_evidence,
    late_evidence,
    log_mean,
    log_sum,
    sends_until_healthy,
    slo_test,
    with_window,
)

LIMIT = 0.01
TEST = slo_test(LIMIT, FEATURE, 30.0)
SHARES = st.floats(0, 1)
SENDS = st.floats(0, 5000)


def added(test: SloTest, *counts: tuple[float, float], state: SloState | None = None) -> SloState:
    state = state or SloState()
    for n, k in counts:
        state = with_window(test, state, n, k, proves_health=True)
    return state


def sends_until(rate: float, reached: str) -> int:
    """Count the sends of the average path, one by one, until a goal is reached."""
    state, sends = SloState(), 0
    # The alarm averages two SLOs; while latency is quiet the errors alone have to bring twice the evidence.
    alarm = TEST.breach_needed + log(2)
    while True:
        sends += 1
        state = with_window(TEST, state, 1, rate, proves_health=True)
        if reached == "health" and health_evidence(state) >= TEST.health_needed:
            return sends
        if reached == "breach" and breach_evidence(state) >= alarm:
            return sends


@pytest.mark.parametrize(
    ("rate", "reached", "sends"),
    [(0.0, "health", 202), (0.003, "health", 341), (0.1, "breach", 49), (0.03, "breach", 582)],
)
def test_the_average_path_needs_as_many_sends_as_the_design_says(
    rate: float, reached: str, sends: int
) -> None:
    assert sends_until(rate, reached) == pytest.approx(sends, rel=0.02)


def test_two_failed_sends_are_enough_where_every_send_fails() -> None:
    assert sends_until(1.0, "breach") == 2


def test_the_alarms_lie_where_alpha_is_split_nine_to_one() -> None:
    assert TEST.breach_needed == pytest.approx(log(6 / (0.9 * 0.05)))
    assert TEST.late_needed == pytest.approx(log(2880 / (0.1 * 0.05)))
    assert TEST.health_needed == pytest.approx(log(1 / 0.05))


def test_a_longer_ramp_makes_the_late_alarm_only_a_little_slower() -> None:
    week = slo_test(LIMIT, replace(FEATURE, longest_ramp_s=7 * 86_400), 30.0)
    assert week.late_needed - TEST.late_needed == pytest.approx(log(7))


@given(st.floats(1e-9, 0.999))
def test_every_rate_that_breach_bets_on_lies_above_the_limit(limit: float) -> None:
    rates = breach_rates(limit)
    assert len(rates) == 8
    assert all(limit < rate < 1 for rate in rates)
    assert list(rates) == sorted(rates)


def test_the_grid_of_breach_rates_runs_from_one_and_a_half_limits_to_nine_tenths() -> None:
    rates = breach_rates(LIMIT)
    assert (rates[0], rates[-1]) == pytest.approx((0.015, 0.9))
    ratios = [b / a for a, b in pairwise(rates)]
    assert max(ratios) == pytest.approx(min(ratios))


@examples(2000)
@given(SENDS, SHARES, st.floats(1e-5, 0.4))
def test_one_window_never_reaches_the_alarm_alone(sends: float, share: float, limit: float) -> None:
    test = slo_test(limit, FEATURE, 30.0)
    state = added(test, (sends, share * sends))
    assert breach_evidence(state) <= 0.75 * test.breach_needed + 1e-9
    assert late_evidence(state) < test.late_needed


@examples(2000)
@given(st.lists(st.tuples(SENDS, SHARES), max_size=6), st.integers(1, 5))
def test_windows_without_sends_change_nothing(seen: list[tuple[float, float]], silent: int) -> None:
    state = added(TEST, *[(n, share * n) for n, share in seen])
    assert added(TEST, *[(0.0, 0.0)] * silent, state=state) is state


@pytest.mark.parametrize("counts", [(nan, 0), (inf, 1), (-1, 0), (10, nan)])
def test_what_is_not_a_count_changes_nothing(counts: tuple[float, float]) -> None:
    state = added(TEST, (100, 1))
    assert added(TEST, counts, state=state) is state


@given(st.floats(0.001, 1000), st.floats(-10, 2000))
def test_bad_sends_are_clipped_to_the_sends(n: float, k: float) -> None:
    assert added(TEST, (n, k)) == added(TEST, (n, min(max(k, 0.0), n)))


@examples(1000)
@given(st.lists(st.tuples(SENDS, SHARES), min_size=1, max_size=40))
def test_the_state_stays_finite_whatever_is_seen(seen: list[tuple[float, float]]) -> None:
    state = added(TEST, *[(n * 50, share * n * 50) for n, share in seen])
    for number in (*state.breach, *state.late, *state.healthy):
        assert -inf < number < inf
    assert -inf < breach_evidence(state) < inf
    assert -inf < health_evidence(state) < inf
    assert -inf < late_evidence(state) < inf


def expected_bet(test: SloTest, n: int, p: float, kind: str) -> float:
    """Work out the expected growth of a bet over one window of n sends, by all outcomes of a binomial."""
    total, chance = 0.0, (1 - p) ** n
    for k in range(n + 1):
        state = added(test, (n, k))
        evidence = breach_evidence(state) if kind == "breach" else health_evidence(state)
        total += chance * exp(evidence)
        chance *= (n - k) / (k + 1) * p / (1 - p)
    return total


@pytest.mark.parametrize("n", [1, 3, 20, 150])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_bet_on_a_breach_never_grows_on_average_while_the_limit_is_kept(n: int, share: float) -> None:
    assert expected_bet(TEST, n, share * LIMIT, "breach") <= 1 + 1e-9


@pytest.mark.parametrize("n", [1, 3, 20, 150])
@pytest.mark.parametrize("times", [2.0, 3.0, 20.0])
def test_a_bet_on_health_never_grows_on_average_where_the_margin_is_violated(n: int, times: float) -> None:
    assert expected_bet(TEST, n, times * LIMIT, "health") <= 1 + 1e-9


def test_restarts_hear_a_change_that_the_step_test_has_gone_deaf_to() -> None:
    healthy = added(TEST, *[(150, 0.45)] * 480)
    changed, windows = healthy, 0
    while late_evidence(changed) < TEST.late_needed + log(2):
        changed, windows = added(TEST, (150, 15), state=changed), windows + 1
    assert windows <= 8
    assert breach_evidence(changed) < TEST.breach_needed


def test_r_grows_by_its_weight_where_nothing_is_learnt() -> None:
    """R minus the number of windows is fair: a window whose bets are all 1 adds just 1 to the sum of R."""
    neutral = replace(TEST, breach=((0.0, 0.0),) * 8)
    assert exp(late_evidence(added(neutral, *[(10, 1)] * 30))) == pytest.approx(30)


@given(st.lists(st.floats(-700, 700), min_size=1, max_size=9))
def test_sums_of_logarithms_do_not_depend_on_their_size(terms: list[float]) -> None:
    shifted = [term + 5000 for term in terms]
    assert log_sum(shifted) == pytest.approx(log_sum(terms) + 5000)
    assert min(terms) - 1e-9 <= log_mean(terms) <= max(terms) + 1e-9


@examples(500)
@given(st.floats(1, 5000), st.floats(0, 0.018))
def test_the_sends_foretold_are_the_sends_that_it_takes(seen: float, share: float) -> None:
    state = added(TEST, (seen, share * seen))
    more = sends_until_healthy(TEST, state)
    if more is None:
        assert share >= 0.01
        return
    after = added(TEST, (ceil(more) + 1, share * (ceil(more) + 1)), state=state)
    assert health_evidence(after) >= TEST.health_needed
    if more > 2:
        before = added(TEST, (0.98 * more - 1, share * (0.98 * more - 1)), state=state)
        assert health_evidence(before) < TEST.health_needed


def test_nothing_is_foretold_where_health_would_never_be_proven() -> None:
    assert sends_until_healthy(TEST, added(TEST, (100, 5))) is None


def test_at_the_limit_false_alarms_of_one_slo_stay_far_below_alpha() -> None:
    """Ville's bound, tried: 400 courses of 300 windows just at the limit."""
    rng, alarms, courses = Random(5), 0, share_of(400, 100)
    for _ in range(courses):
        state = SloState()
        for _ in range(300):
            bad = sum(rng.random() < LIMIT for _ in range(15))
            state = with_window(TEST, state, 15, bad, proves_health=False)
            if breach_evidence(state) >= TEST.breach_needed:
                alarms += 1
                break
    assert alarms <= courses * 0.05 * 0.9 / 6 * 3


def test_a_limit_too_high_for_the_margin_still_leaves_room_below_one() -> None:
    test = slo_test(0.7, RolloutFeature("a", "b", "c"), 30.0)
    assert all(-inf < worth < inf for pair in (*test.breach, *test.healthy) for worth in pair)
