"""One alert on trial: each of its cases against what must be pending and firing, with its text filled in."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controller.alertcheck.cases.oracle import SampleView, Vector
from controller.alertcheck.cases.provider_alerts import AlertCase
from controller.alertcheck.cases.provider_expected import ExpectedAlert
from controller.alertcheck.promtool import Complaint, PromtoolError
from controller.alertcheck.result import Result
from controller.alertcheck.setting import Setting, complaints_of, milliseconds, worded
from controller.alertcheck.text import filled
from controller.rules.model import Alert
from controller.rules.yaml_text import annotations

CHECK_EVERY, CHECK_ALL = 10, 150
"""Besides each change, the state of an alert is checked at every tenth evaluation; at all of so many."""


@dataclass(frozen=True, slots=True)
class Trial:
    """All cases of one alert, in one run of promtool."""

    setting: Setting
    alert: str
    files: tuple[str, ...]
    expected: Sequence[ExpectedAlert]
    recorded: Mapping[str, Vector]

    def results(self, cases: Sequence[AlertCase]) -> list[Result]:
        """Return one result for each case, in their order."""
        tests = []
        for number, case in enumerate(cases):
            # The number hides in the milliseconds of the times, so that a complaint names its case.
            checks = [self._check(at_s, number, firing) for at_s, firing in self._course(case)]
            tests.append(self.setting.test(case.samples, alert_rule_test=checks))
        try:
            complaints = complaints_of(self.setting, self.files, tests, self._every_s(cases[0]))
        except PromtoolError as error:
            return [Result(self.alert, "can be evaluated", passed=False, detail=str(error))]
        return [self._result(number, case, complaints) for number, case in enumerate(cases)]

    def _result(self, number: int, case: AlertCase, complaints: Sequence[Complaint]) -> Result:
        every_ms = round(self._every_s(case) * 1000)
        own = [complaint for complaint in complaints if complaint.at_ms % every_ms == number]
        fires = any(firing for _, firing in self._course(case))
        if fires != case.fires:
            return Result(
                self.alert, case.name, passed=False, detail="the case itself is wrong: see cases.py"
            )
        return Result(self.alert, case.name, not own, worded(own[0] if own else None))

    def _every_s(self, case: AlertCase) -> float:
        return case.every * self.setting.scale.window_s

    def _check(self, at_s: float, number: int, firing: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "eval_time": milliseconds(at_s, number),
            "alertname": self.alert,
            "exp_alerts": firing,
        }

    def _course(self, case: AlertCase) -> list[tuple[float, list[dict[str, Any]]]]:
        """Return the times worth a check with what must be firing then: around each change, and regularly."""
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

    def _states(self, case: AlertCase, steps: int) -> Iterator[list[dict[str, Any]]]:
        """Walk through the evaluations as Prometheus does: pending since, firing when long enough."""
        since: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        for k in range(steps + 1):
            view = SampleView(case.samples, k * self._every_s(case), self.setting.closed)
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
        self, alert: ExpectedAlert, labels: dict[str, str], value: float, view: SampleView
    ) -> dict[str, Any]:
        labels, own = self.setting.labels(labels), alert.labels | dict(self.setting.scope.labels)
        rule = self._rule(own)
        texts = {
            name: filled(text, value, labels | own, view, self.recorded)
            for name, text in annotations(rule).items()
        }
        return {"exp_labels": {**labels, **own}, "exp_annotations": texts}

    def _rule(self, labels: Mapping[str, str]) -> Alert:
        """Return the alert as rendered, whose text is filled in; its labels are expected, not read."""
        rules = [rule for file in self.setting.files for rule in file.alerts if rule.name == self.alert]
        return next((rule for rule in rules if dict(rule.labels) == dict(labels)), rules[0])
