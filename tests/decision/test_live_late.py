"""The late-change test of live counts: what lasts is found at any time, and no burst pauses by itself."""

from dataclasses import replace
from math import exp, isfinite, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.decision.judging.live import live_findings
from controller.decision.judging.live_late import (
    _least,
    late_evidence,
    late_needed,
    seen_s,
)
from controller.decision.model import LiveState, Verdict, Window
from controller.features import ROLLOUT_FEATURES

FEATURE = ROLLOUT_FEATURES["microsoft"]
LIMIT = FEATURE.slo_error_rate_threshold
LATE = LiveState(1, begun_at=1.0, judged_to=46.0)
"""The first seconds are over."""
HEALTHY = [(50.0, 0.0)] * 120
SEEN = int(seen_s(FEATURE))
HEALTH = 1.8
"""What stands where nothing fails: the bets of the newest seconds have not lost all yet."""


def evidence_of(counts: list[tuple[float, float]], blip_s: float = 3.0) -> float:
    return late_evidence(replace(FEATURE, blip_s=blip_s), LIMIT, counts)


def seconds(counts: list[tuple[float, float]], *, slow: bool = False) -> list[Window]:
    return [
        Window(100.0 + i, n, 0.0 if slow else k, n, k if slow else 0.0) for i, (n, k) in enumerate(counts)
    ]


@pytest.mark.parametrize(("times", "within_s"), [(100, 50), (10, 75), (5, 110)])
def test_what_lasts_is_found_in_the_midst_of_health(times: float, within_s: int) -> None:
    failing = [(50.0, 50 * min(times * LIMIT, 1.0))] * within_s
    assert evidence_of(HEALTHY + failing) >= late_needed(FEATURE) + log(2)
    assert evidence_of(HEALTHY + failing[:20]) < HEALTH


@given(st.integers(0, 30), st.integers(0, 60), st.sampled_from([1.0, 2.0, 3.0]))
def test_no_burst_of_ten_blips_pauses_by_itself_wherever_it_falls(
    part: int, after: int, blip_s: float
) -> None:
    """All sends of it fail, in whole seconds and in parts of two, and their counts may come a second late."""
    whole = [(50.0, 50.0)] * (int(10 * blip_s) - 1)
    burst = [(50.0, 50.0 - part), *whole, (50.0, float(part)), (50.0, 10.0)]
    for counts in (HEALTHY + burst, HEALTHY + burst + HEALTHY[:after]):
        assert evidence_of(counts, blip_s) < HEALTH


@given(st.lists(st.sampled_from([0.0, 0.85, 1.2, 2.5, 20.0]), max_size=30), st.integers(1, 12))
def test_the_stretch_that_is_left_out_is_the_one_that_speaks_most(bets: list[float], left_out: int) -> None:
    def restarts(some: list[float]) -> float:
        total = 0.0
        for bet in some:
            total = (1 + total) * bet if bet else total
        return total

    rests = [
        restarts(bets[:begin] + bets[begin + left_out :]) for begin in range(max(len(bets) - left_out, 0) + 1)
    ]
    assert _least(bets, left_out) == pytest.approx(min(rests))


@pytest.mark.parametrize("blip_s", [1.0, 3.0, 12.0, 30.0])
def test_what_lasts_is_found_however_long_a_blip_may_be(blip_s: float) -> None:
    lasts = int(10 * blip_s + 40)
    assert evidence_of(HEALTHY + [(50.0, 25.0)] * lasts, blip_s) >= late_needed(FEATURE) + log(2)


@settings(max_examples=30)
@given(st.integers(10, 2000), st.integers(3, 60), st.integers(1, 60))
def test_failures_that_are_counted_late_and_alone_prove_nothing_within_the_limit(
    burst: int, every_s: int, later_s: int
) -> None:
    """A batch of sends again and again; the most that the limit allows of each time out, one in a second."""
    counts = [[float(burst) if not i % every_s else 0.0, 0.0] for i in range(400)]
    for begins in range(0, 400, every_s):
        for number in range(int(burst * LIMIT)):
            if (at := begins + later_s + number) < 400 and not counts[at][0]:
                counts[at] = [1.0, 1.0]
    pairs = [(n, k) for n, k in counts]
    for until in range(100, 400, 17):
        assert evidence_of(pairs[max(0, until - SEEN) : until]) < late_needed(FEATURE)


def test_nothing_is_proven_of_seconds_that_keep_the_limit_together() -> None:
    counts = [(10_000.0, 0.0)] + [(50.0, 5.0)] * 15
    assert evidence_of(counts) == 0.0


@given(st.lists(st.tuples(st.floats(0), st.floats(0)), max_size=200), st.floats(1e-6, 0.5))
def test_whatever_is_counted_evidence_is_a_number(counts: list[tuple[float, float]], limit: float) -> None:
    assert isfinite(late_evidence(FEATURE, limit, counts))


@pytest.mark.parametrize("slow", [False, True])
def test_the_finding_tells_what_was_seen_in_these_seconds(slow: bool) -> None:
    windows = seconds([(1.0, 0.0), *HEALTHY, *[(50.0, 25.0)] * 60], slow=slow)
    found = live_findings(FEATURE, LATE, windows)
    assert [one.verdict for one in found].index(Verdict.BREACHED) == slow
    breached = found[slow]
    assert breached.late_evidence >= breached.late_needed > breached.evidence_for_breach
    assert (breached.n, breached.k) == (9000, 1500)


def test_a_late_change_costs_a_tenth_of_the_alpha_of_live_counts() -> None:
    assert 1 / exp(late_needed(FEATURE)) * FEATURE.longest_ramp_s == pytest.approx(0.1 * 0.05 * FEATURE.alpha)
