"""The evidence rules on trial: what they count through restarts, gaps and newborn counters."""

from collections.abc import Sequence
from typing import Any

from controller.alertcheck.cases.counts import CountCheck, interval_s
from controller.alertcheck.cases.oracle import Values
from controller.alertcheck.promtool import PromtoolError
from controller.alertcheck.result import Result
from controller.alertcheck.setting import Setting, complaints_of, matchers, milliseconds, worded


def evidence_results(setting: Setting, checks: Sequence[CountCheck]) -> list[Result]:
    """Put the evidence rules through restarts, gaps and newborn counters, all worlds in one run."""
    tests = [
        setting.test(
            check.samples,
            promql_expr_test=[
                _count(check.series, at_s, number, values, setting) for at_s, values in check.windows
            ],
        )
        for number, check in enumerate(checks)
    ]
    every_s = interval_s(setting.scale)
    try:
        complaints = complaints_of(setting, ("prometheus-recording-rollout.yml",), tests, every_s)
    except PromtoolError as error:
        return [Result("evidence", "can be evaluated", passed=False, detail=str(error))]
    numbers = {
        round(at_s * 1000) + number: number
        for number, check in enumerate(checks)
        for at_s, _ in check.windows
    }
    details = {numbers.get(complaint.at_ms): complaint for complaint in reversed(complaints)}
    return [
        Result(check.series, check.name, number not in details, worded(details.get(number)))
        for number, check in enumerate(checks)
    ]


def _count(series: str, at_s: float, number: int, values: Values, setting: Setting) -> dict[str, Any]:
    return {
        "expr": series,
        "eval_time": milliseconds(at_s, number),
        "exp_samples": [
            {"labels": f"{series}{matchers(tuple(setting.labels(dict(labels)).items()))}", "value": value}
            for labels, value in values.items()
        ],
    }
