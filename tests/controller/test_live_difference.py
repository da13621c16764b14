"""Live counts and Prometheus's windows are compared over minutes; what differs is told."""

import pytest

from controller.decision.model import Window
from controller.evidence.live_difference import LEAST_S, LiveDifference

WINDOW_S, DELAY_S, AHEAD_S = 30.0, 5.0, 400.0
"""The leader's clock is far ahead of Prometheus's."""


def compared(live_per_s: float, recorded_per_s: float, seconds: int = 900) -> LiveDifference:
    difference = LiveDifference(WINDOW_S, DELAY_S)
    for second in range(seconds):
        difference.add_second(1000.0 + second, live_per_s)
        if second % WINDOW_S == 0:
            at = 1000.0 + second - AHEAD_S
            n = recorded_per_s * WINDOW_S
            difference.add_windows([Window(at, n, 0.0, n, 0.0)], AHEAD_S)
    return difference


@pytest.mark.parametrize(
    ("live_per_s", "recorded_per_s", "share"), [(5, 5, 0.0), (5, 10, -0.5), (10, 5, 0.5), (0, 5, -1.0)]
)
def test_the_share_says_which_counts_more(live_per_s: float, recorded_per_s: float, share: float) -> None:
    assert compared(live_per_s, recorded_per_s).share == pytest.approx(share, abs=0.01)


def test_little_time_and_few_sends_say_nothing() -> None:
    assert compared(5, 10, seconds=int(LEAST_S / 2)).share is None
    assert compared(0.01, 0.02).share is None
    assert LiveDifference(WINDOW_S, DELAY_S).share is None


def test_after_a_gap_it_begins_again() -> None:
    difference = compared(5, 10)
    difference.restart()
    assert difference.share is None


def test_windows_that_no_second_covers_are_left_out() -> None:
    difference = compared(5, 5)
    before = difference.share
    difference.add_windows([Window(1e6, 1e9, 0.0, 0.0, 0.0), Window(0.0, 1e9, 0.0, 0.0, 0.0)], AHEAD_S)
    assert difference.share == before
