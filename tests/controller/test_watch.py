"""A loss is said once, a return once; a clock that is set is told from one that runs."""

import pytest
from structlog.testing import capture_logs

from controller.shared.log_on_change import ClockWatch, OutageLog


def test_each_loss_and_each_return_is_one_line() -> None:
    troubles = OutageLog()
    with capture_logs() as logs:
        for second, trouble in enumerate(["", "away", "away", "other words", "", "", "away"]):
            troubles.note("redis", trouble, second)
    assert [(line["event"], line.get("lost_for_s")) for line in logs] == [
        ("dependency_lost", None),
        ("dependency_back", 3.0),
        ("dependency_lost", None),
    ]


def test_two_neighbours_are_told_apart() -> None:
    troubles = OutageLog()
    with capture_logs() as logs:
        troubles.note("redis", "away", 1)
        troubles.note("prometheus", "away", 1)
        troubles.note("redis", "", 2)
    assert [(line["event"], line["dependency"]) for line in logs] == [
        ("dependency_lost", "redis"),
        ("dependency_lost", "prometheus"),
        ("dependency_back", "redis"),
    ]


@pytest.mark.parametrize("step_s", [-3600.0, -2.0, 2.0, 86_400.0])
def test_a_clock_that_was_set_is_noticed_once(step_s: float) -> None:
    clock = ClockWatch(1000.0, 5.0)
    assert clock.stepped_s(1000.5, 5.5) == 0
    assert clock.stepped_s(1001.0 + step_s, 6.0) == pytest.approx(step_s)
    assert clock.stepped_s(1001.5 + step_s, 6.5) == 0


def test_a_clock_that_is_drawn_straight_slowly_is_none_that_was_set() -> None:
    clock = ClockWatch(0.0, 0.0)
    assert [clock.stepped_s(second * 1.0005, second) for second in range(1, 5000)] == [0.0] * 4999
