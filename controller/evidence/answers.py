"""Understands what Prometheus answers; raises ValueError, KeyError or TypeError for anything else."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from controller.contract import (
    EVIDENCE_DOUBT,
    EVIDENCE_ERRORS,
    EVIDENCE_GATE_REVISION,
    EVIDENCE_LATENCY_BUCKET,
    EVIDENCE_SENDS,
    EVIDENCE_SERIES,
    Doubt,
)
from controller.evidence.doubts import DoubtSeen, Labels, target_key, target_names
from controller.evidence.reading import Pair, PrometheusReading, Series, Target
from controller.evidence.twins import Counters
from controller.rules.scope import Scope

Entry = Mapping[str, Any]


class Present(NamedTuple):
    """What the first request tells, as of the source's own time."""

    now: float
    targets: Mapping[str, Target]
    alerts: Mapping[Pair, tuple[str, ...]]


def missing_rules(groups: Iterable[Any], scope: Scope) -> tuple[str, ...]:
    """Return the series of a scope that no rule records, or one that fails."""
    rules = [rule for group in groups for rule in group["rules"] if scope.covers(rule.get("labels") or {})]
    failing = {rule["name"] for rule in rules if rule.get("health") == "err"}
    loaded = {rule["name"] for rule in rules} - failing
    return tuple(name for name in EVIDENCE_SERIES if name not in loaded)


def read_measured(
    present: Present,
    recorded: Iterable[Entry],
    rules_missing: tuple[str, ...],
    judged_to: float,
    scope: Scope,
) -> PrometheusReading:
    """Understand an answer; of counts, all that is newer than `judged_to`, and the two newest."""
    counts: dict[str, dict[Pair, Series]] = {EVIDENCE_SENDS: {}, EVIDENCE_ERRORS: {}}
    buckets: dict[Pair, dict[float, Series]] = defaultdict(dict)
    revisions: dict[str, Series] = {}
    doubts: dict[float, list[DoubtSeen]] = defaultdict(list)
    doubled: set[Pair] = set()
    for entry in recorded:
        labels = entry["metric"]
        name = labels["__name__"]
        if name == EVIDENCE_GATE_REVISION:
            revisions[labels["feature"]] = read_samples(entry["values"])
            continue
        if name == EVIDENCE_DOUBT:
            _add_doubts(doubts, labels, entry["values"])
            continue
        series = read_samples(entry["values"], judged_to)
        pair = (labels["provider"], labels["action"])
        in_buckets = name == EVIDENCE_LATENCY_BUCKET
        home: dict[Any, Series] = buckets[pair] if in_buckets else counts[name]
        key = float(labels["le"]) if in_buckets else pair
        if key in home:
            doubled.add(pair)
        home[key] = series
    return PrometheusReading(
        now=present.now,
        sends=counts[EVIDENCE_SENDS],
        errors=counts[EVIDENCE_ERRORS],
        buckets=buckets,
        gate_revisions=revisions,
        targets=present.targets,
        doubts=doubts,
        alerts=present.alerts,
        rules_missing=rules_missing,
        doubled=frozenset(doubled),
        scope=scope,
    )


def _add_doubts(
    doubts: dict[float, list[DoubtSeen]], labels: Labels, values: Sequence[tuple[Any, Any]]
) -> None:
    why = Doubt(labels["why"])
    for at, value in values:
        if not math.isnan(float(value)):
            doubts[float(at)].append(DoubtSeen(why, labels, float(value)))


def read_samples(values: Sequence[tuple[Any, Any]], since: float = 0.0) -> Series:
    """Read samples from after an instant, and the two newest: the last may still be lacking elsewhere.

    VictoriaMetrics gives the mark of a gap as NaN; a gap that is over is no sample.
    """
    if not values:
        return {}
    newest = values[-1][0]
    last_two = values[-2:][0][0]
    samples = {}
    for at, value in values:
        if at > since or at >= last_two:
            samples[float(at)] = float(value)
    if not math.isnan(sum(samples.values())):
        return samples
    return {at: value for at, value in samples.items() if at == newest or not math.isnan(value)}


def read_present(entries: Iterable[Entry]) -> Present:
    now, alerts = 0.0, dict[Pair, tuple[str, ...]]()
    told: dict[frozenset[tuple[str, str]], dict[str, float]] = defaultdict(dict)
    targets: dict[frozenset[tuple[str, str]], Labels] = {}
    for entry in entries:
        labels, value = entry["metric"], float(entry["value"][1])
        if not math.isfinite(value):
            raise ValueError(f"{value} in place of a number")
        what, key = labels.get("what"), target_key(labels)
        if what == "now":
            now = value
        elif what is None:
            pair = (labels.get("provider", ""), labels.get("action", ""))
            alerts[pair] = (*alerts.get(pair, ()), labels["alertname"])
        else:
            told[key][what] = value
            if what == "up":
                targets[key] = labels
    if not now:
        raise KeyError("now")
    names = target_names(targets.values())
    return Present(now, {names[key]: _target(told[key], labels) for key, labels in targets.items()}, alerts)


def _target(told: Mapping[str, float], labels: Labels) -> Target:
    return Target(told["up"] == 1, told.get("scraped_at", 0.0), told.get("started", 0.0), labels)


def read_counters(
    entries: Iterable[Entry], names: Mapping[frozenset[tuple[str, str]], str]
) -> Mapping[str, Counters]:
    """Return every counter of each target by the target's name."""
    found: dict[str, dict[tuple[tuple[str, str], ...], list[tuple[float, float]]]] = defaultdict(dict)
    known = {key: frozenset(key) for key in names}
    for entry in entries:
        labels = dict(entry["metric"])
        for key in known:
            if key <= labels.items():
                own = tuple(sorted(item for item in labels.items() if item not in key))
                found[names[key]][own] = [(float(at), float(value)) for at, value in entry["values"]]
    return dict(found)
