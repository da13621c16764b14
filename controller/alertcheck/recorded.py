"""Every recorded series on trial: its value at the end of eventful worlds, against the oracle."""

import math
from collections.abc import Mapping

from controller.alertcheck.cases.oracle import SampleView, Values, Vector
from controller.alertcheck.cases.scenarios import recorded_worlds
from controller.alertcheck.cases.synthetic_series import Samples
from controller.alertcheck.promtool import PromtoolError
from controller.alertcheck.result import Result
from controller.alertcheck.setting import Setting, complaints_of, files_of, matchers, milliseconds
from controller.decision.feature import RolloutFeature

TOLERANCE = 1e-6


def recorded_results(
    setting: Setting, feature: RolloutFeature, expected: Mapping[str, Vector]
) -> list[Result]:
    """Compare every recorded series of a feature with the oracle, at the end of eventful worlds."""
    return [
        result
        for world, samples in recorded_worlds(feature, setting.scale).items()
        for result in _in_world(setting, feature, expected, world, samples)
    ]


def _in_world(
    setting: Setting, feature: RolloutFeature, expected: Mapping[str, Vector], world: str, samples: Samples
) -> list[Result]:
    at_s = samples.end_s - setting.scale.window_s / 2
    view = SampleView(samples, samples.end_s - setting.scale.window_s, setting.closed)
    wanted = {name: vector(view) for name, vector in expected.items()}
    checks = [
        {"expr": expr, "eval_time": milliseconds(at_s), "exp_samples": [{"labels": "{}", "value": 1}]}
        for expr in (_agrees(name, values) for name, values in wanted.items())
    ]
    # One evaluation right before the question will do: rules look back on raw samples by themselves.
    tests = [setting.test(samples, promql_expr_test=checks)]
    try:
        complaints = {
            complaint.subject
            for complaint in complaints_of(setting, files_of(feature)[:1], tests, view.now_s)
        }
    except PromtoolError as error:
        return [
            Result(f"{feature.name} recorded series", "can be evaluated", passed=False, detail=str(error))
        ]
    return [
        Result(name, f"its value with {world}", passed, "" if passed else f"must be {_shown(values)}")
        for name, values in wanted.items()
        for passed in (_agrees(name, values) not in complaints,)
    ]


def _agrees(name: str, values: Values) -> str:
    """Ask whether a series has exactly these labels, and these values up to rounding; 1 when it does."""
    if not values:
        return f"absent({name})"
    agreeing = " or ".join(_close(f"{name}{matchers(labels)}", value) for labels, value in values.items())
    return f"(count({agreeing}) == {len(values)} and count({name}) == {len(values)}) * 0 + 1"


def _close(selector: str, value: float) -> str:
    if math.isnan(value):
        return f"({selector} != {selector})"
    return f"(abs({selector} - {value!r}) <= {max(abs(value), 1e-3) * TOLERANCE!r})"


def _shown(values: Values) -> str:
    shown = (f"{matchers(labels)} {value:.6g}" for labels, value in list(values.items())[:3])
    return ", ".join(shown) + (" ..." if len(values) > 3 else "")
