"""The offline validation: every rule against its expectation, by promtool, in simulated time."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from controller.alertcheck.alert_test import Trial
from controller.alertcheck.cases.counts import count_checks
from controller.alertcheck.cases.oracle import Vector
from controller.alertcheck.cases.own_alerts import own_cases
from controller.alertcheck.cases.own_expected import own_expectations
from controller.alertcheck.cases.provider_alerts import AlertCase, feature_cases
from controller.alertcheck.cases.provider_expected import ExpectedAlert, expectations
from controller.alertcheck.count_tests import evidence_results
from controller.alertcheck.recorded import recorded_results
from controller.alertcheck.result import Result
from controller.alertcheck.setting import Setting, files_of
from controller.rules.differences import differences
from controller.rules.model import RuleFile


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
    """Yield every check; they may run in any order, side by side."""
    yield Job("evidence", partial(evidence_results, setting, count_checks(setting.scale)))
    for feature in setting.features:
        expected = expectations(feature, setting.scale)
        yield Job(
            f"{feature.name} recorded series", partial(recorded_results, setting, feature, expected.recorded)
        )
        cases = feature_cases(feature, setting.scale)
        yield from _alert_jobs(setting, cases, files_of(feature), expected.alerts, expected.recorded)
    own = own_expectations(setting.features, setting.scale)
    cases = own_cases(setting.features, setting.scale)
    yield from _alert_jobs(setting, cases, ("prometheus-alerts-rollout.yml",), own, {})


def _alert_jobs(
    setting: Setting,
    cases: Iterable[AlertCase],
    files: tuple[str, ...],
    expected: Sequence[ExpectedAlert],
    recorded: Mapping[str, Vector],
) -> Iterator[Job]:
    for alert, some in groupby(sorted(cases, key=lambda case: case.alert), key=lambda case: case.alert):
        trial = Trial(setting, alert, files, expected, recorded)
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
