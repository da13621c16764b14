"""The offline validation: every rule against its expectation, by promtool, in simulated time."""

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from controller.alertcheck.cases import Case, feature_cases
from controller.alertcheck.counts import CountCheck, count_checks, interval_s
from controller.alertcheck.expected import ExpectedAlert, expectations
from controller.alertcheck.load import Samples
from controller.alertcheck.oracle import Values, Vector, View
from controller.alertcheck.own_cases import own_cases
from controller.alertcheck.own_expected import own_expectations
from controller.alertcheck.promtool import Complaint, PromtoolError, input_series, run
from controller.alertcheck.recorded import recorded_worlds
from controller.alertcheck.result import Result
from controller.alertcheck.text import filled
from controller.decision.model import RolloutFeature
from controller.rules.differences import differences
from controller.rules.model import Alert, RuleFile
from controller.rules.scale import Scale
from controller.rules.text import annotations

TOLERANCE = 1e-6
CHECK_EVERY, CHECK_ALL = 10, 150
"""Besides each change, the state of an alert is checked at every tenth evaluation; at all of so many."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything that a validation needs: the files as rendered, the folder that is on trial."""

    folder: Path
    files: Sequence[RuleFile]
    features: Sequence[RolloutFeature]
    scale: Scale
    promtool: str
    closed: bool
    """Whether ranges hold a sample right at their older end; the oracle does as promtool does."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run of promtool; which rules it is about, and how to get its results."""

    name: str
    run: Callable[[], list[Result]]


def as_rendered(folder: Path, files: Sequence[RuleFile]) -> list[Result]:
    """Say of each rule whether it is the one that would be rendered; names each that is not."""
    told = {one.rule or one.file: one.text for file in files for one in differences(folder, file)}
    names = dict.fromkeys([*(rule.name for file in files for rule in file.rules), *told])
    return [Result(name, "is as rendered", name not in told, told.get(name, "")) for name in names]


def jobs(setting: Setting) -> Iterator[Job]:
    """Give every check; they may run in any order, side by side."""
    yield Job("evidence", partial(evidence_results, setting, count_checks(setting.scale)))
    for feature in setting.features:
        expected = expectations(feature, setting.scale)
        yield Job(f"{feature.name} recorded series", partial(_recorded, setting, feature, expected.recorded))
        cases = feature_cases(feature, setting.scale)
        yield from _alert_jobs(setting, cases, _files_of(feature), expected.alerts, expected.recorded)
    own = own_expectations(setting.features, setting.scale)
    cases = own_cases(setting.features, setting.scale)
    yield from _alert_jobs(setting, cases, ("prometheus-alerts-rollout.yml",), own, {})


def _alert_jobs(
    setting: Setting,
    cases: Iterable[Case],
    files: tuple[str, ...],
    expected: Sequence[ExpectedAlert],
    recorded: Mapping[str, Vector],
) -> Iterator[Job]:
    for alert, some in groupby(sorted(cases, key=lambda case: case.alert), key=lambda case: case.alert):
        trial = _Trial(setting, alert, files, expected, recorded)
        yield Job(alert, partial(trial.results, list(some)))


def run_all(setting: Setting, progress: Callable[[str], None] = lambda _: None) -> list[Result]:
    """Run every check, as many at once as there are processors."""
    results: list[Result] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        running = [(job.name, pool.submit(job.run)) for job in jobs(setting)]
        for name, future in running:
            results += future.result()
            progress(name)
    return results


def _files_of(feature: RolloutFeature) -> tuple[str, ...]:
    return (f"prometheus-recording-{feature.name}.yml", f"prometheus-alerts-{feature.name}.yml")


def _document(
    setting: Setting, files: Iterable[str], tests: Sequence[Mapping[str, Any]], every_s: float
) -> dict[str, Any]:
    names = set(files)
    groups = [group.name for file in setting.files if file.name in names for group in file.groups]
    return {
        "rule_files": [str((setting.folder / name).resolve()) for name in names],
        "evaluation_interval": _ms(every_s),
        "group_eval_order": sorted(groups, key=lambda name: "_alerts" in name),
        "tests": tests,
    }


def _ms(seconds: float, more: int = 0) -> str:
    return f"{round(seconds * 1000) + more}ms"


def _test(samples: Samples, **checks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"interval": _ms(samples.step_s), "input_series": input_series(samples), **checks}


@dataclass(frozen=True, slots=True)
class _Trial:
    """All cases of one alert, in one run of promtool."""

    setting: Setting
    alert: str
    files: tuple[str, ...]
    expected: Sequence[ExpectedAlert]
    recorded: Mapping[str, Vector]

    def results(self, cases: Sequence[Case]) -> list[Result]:
        tests = []
        for number, case in enumerate(cases):
            # The number hides in the milliseconds of the times, so that a complaint names its case.
            checks = [self._check(at_s, number, firing) for at_s, firing in self._course(case)]
            tests.append(_test(case.samples, alert_rule_test=checks))
        document = _document(self.setting, self.files, tests, self._every_s(cases[0]))
        try:
            complaints = run(document, self.setting.promtool)
        except PromtoolError as error:
            return [Result(self.alert, "can be evaluated", passed=False, detail=str(error))]
        return [self._result(number, case, complaints) for number, case in enumerate(cases)]

    def _result(self, number: int, case: Case, complaints: Sequence[Complaint]) -> Result:
        every_ms = round(self._every_s(case) * 1000)
        own = [complaint for complaint in complaints if complaint.at_ms % every_ms == number]
        fires = any(firing for _, firing in self._course(case))
        if fires != case.fires:
            return Result(
                self.alert, case.name, passed=False, detail="the case itself is wrong: see cases.py"
            )
        return Result(self.alert, case.name, not own, _worded_complaint(own[0] if own else None))

    def _every_s(self, case: Case) -> float:
        return case.every * self.setting.scale.window_s

    def _check(self, at_s: float, number: int, firing: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "eval_time": _ms(at_s, number),
            "alertname": self.alert,
            "exp_alerts": firing,
        }

    def _course(self, case: Case) -> list[tuple[float, list[dict[str, Any]]]]:
        """Give the times worth a check with what must be firing then: around each change, and regularly."""
        step_s = self._every_s(case)
        steps = math.floor(case.samples.end_s / step_s)
        states = list(self._states(case, steps))
        return [
            (k * step_s, states[k])
            for k in range(steps + 1)
            if k in {steps, 0}
            or steps <= CHECK_ALL
            or k % CHECK_EVERY == 0
            or bool(states[k]) != bool(states[k - 1])
            or bool(states[k]) != bool(states[k + 1])
        ]

    def _states(self, case: Case, steps: int) -> Iterator[list[dict[str, Any]]]:
        """Walk through the evaluations as Prometheus does: pending since, firing when long enough."""
        since: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        for k in range(steps + 1):
            view = View(case.samples, k * self._every_s(case), self.setting.closed)
            firing, still = [], {}
            for number, alert in enumerate(self.expected):
                if alert.name != self.alert:
                    continue
                for labels, value in alert.holds(view).items():
                    key = (f"{number}", labels)
                    still[key] = since.get(key, view.now_s)
                    if view.now_s - still[key] >= alert.for_s:
                        firing.append(self._firing(alert, dict(labels), value, view))
            since = still
            yield firing

    def _firing(
        self, alert: ExpectedAlert, labels: dict[str, str], value: float, view: View
    ) -> dict[str, Any]:
        rule = self._rule(alert.labels)
        texts = {
            name: filled(text, value, labels | alert.labels, view, self.recorded)
            for name, text in annotations(rule).items()
        }
        return {"exp_labels": {**labels, **alert.labels}, "exp_annotations": texts}

    def _rule(self, labels: Mapping[str, str]) -> Alert:
        """Give the alert as rendered, whose text is filled in; its labels are expected, not read."""
        rules = [rule for file in self.setting.files for rule in file.alerts if rule.name == self.alert]
        return next((rule for rule in rules if dict(rule.labels) == dict(labels)), rules[0])


def _recorded(setting: Setting, feature: RolloutFeature, expected: Mapping[str, Vector]) -> list[Result]:
    """Compare every recorded series of a feature with the oracle, at the end of eventful worlds."""
    return [
        result
        for world, samples in recorded_worlds(feature, setting.scale).items()
        for result in _recorded_in(setting, feature, expected, world, samples)
    ]


def _recorded_in(
    setting: Setting, feature: RolloutFeature, expected: Mapping[str, Vector], world: str, samples: Samples
) -> list[Result]:
    at_s = samples.end_s - setting.scale.window_s / 2
    view = View(samples, samples.end_s - setting.scale.window_s, setting.closed)
    wanted = {name: vector(view) for name, vector in expected.items()}
    checks = [
        {"expr": expr, "eval_time": _ms(at_s), "exp_samples": [{"labels": "{}", "value": 1}]}
        for expr in (_agrees(name, values) for name, values in wanted.items())
    ]
    # One evaluation right before the question will do: rules look back on raw samples by themselves.
    tests = [_test(samples, promql_expr_test=checks)]
    document = _document(setting, _files_of(feature)[:1], tests, view.now_s)
    try:
        complaints = {complaint.subject for complaint in run(document, setting.promtool)}
    except PromtoolError as error:
        return [
            Result(f"{feature.name} recorded series", "can be evaluated", passed=False, detail=str(error))
        ]
    return [
        Result(name, f"its value with {world}", passed, "" if passed else f"must be {_worded(values)}")
        for name, values in wanted.items()
        for passed in (_agrees(name, values) not in complaints,)
    ]


def _agrees(name: str, values: Values) -> str:
    """Ask whether a series has exactly these labels, and these values up to rounding; 1 when it does."""
    if not values:
        return f"absent({name})"
    agreeing = " or ".join(_close(f"{name}{_matchers(labels)}", value) for labels, value in values.items())
    return f"(count({agreeing}) == {len(values)} and count({name}) == {len(values)}) * 0 + 1"


def _close(selector: str, value: float) -> str:
    if math.isnan(value):
        return f"({selector} != {selector})"
    return f"(abs({selector} - {value!r}) <= {max(abs(value), 1e-3) * TOLERANCE!r})"


def _matchers(labels: tuple[tuple[str, str], ...]) -> str:
    return "{" + ",".join(f"{label}={json.dumps(value)}" for label, value in labels) + "}"


def _worded(values: Values) -> str:
    shown = (f"{_matchers(labels)} {value:.6g}" for labels, value in list(values.items())[:3])
    return ", ".join(shown) + (" ..." if len(values) > 3 else "")


def evidence_results(setting: Setting, checks: Sequence[CountCheck]) -> list[Result]:
    """Put the evidence rules through restarts, gaps and newborn counters, all worlds in one run."""
    tests = [
        _test(
            check.samples,
            promql_expr_test=[_count(check.series, at_s, number, values) for at_s, values in check.windows],
        )
        for number, check in enumerate(checks)
    ]
    every_s = interval_s(setting.scale)
    document = _document(setting, ("prometheus-recording-rollout.yml",), tests, every_s)
    try:
        complaints = run(document, setting.promtool)
    except PromtoolError as error:
        return [Result("evidence", "can be evaluated", passed=False, detail=str(error))]
    numbers = {
        round(at_s * 1000) + number: number
        for number, check in enumerate(checks)
        for at_s, _ in check.windows
    }
    details = {numbers.get(complaint.at_ms): complaint for complaint in reversed(complaints)}
    return [
        Result(check.series, check.name, number not in details, _worded_complaint(details.get(number)))
        for number, check in enumerate(checks)
    ]


def _count(series: str, at_s: float, number: int, values: Values) -> dict[str, Any]:
    return {
        "expr": series,
        "eval_time": _ms(at_s, number),
        "exp_samples": [
            {"labels": f"{series}{_matchers(labels)}", "value": value} for labels, value in values.items()
        ],
    }


def _worded_complaint(complaint: Complaint | None) -> str:
    return f"at {complaint.at_ms / 1000:.0f} s: {complaint.got}" if complaint else ""
