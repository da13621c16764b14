"""What is on trial offline, and how promtool is asked about it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from controller.alertcheck.cases.synthetic_series import Samples
from controller.alertcheck.promtool import Complaint, input_series, run
from controller.contract import SENDER_JOB
from controller.decision.feature import RolloutFeature
from controller.rules.model import RuleFile
from controller.rules.scale import Scale
from controller.rules.scope import DEFAULT_SCOPE, Scope


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
    scope: Scope = DEFAULT_SCOPE

    def labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Return the labels that a series of the synthetic world has in this scope."""
        own = {"job": self.scope.job} if labels.get("job") == SENDER_JOB else {}
        return {**dict(self.scope.labels), **labels, **own}

    def test(self, samples: Samples, **checks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return one test of promtool, with the samples in this scope."""
        series = tuple(replace(one, labels=self.labels(one.labels)) for one in samples.series)
        scoped = Samples(samples.step_s, series)
        return {"interval": milliseconds(scoped.step_s), "input_series": input_series(scoped), **checks}


def files_of(feature: RolloutFeature) -> tuple[str, ...]:
    """Return the names of the rule files of one feature."""
    return (f"prometheus-recording-{feature.name}.yml", f"prometheus-alerts-{feature.name}.yml")


def complaints_of(
    setting: Setting, files: Iterable[str], tests: Sequence[Mapping[str, Any]], every_s: float
) -> list[Complaint]:
    """Have promtool run tests on some of the files, evaluated so often; raises PromtoolError."""
    names = set(files)
    groups = [group.name for file in setting.files if file.name in names for group in file.groups]
    document = {
        "rule_files": [str((setting.folder / name).resolve()) for name in names],
        "evaluation_interval": milliseconds(every_s),
        "group_eval_order": sorted(groups, key=lambda name: "_alerts" in name),
        "tests": tests,
    }
    return run(document, setting.promtool)


def milliseconds(seconds: float, more: int = 0) -> str:
    """Return a length of time as promtool reads it, in whole milliseconds."""
    return f"{round(seconds * 1000) + more}ms"


def worded(complaint: Complaint | None) -> str:
    """Return a complaint as text; empty for none."""
    return f"at {complaint.at_ms / 1000:.0f} s: {complaint.got}" if complaint else ""


def matchers(labels: tuple[tuple[str, str], ...]) -> str:
    """Return labels as PromQL matches them."""
    return "{" + ",".join(f"{label}={json.dumps(value)}" for label, value in labels) + "}"
