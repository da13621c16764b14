"""The estimate that a status gives is that of `plan`, from where the ramp is."""

from dataclasses import replace
from math import isinf

import pytest
from worlds.snapshots import FEATURE

from controller.whatif.forecast import forecast
from controller.whatif.remaining import remaining, with_estimate


@pytest.mark.parametrize("sends_per_s", [0.05, 5.0, 50.0])
def test_a_whole_ramp_takes_as_long_as_the_plan_says(sends_per_s: float) -> None:
    planned = forecast(FEATURE, sends_per_s, 30.0)
    assert remaining(FEATURE, 1.0, sends_per_s, 30.0, None) == pytest.approx(planned.total_s)
    later = sum(step.lasts_s for step in planned.steps[2:-1])
    assert remaining(FEATURE, 5.0, sends_per_s, 30.0, 120.0) == pytest.approx(120.0 + later)
    assert remaining(FEATURE, 50.0, sends_per_s, 30.0, 90.0) == 90.0


def test_without_traffic_there_is_no_end() -> None:
    assert isinf(remaining(FEATURE, 5.0, 0.0, 30.0, None))


def test_a_status_says_how_long_only_while_it_ramps() -> None:
    stand = {"stage": "ramping", "rollout_percent": 50.0, "more_s": 8280.0, "progress": {"sends_per_s": 2.5}}
    told = with_estimate(stand, FEATURE, 30.0)["estimate"]
    assert told == {"remaining_s": 8280.0, "text": "about 2.3 h to 100 % at this traffic"}
    short = replace(FEATURE, steps=(1.0, 50.0, 80.0))
    assert with_estimate(stand, short, 30.0)["estimate"]["text"].endswith("to 80 % at this traffic")
    for changes in ({"stage": "paused"}, {"rollout_percent": 0.0}, {"progress": {"sends_per_s": 0.0}}):
        assert with_estimate(stand | changes, FEATURE, 30.0)["estimate"]["text"] == ""
