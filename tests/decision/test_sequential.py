"""The always-valid tests: the figures they were chosen for, and what holds for any counts."""

from dataclasses import replace
from itertools import pairwise
from math import ceil, exp, inf, isfinite, log, nan
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.examples import examples, share_of
from worlds.snapshots import FEATURE

from controller.decision.feature import RolloutFeature
from controller.decision.judging.slo_tests import SloTest, slo_test, with_window
from controller.decision.model import SloState
from controller.decision.sequential.clusters import Clusters, Health, counted_once, unseen_effect
from controller.decision.sequential.health import HEALTHY_GRID, step_error
from controller.decision.sequential.late import late_evidence
from controller.decision.sequential.logarithms import log_mean, log_sum
from controller.decision.sequential.wallet import (
    LATE_SHARE,
    LIVE_SHARE,
    RAMP_SHARE,
    Wallet,
    breach_rates,
    breach_test,
    capped,
    windows_touched,
)

LIMIT, WINDOW_S = 0.01, 10.0
TEST = slo_test(LIMIT, FEATURE, WINDOW_S)
SHARES = st.floats(0, 1)
SENDS = st.floats(0, 5000)


def added(test: SloTest, *counts: tuple[float, float], state: SloState | None = None) -> SloState:
    state = state or SloState()
    for n, k in counts:
        state = with_window(test, state, n, k, proves_health=True)
    return state


def breach_of(state: SloState) -> float:
    return state.wallet.evidence()


def health_of(test: SloTest, state: SloState, effect: float = 1.0) -> float:
    return test.health.evidence(state.health, effect)


def sends_until(rate: float, reached: str) -> int:
    """Count the sends of the average path, one by one, until a goal is reached."""
    state, sends = SloState(), 0
    # The alarm averages two SLOs; while latency is quiet the errors alone have to bring twice the evidence.
    alarm = TEST.breach.needed + log(2)
    while True:
        sends += 1
        state = with_window(TEST, state, 1, rate, proves_health=True)
        if reached == "health" and health_of(TEST, state) >= log(20):
            return sends
        if reached == "breach" and breach_of(state) >= alarm:
            return sends


@pytest.mark.parametrize(
    ("rate", "reached", "sends"),
    [(0.0, "health", 181), (0.003, "health", 312), (0.1, "breach", 41), (0.03, "breach", 491)],
)
def test_the_average_path_needs_as_many_sends_as_the_design_says(
    rate: float, reached: str, sends: int
) -> None:
    assert sends_until(rate, reached) == pytest.approx(sends, abs=1)


def test_alpha_is_split_between_the_ramp_the_late_change_and_the_live_counts() -> None:
    assert pytest.approx(1) == RAMP_SHARE + LATE_SHARE + LIVE_SHARE
    assert TEST.breach.needed == pytest.approx(log(1 / (0.9 * 0.05)))
    assert TEST.late_needed == pytest.approx(log(8640 / (0.05 * 0.05)))


def test_a_longer_ramp_makes_the_late_alarm_only_a_little_slower() -> None:
    week = slo_test(LIMIT, replace(FEATURE, longest_ramp_s=7 * 86_400), WINDOW_S)
    assert week.late_needed - TEST.late_needed == pytest.approx(log(7))


def test_the_weights_of_the_healthy_rates_add_up_to_one() -> None:
    assert sum(weight for _, weight in HEALTHY_GRID) == pytest.approx(1)


@pytest.mark.parametrize(("to", "error"), [(5, 0.5), (10, 0.5), (25, 0.2), (50, 0.1), (100, 0.05)])
def test_a_step_may_err_as_far_as_it_exposes_few_users(to: float, error: float) -> None:
    assert step_error(0.05, to) == pytest.approx(error)
    assert step_error(0.05, to) * to / 100 <= 0.05 + 1e-12


@given(st.floats(1e-9, 0.999))
def test_every_rate_that_breach_bets_on_lies_above_the_limit(limit: float) -> None:
    rates = breach_rates(limit)
    assert len(rates) == (16 if limit < 0.001 else 8)
    assert all(limit < rate < 1 for rate in rates)
    assert list(rates) == sorted(rates)


def test_the_grid_of_breach_rates_runs_from_one_and_a_half_limits_to_nine_tenths() -> None:
    rates = breach_rates(LIMIT)
    assert (rates[0], rates[-1]) == pytest.approx((0.015, 0.9))
    ratios = [b / a for a, b in pairwise(rates)]
    assert max(ratios) == pytest.approx(min(ratios))


@pytest.mark.parametrize(("window_s", "windows"), [(30.0, 2), (10.0, 2), (3.0, 2), (1.0, 4), (0.5, 7)])
def test_a_blip_falls_into_its_length_in_windows_and_one_more(window_s: float, windows: int) -> None:
    assert windows_touched(3.0, window_s) == windows


@examples(1000)
@given(st.floats(1e-5, 0.4), st.floats(0.2, 60), st.floats(0, 60), st.floats(0.001, 0.5))
def test_a_blip_never_reaches_the_alarm_alone_not_even_in_every_slo(
    limit: float, window_s: float, blip_s: float, alpha: float
) -> None:
    test = breach_test(limit, alpha=alpha, window_s=window_s, blip_s=blip_s)
    wallet = Wallet().staked(6, len(test.worths))
    for _ in range(min(windows_touched(blip_s, window_s), 300)):
        wallet = wallet.with_bets(capped(test.bets(1e6, 0, 1.0), test.cap))
    assert log_mean((wallet.evidence(), wallet.evidence())) < test.needed


def test_a_burst_of_half_a_minute_never_reaches_the_late_alarm_alone() -> None:
    for window_s in (1.0, 10.0, 30.0):
        test = slo_test(LIMIT, FEATURE, window_s)
        state = added(test, *[(1000, 1000)] * windows_touched(30.0, window_s))
        assert late_evidence(state.late) < test.late_needed


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
@given(st.lists(st.tuples(st.floats(0, 1e12), SHARES), min_size=1, max_size=40))
def test_the_state_stays_finite_whatever_is_seen(seen: list[tuple[float, float]]) -> None:
    state = added(TEST, *[(n, share * n) for n, share in seen])
    assert all(isfinite(number) for number in (*state.wallet.bets, *state.late))
    assert all(isfinite(number) for number in (state.clusters.spread, state.clusters.mean))
    effect = state.clusters.effect_on_health()
    assert effect >= 1
    assert state.clusters.effect_on_bets() >= 1
    assert isfinite(breach_of(state))
    assert isfinite(late_evidence(state.late))
    assert isfinite(health_of(TEST, state, effect))


def expected_bet(test: SloTest, n: int, p: float, kind: str) -> float:
    """Work out the expected growth of a bet over one window of n sends, by all outcomes of a binomial."""
    total, chance = 0.0, (1 - p) ** n
    for k in range(n + 1):
        state = added(test, (n, k))
        total += chance * exp(breach_of(state) if kind == "breach" else health_of(test, state))
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


def test_restarts_hear_a_change_that_the_wallet_has_gone_deaf_to() -> None:
    healthy = added(TEST, *[(50, 0.15)] * 1440)
    changed, windows = healthy, 0
    while late_evidence(changed.late) < TEST.late_needed + log(2):
        changed, windows = added(TEST, (50, 5), state=changed), windows + 1
    assert windows <= 18
    assert breach_of(changed) < TEST.breach.needed


def test_r_grows_by_its_weight_where_nothing_is_learnt() -> None:
    """R minus the number of windows is fair: a window whose bets are all 1 adds just 1 to the sum of R."""
    neutral = replace(TEST, breach=replace(TEST.breach, worths=((0.0, 0.0),) * 8))
    assert exp(late_evidence(added(neutral, *[(10, 1)] * 30).late)) == pytest.approx(30)


@examples(500)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=300))
def test_the_wallet_never_holds_more_than_its_capital_while_nothing_is_won(steps_ahead: list[int]) -> None:
    wallet = Wallet()
    for ahead in steps_ahead:
        wallet = wallet.emptied() if ahead == 0 else wallet.staked(ahead, 8)
        assert wallet.evidence() <= 1e-9
        assert 0 <= wallet.cash <= 1


def test_a_ramp_stakes_half_of_its_wallet_first_and_leaves_a_part_for_the_resumes() -> None:
    wallet, cash = Wallet(), []
    for ahead in range(6, 0, -1):
        wallet = wallet.staked(ahead, 8)
        cash.append(wallet.cash)
    assert cash == pytest.approx([(6 - spent) / 12 for spent in range(6)])
    for resumes in range(1, 5):
        wallet = wallet.emptied().staked(1, 8)
        assert wallet.cash == pytest.approx(1 / 12 / 2**resumes)


def test_single_failures_are_no_clusters_and_groups_are_seen_for_what_they_are() -> None:
    rng = Random(3)
    alone, groups = Clusters(), Clusters()
    for _ in range(4000):
        alone = alone.with_window(sum(rng.random() < 0.01 for _ in range(50)), 0, None)
        groups = groups.with_window(5.0 * (rng.random() < 0.1), 0, None)
    assert alone.effect_on_bets() == pytest.approx(1, abs=0.1)
    assert alone.effect_on_health() == pytest.approx(1, abs=0.15)
    assert groups.effect_on_bets() == pytest.approx(4.5, abs=0.5)
    assert groups.effect_on_health() == pytest.approx(4.5, abs=0.5)


def test_a_jump_of_the_traffic_at_a_step_is_no_cluster() -> None:
    stepped = Clusters().with_window(1, 1, None).stepped().with_window(40, 40, None)
    assert (stepped.spread, stepped.mean) == (0.0, 0.0)


def test_mailboxes_say_how_large_the_groups_are() -> None:
    told = Clusters().with_window(2, 10, 2.0).with_window(1, 1, 1.0)
    assert told.effect_on_health() == pytest.approx(11 / 3)


@pytest.mark.parametrize(
    "held",
    [Clusters(bad=1.0, mailboxes=5e-324), Clusters(spread=1.0, mean=5e-324), Clusters(spread=1e300)],
)
def test_whatever_a_state_holds_the_design_effect_is_a_number_that_a_record_keeps(held: Clusters) -> None:
    assert isfinite(held.effect_on_health())
    assert isfinite(held.effect_on_bets())


@pytest.mark.parametrize(
    ("bad", "mailboxes", "counted"),
    [(9, None, 9), (9, 1, 0), (1, 1, 1), (9, 3, 3), (2, 5, 2), (9, 0, 0)],
)
def test_each_mailbox_counts_once_a_window_and_one_alone_only_with_its_first_send(
    bad: float, mailboxes: float | None, counted: float
) -> None:
    assert counted_once(bad, mailboxes) == counted


@pytest.mark.parametrize(
    ("sends", "share", "effect"),
    [(500, 1.0, 5.0), (20, 1.0, 1.5), (500, 0.5, 2.5), (5, 1.0, 1.0)],
)
def test_clusters_are_reckoned_with_unseen_as_many_users_are_at_stake(
    sends: float, share: float, effect: float
) -> None:
    assert unseen_effect(sends, 10, share) == pytest.approx(effect)


@given(st.lists(st.floats(-700, 700), min_size=1, max_size=9))
def test_sums_of_logarithms_do_not_depend_on_their_size(terms: list[float]) -> None:
    shifted = [term + 5000 for term in terms]
    assert log_sum(shifted) == pytest.approx(log_sum(terms) + 5000)
    assert min(terms) - 1e-9 <= log_mean(terms) <= max(terms) + 1e-9


@examples(500)
@given(st.floats(1, 5000), st.floats(0, 0.018), st.floats(1, 6), st.floats(0.7, 5))
def test_the_sends_foretold_are_the_sends_that_it_takes(
    seen: float, share: float, effect: float, needed: float
) -> None:
    health = Health(seen, share * seen, 1)
    more = TEST.health.sends_needed(health, effect, needed, share)
    if more is None:
        assert share >= 0.01
        return
    after, before = (Health(n, share * n, 1) for n in (seen + ceil(more) + 1, seen + 0.98 * more - 1))
    assert TEST.health.evidence(after, effect) >= needed
    if more > 2:
        assert TEST.health.evidence(before, effect) < needed


def test_nothing_is_foretold_where_health_would_never_be_proven() -> None:
    assert TEST.health.sends_needed(Health(100, 5, 1), 1.0, 3.0, 0.05) is None


def test_at_the_limit_false_alarms_of_one_slo_stay_far_below_alpha() -> None:
    """Ville's bound, tried: 400 courses of 300 windows just at the limit, each with a step or a resume."""
    rng, alarms, courses = Random(5), 0, share_of(400, 100)
    for _ in range(courses):
        state = SloState(Wallet().staked(6, 8))
        for number in range(300):
            if number == 100:
                state = replace(state, wallet=state.wallet.staked(5, 8))
            if number == 200:
                state = replace(state, wallet=state.wallet.emptied().staked(5, 8))
            bad = sum(rng.random() < LIMIT for _ in range(15))
            state = with_window(TEST, state, 15, bad, proves_health=False)
            if breach_of(state) >= TEST.breach.needed:
                alarms += 1
                break
    assert alarms <= courses * 0.05


def test_a_limit_too_high_for_the_margin_still_leaves_room_below_one() -> None:
    test = slo_test(0.7, RolloutFeature("a", "b", "c"), 30.0)
    assert all(-inf < worth < inf for pair in (*test.breach.worths, *test.health.rates) for worth in pair)
