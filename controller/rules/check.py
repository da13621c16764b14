"""Checks of a folder of rules: as rendered, known to promtool, and made only of names that exist."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from controller.contract import ACTION_LATENCY_SECONDS, METRIC_LABELS, ROLLOUT_TICK_DURATION_SECONDS, STATUSES
from controller.decision.feature import RolloutFeature
from controller.rules.differences import Problem, differences
from controller.rules.model import Alert, Recording, RuleFile
from controller.rules.promql_names import vocabulary
from controller.rules.yaml_text import RUNBOOKS, yaml_text

_FENCE = re.compile(r"^ *```promql\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_QUERY = re.compile(r"query `([^`]*)`")
_TARGET_LABELS = frozenset({"job", "instance"})
FOREIGN_METRICS: Mapping[str, frozenset[str]] = {
    "up": frozenset(),
    "process_start_time_seconds": frozenset(),
    "prometheus_rule_group_iterations_missed_total": frozenset({"rule_group"}),
}
"""What Prometheus and the client libraries export without our doing."""


def promtool_path() -> str | None:
    return shutil.which("promtool")


def check_folder(
    folder: Path, files: Sequence[RuleFile], features: Iterable[RolloutFeature]
) -> tuple[Problem, ...]:
    """Return everything that is wrong with the rules in a folder; nothing when they are sound."""
    features = tuple(features)
    return (
        *_differences(folder, files),
        *_syntax(folder, files),
        *_unknown_names(files),
        *_thresholds(files, features),
    )


def known_metrics(files: Sequence[RuleFile]) -> dict[str, frozenset[str]]:
    """Return every metric and recorded series that a query may name, with the labels it may have."""
    emitted = {name: frozenset(labels) for name, labels in METRIC_LABELS.items()}
    latency = emitted.pop(ACTION_LATENCY_SECONDS)
    ticks = emitted.pop(ROLLOUT_TICK_DURATION_SECONDS)
    for suffix, more in (("_bucket", {"le"}), ("_count", set[str]()), ("_sum", set[str]())):
        emitted[f"{ACTION_LATENCY_SECONDS}{suffix}"] = latency | more
        emitted[f"{ROLLOUT_TICK_DURATION_SECONDS}{suffix}"] = ticks | more
    recordings = [rule for file in files for rule in file.recordings]
    every = frozenset(label for labels in emitted.values() for label in labels)
    added = frozenset(label for rule in recordings for label in rule.labels)
    metrics = {**emitted, **FOREIGN_METRICS, **{rule.name: every for rule in recordings}}
    return {name: labels | added for name, labels in metrics.items()}


def _differences(folder: Path, files: Sequence[RuleFile]) -> Iterator[Problem]:
    for file in files:
        told = list(differences(folder, file))
        yield from told or _stale({folder / file.name: yaml_text(file)}, folder)
    for path in sorted(folder.glob("prometheus-*.yml")):
        if path.name not in {file.name for file in files}:
            yield Problem(path.name, "", "belongs to no feature; remove it")


def _first_difference(found: str, wanted: str) -> int:
    pairs = zip(found.splitlines(), wanted.splitlines(), strict=False)
    same = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
    shorter = min(len(found.splitlines()), len(wanted.splitlines()))
    return (shorter if same is None else same) + 1


def _syntax(folder: Path, files: Sequence[RuleFile]) -> Iterator[Problem]:
    promtool = promtool_path()
    for path in (folder / file.name for file in files):
        if promtool is None or not path.is_file():
            continue
        done = subprocess.run(
            [promtool, "check", "rules", "--lint=all", "--lint-fatal", str(path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            yield Problem(path.name, "", f"promtool: {' '.join((done.stdout + done.stderr).split())}")


def _unknown_names(files: Sequence[RuleFile]) -> Iterator[Problem]:
    known = known_metrics(files)
    for file in files:
        for rule in file.rules:
            for text in (text for query in queries(rule) for text in unknown_names(query, known)):
                yield Problem(file.name, rule.name, text)


def unknown_names(expr: str, known: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """Say which metric, label or status in an expression nobody exports."""
    words = vocabulary(expr)
    for metric in sorted(words.metrics - known.keys()):
        yield f"no metric or recorded series is called {metric}"
    for metric, label, value in sorted(words.matched):
        if label not in known.get(metric, frozenset()) | _TARGET_LABELS:
            yield f"{metric} has no label {label}"
        if label == "status" and value not in STATUSES:
            yield f'status="{value}" is never exported; statuses are {", ".join(STATUSES)}'
    allowed = _TARGET_LABELS.union(*(known.get(metric, frozenset()) for metric in words.metrics))
    for label in sorted(words.labels - allowed):
        yield f"none of its metrics has a label {label}"


def _thresholds(files: Sequence[RuleFile], features: Iterable[RolloutFeature]) -> Iterator[Problem]:
    """Compare the warnings' thresholds with the limits that the controller decides by."""
    by_pair = {(feature.provider, feature.action): feature for feature in features}
    for owner, alert in [(file, alert) for file in files for alert in file.alerts]:
        feature = by_pair.get((alert.labels.get("provider", ""), alert.labels.get("action", "")))
        if feature is None or alert.labels.get("severity") != "warning":
            continue
        for kind, limit in (
            ("HighErrorRate", feature.slo_error_rate_threshold),
            ("HighLatency", feature.latency_limit_s),
        ):
            if kind in alert.name and not alert.expr.splitlines()[0].endswith(f" > {limit:g}"):
                yield Problem(
                    owner.name,
                    alert.name,
                    f"warns at another limit than [features.{feature.name}]: {limit:g}",
                )


def check_companions(
    root: Path, texts: Mapping[str, str], files: Sequence[RuleFile], queries: Iterable[str]
) -> tuple[Problem, ...]:
    """Check what stands beside the rules: as rendered, runbooks there for each alert, every series read.

    `queries` are those of the dashboards.
    """
    return (
        *_stale({root / name: text for name, text in texts.items()}, root),
        *_missing_runbooks(root, files),
        *_unread(root, files, tuple(queries)),
    )


def _stale(texts: Mapping[Path, str], root: Path) -> Iterator[Problem]:
    for path, text in texts.items():
        name = str(path.relative_to(root))
        if not path.is_file():
            yield Problem(name, "", "is missing; call `rollout rules render`")
        elif (found := path.read_text(encoding="utf-8")) != text:
            line = _first_difference(found, text)
            yield Problem(
                name, "", f"differs from what is rendered, from line {line} on; call `rollout rules render`"
            )


def _missing_runbooks(root: Path, files: Sequence[RuleFile]) -> Iterator[Problem]:
    for file in files:
        for alert in file.alerts:
            if not (root / RUNBOOKS / alert.runbook).is_file():
                yield Problem(file.name, alert.name, f"its runbook {RUNBOOKS}/{alert.runbook} is not there")


def _unread(root: Path, files: Sequence[RuleFile], dashboards: Sequence[str]) -> Iterator[Problem]:
    """Find series that nobody reads, and queries of people's pages that name what nobody exports."""
    known = known_metrics(files)
    pages = {path: queries_in(path.read_text(encoding="utf-8")) for path in _pages(root)}
    for path, asked in pages.items():
        for text in (text for query in asked for text in unknown_names(query, known)):
            yield Problem(str(path.relative_to(root)), "", text)
    for text in (text for query in dashboards for text in unknown_names(query, known)):
        yield Problem("docs/dashboards", "", text)
    every = [query for file in files for rule in file.rules for query in queries(rule)]
    every += [query for asked in pages.values() for query in asked] + list(dashboards)
    read = frozenset[str]().union(*(vocabulary(query).metrics for query in every))
    for file in files:
        for rule in file.recordings:
            if rule.name not in read and not rule.reader:
                yield Problem(file.name, rule.name, "nobody reads it, and it does not say who would")


def _pages(root: Path) -> list[Path]:
    return [*sorted((root / RUNBOOKS).glob("*.md")), *sorted((root / "docs").glob("MS-RECORDING*.md"))]


def queries(rule: Recording | Alert) -> Iterator[str]:
    """Yield every PromQL expression of a rule: its own, and those that its text asks."""
    yield rule.expr
    if isinstance(rule, Alert):
        yield from asked_in(rule.description)


def asked_in(text: str) -> list[str]:
    """Return the PromQL that an alert's text asks."""
    return _QUERY.findall(text)


def queries_in(markdown: str) -> list[str]:
    """Return the PromQL of a page: what stands in its ```promql blocks."""
    return [" ".join(match.split()) for match in _FENCE.findall(markdown)]
