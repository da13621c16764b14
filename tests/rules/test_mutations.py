"""Breaking any rule, in a number, a window, a label or a name, makes its validation fail and name it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from kit.examples import sampled

from controller.alertcheck.cases.counts import count_checks
from controller.alertcheck.count_tests import evidence_results
from controller.alertcheck.offline import as_rendered, jobs
from controller.alertcheck.promtool import ranges_are_closed
from controller.alertcheck.result import failures
from controller.alertcheck.setting import Setting
from controller.contract import EVIDENCE_DOUBT, EVIDENCE_GATE_REVISION, EVIDENCE_SENDS
from controller.features import ROLLOUT_FEATURES
from controller.rules.differences import LOADER
from controller.rules.model import Alert, Recording
from controller.rules.promql_names import vocabulary
from controller.rules.rule_files import rule_files
from controller.rules.scale import Scale
from controller.rules.yaml_text import yaml_text

FEATURES = list(ROLLOUT_FEATURES.values())
SCALE = Scale()
FILES = rule_files(FEATURES, SCALE)
EVIDENCE_FILE = "prometheus-recording-rollout.yml"
SERIES_FILE = "prometheus-recording-microsoft.yml"
ALERT_FILES = ("prometheus-alerts-microsoft.yml", "prometheus-alerts-rollout.yml")
SIZES_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
EQUIVALENT = {
    "29999ms becomes 23999ms": "holds the same three steps",
    "5m becomes 360000ms": "a longer look-back for the start of a process, or for the mark of silence",
    "5m becomes 240000ms": "a shorter look-back for the mark of silence",
    "10s becomes 12000ms": "a value of the step before brings nothing",
    "10s becomes 8000ms": "no scrape is so late in its step, or finer steps find the same process",
    "1 becomes 1.1": "no process begins within a tenth of a second of there",
    "1 becomes 0.9": "no process begins within a tenth of a second of there",
    "5s becomes 6000ms": "where several processes are looked for, a second more of the past",
    "5s becomes 4000ms": "where several processes are looked for, a second less of the past",
    "0.001 becomes 0.0009": "no two processes begin so close",
    "0.001 becomes 0.0011": "no two processes begin so close",
}
"""Changes of the evidence that change no count, at one or more of their places, and why."""

Change = Mapping[str, Any]
"""The parts of a rule that are replaced."""


@dataclass(frozen=True)
class Mutant:
    rule: str
    what: str
    change: Change


def numbers(expr: str) -> Iterator[tuple[str, str]]:
    for match in re.finditer(r"(?<![\w.:\[\"])(\d+(?:\.\d+)?)(?![\w.:])", expr):
        value = float(match[1])
        nudge = 1 if expr[: match.start()].endswith("topk(") else value * 0.1
        for changed in (1,) if value == 0 else (value + nudge, value - nudge):
            yield (
                f"{match[0]} becomes {changed:g}",
                f"{expr[: match.start()]}{changed:g}{expr[match.end() :]}",
            )


def windows(expr: str) -> Iterator[tuple[str, str]]:
    for match in re.finditer(r"(?<=[\[:])(\d+)(ms|[smh])(?=[\]:])|(?<=offset )(\d+)(ms|[smh])", expr):
        text = match[0]
        digits = re.match(r"\d+", text)
        assert digits is not None
        size_ms = int(digits[0]) * SIZES_MS[text[digits.end() :]]
        for times in (0.8, 1.2):
            changed = f"{round(size_ms * times)}ms"
            yield f"{text} becomes {changed}", expr[: match.start()] + changed + expr[match.end() :]


def labels(expr: str) -> Iterator[tuple[str, str]]:
    """Change or drop each matcher, wherever it stands, and drop each grouping."""
    for matcher in sorted(set(re.findall(r'\w+(?:=~|!=|=)"[^"]*"', expr))):
        if "feature=" not in matcher:
            yield (
                f"{matcher} is gone",
                expr.replace(matcher, "").replace(",,", ",").replace("{,", "{").replace(",}", "}"),
            )
        yield f"{matcher} is another", expr.replace(matcher, re.sub(r'"[^"]*"', '"other"', matcher))
    for match in re.finditer(r"by \([^)]*\)", expr):
        yield f"{match[0]} is gone", expr[: match.start()] + expr[match.end() :]


def names(expr: str) -> Iterator[tuple[str, str]]:
    for metric in sorted(vocabulary(expr).metrics - {"up", "process_start_time_seconds"}):
        yield f"{metric} is misspelt", re.sub(rf"(?<![\w:]){re.escape(metric)}(?![\w:])", f"{metric}_x", expr)


def mutants(rule: Recording | Alert) -> Iterator[Mutant]:
    for change in (numbers, windows, labels, names):
        for what, expr in change(rule.expr):
            yield Mutant(rule.name, what, {"expr": expr})
    if isinstance(rule, Recording):
        yield Mutant(rule.name, "has another name", {"record": f"{rule.name}_x"})
        return
    yield Mutant(rule.name, "has another name", {"alert": f"{rule.name}X"})
    yield Mutant(rule.name, "has another severity", {"labels": {**rule.labels, "severity": "page"}})
    yield Mutant(rule.name, "has no labels", {"labels": {}})
    yield Mutant(rule.name, "says something else", {"annotations": {"description": "{{ $value }}"}})
    for wrong_s in (rule.for_s * 0.5, rule.for_s * 1.5) if rule.for_s else (SCALE.window_s,):
        yield Mutant(rule.name, f"for {wrong_s:g}s", {"for": f"{wrong_s:g}s"})


def rules_of(*names: str) -> list[Recording | Alert]:
    return [rule for file in FILES if file.name in names for rule in file.rules]


def write(folder: Path, broken: Mapping[str, Change]) -> Setting:
    """Write all rule files, with these rules broken."""
    for file in FILES:
        document = yaml.load(yaml_text(file), Loader=LOADER)  # noqa: S506 - a safe loader
        for group in document["groups"]:
            for rule in group["rules"]:
                rule.update(broken.get(rule.get("alert") or rule["record"], {}))
        (folder / file.name).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return Setting(folder, FILES, FEATURES, SCALE, "promtool", ranges_are_closed("promtool"))


def rounds(rules: list[Recording | Alert]) -> list[dict[str, Mutant]]:
    """Break all of these rules at once, each round in another way."""
    waiting = {rule.name: list(mutants(rule)) for rule in rules}
    found = []
    while any(waiting.values()):
        found.append({name: left.pop() for name, left in waiting.items() if left})
    return found


RAW = [
    rule
    for rule in rules_of(SERIES_FILE)
    if not any(metric.startswith("job:") for metric in vocabulary(rule.expr).metrics)
]
DERIVED = [rule for rule in rules_of(SERIES_FILE) if rule not in RAW]


@pytest.mark.long
@pytest.mark.parametrize("rules", [RAW, DERIVED], ids=["of raw metrics", "of other series"])
def test_every_broken_recorded_series_is_caught_and_named(
    rules: list[Recording | Alert], tmp_path: Path
) -> None:
    for broken in sampled(rounds(rules), 4):
        setting = write(tmp_path, {name: mutant.change for name, mutant in broken.items()})
        job = next(job for job in jobs(setting) if job.name == "microsoft recorded series")
        caught = {result.rule for result in failures(job.run())}
        assert [mutant for name, mutant in broken.items() if name not in caught] == []


ALERT_ROUNDS = sampled(rounds(rules_of(*ALERT_FILES)), 4)


@pytest.mark.parametrize("broken", ALERT_ROUNDS, ids=range(len(ALERT_ROUNDS)))
@pytest.mark.long
def test_every_broken_alert_is_caught_and_named(broken: dict[str, Mutant], tmp_path: Path) -> None:
    setting = write(tmp_path, {name: mutant.change for name, mutant in broken.items()})
    survivors = []
    for job in jobs(setting):
        if job.name in broken:
            assert isinstance(job.run, partial)
            (cases,) = job.run.args
            # One case after the other: most mutants are caught by the first.
            caught = any(failures(job.run.func([case])) for case in cases)
            survivors += [] if caught else [broken[job.name]]
    assert survivors == []


def once(found: Iterator[Mutant], expr: str) -> Iterator[Mutant]:
    """Leave out a change of words that stand between the same words elsewhere."""
    seen: set[tuple[str, str]] = set()
    for mutant in found:
        changed = str(mutant.change.get("expr", ""))
        at = next((i for i, (a, b) in enumerate(zip(expr, changed, strict=False)) if a != b), 0)
        around = (mutant.what, " ".join(expr[max(at - 90, 0) : at + 20].split()))
        if around not in seen:
            seen.add(around)
            yield mutant


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_broken_count_is_caught_but_those_that_change_no_count(tmp_path: Path) -> None:
    rule = next(rule for rule in rules_of(EVIDENCE_FILE) if rule.name == EVIDENCE_SENDS)
    checks = [check for check in count_checks(SCALE) if check.series == EVIDENCE_SENDS]
    others = {one.name: {"expr": "vector(0)"} for one in rules_of(EVIDENCE_FILE) if one.name != rule.name}
    survivors = []
    for mutant in sampled(list(once(mutants(rule), rule.expr)), 18):
        setting = write(tmp_path, {**others, rule.name: mutant.change})
        # Most are caught by the few checks that are asked first, in a tenth of the time.
        caught = any(failures(evidence_results(setting, some)) for some in (checks[::10], checks))
        survivors += [] if caught else [mutant.what]
    assert set(survivors) <= EQUIVALENT.keys()
    assert len(survivors) <= 64, "of 113"


def test_all_counts_come_from_one_template() -> None:
    others = {EVIDENCE_GATE_REVISION, EVIDENCE_DOUBT}
    exprs = [rule.expr for rule in rules_of(EVIDENCE_FILE) if rule.name not in others]
    shapes = {re.sub(r"action_\w+", "COUNTER", expr).replace(", le)", ")") for expr in exprs}
    assert len(shapes) == 1


def test_every_broken_rule_differs_from_what_is_rendered_and_is_named(tmp_path: Path) -> None:
    every = [rule for file in FILES for rule in file.rules]
    for broken in sampled(rounds(every), 10):
        setting = write(tmp_path, {name: mutant.change for name, mutant in broken.items()})
        told = {result.rule for result in failures(as_rendered(setting.folder, FILES))}
        assert told >= broken.keys()
