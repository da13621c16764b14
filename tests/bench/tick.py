"""Measures ticks over 1 to 10,000 features on a real Prometheus and Redis: section "Tick" of the benchmarks.

Usage: python tests/bench/run.py tick
"""

import logging
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import requests
import structlog
from bench.report import machine, median, say, table, write_section
from worlds.tick import TickWorld, tick_world

from controller.contract import (
    EVIDENCE_ERRORS,
    EVIDENCE_GATE_REVISION,
    EVIDENCE_LATENCY_BUCKET,
    EVIDENCE_SENDS,
    decisions_key,
)
from controller.decision.feature import RolloutFeature
from controller.decision.model import Evidence
from controller.evidence.prometheus import PrometheusSource

WINDOWS_S = {1: 0.5, 10: 0.5, 100: 0.5, 1000: 2.0, 10_000: 3.0}
"""The numbers of features, and how often each has something new to judge."""

TICKS = 7
ASKED_ALONE = 150
"""So many features are asked for one series at a time; more would take as long each."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One number of features; seconds."""

    features: int
    tick_s: float
    read_s: float
    per_series_s: float
    requests: int
    round_trips: int
    record_bytes: float


def measure(folder: Path, count: int) -> Measured:
    say(f"ticks over {count} features")
    with tick_world(folder, count, window_s=WINDOWS_S[count]) as world:
        controller = world.ticking()
        turns = world.turns(controller)
        with timed_reading() as readings_s:
            ticks = [world.tick(controller) for _ in range(TICKS)]
        if any(report.error or len(report.records) != count for report in ticks):
            raise RuntimeError("a tick failed")
        return Measured(
            features=count,
            tick_s=median([report.duration_s for report in ticks]),
            read_s=median(readings_s),
            per_series_s=one_by_one(world),
            requests=turns[0],
            round_trips=turns[1],
            record_bytes=record_bytes(world),
        )


@contextmanager
def timed_reading() -> Iterator[list[float]]:
    """Note how long each tick reads evidence."""
    took: list[float] = []
    read = PrometheusSource.read

    def timed(*args: Any) -> dict[str, Evidence]:
        began = time.perf_counter()
        evidence = read(*args)
        took.append(time.perf_counter() - began)
        return evidence

    with patch.object(PrometheusSource, "read", timed):
        yield took


def one_by_one(world: TickWorld) -> float:
    """Return how long the same evidence takes when each series is asked for alone, on one open connection."""
    features = list(world.settings.features.values())[:ASKED_ALONE]
    with requests.Session() as session:
        url = f"{world.settings.prometheus_url}/api/v1/query"
        began = time.perf_counter()
        for feature in features:
            for series in series_of(feature, 4 * world.settings.window_s + 10):
                session.get(url, params={"query": series}, timeout=5).json()
        took = time.perf_counter() - began
    return took * len(world.settings.features) / len(features)


def series_of(feature: RolloutFeature, reach_s: float) -> Sequence[str]:
    pair, reach = f'provider="{feature.provider}",action="{feature.action}"', f"[{reach_s:.0f}s]"
    return (
        f"{EVIDENCE_SENDS}{{{pair}}}{reach}",
        f"{EVIDENCE_ERRORS}{{{pair}}}{reach}",
        f'{EVIDENCE_LATENCY_BUCKET}{{{pair},le="{feature.latency_limit_s}"}}{reach}',
        f'{EVIDENCE_LATENCY_BUCKET}{{{pair},le="+Inf"}}{reach}',
        f'{EVIDENCE_GATE_REVISION}{{feature="{feature.name}"}}{reach}',
    )


def record_bytes(world: TickWorld) -> float:
    """Return what one record takes of Redis's memory."""
    key = decisions_key(next(iter(world.settings.features)))
    with world.redis.client() as client:
        used, length = client.memory_usage(key), client.xlen(key)
    return cast("int", used) / cast("int", length)


def fit(measured: Sequence[Measured]) -> str:
    """Fit a line to all sizes, and say how far each size is from it."""
    counts, ticks = [one.features for one in measured], [one.tick_s for one in measured]
    line = statistics.linear_regression(counts, ticks)
    explained = statistics.correlation(counts, ticks) ** 2
    return (
        f"{line.intercept * 1e3:.1f} ms + {line.slope * 1e6:.0f} us per feature explains "
        f"{explained:.2%} of the variance"
    )


def rows(measured: Iterable[Measured]) -> Iterable[Sequence[object]]:
    for one in measured:
        yield (
            f"{one.features:,}",
            f"{one.tick_s * 1e3:.1f}",
            f"{one.tick_s / one.features * 1e6:,.0f}",
            one.requests,
            one.round_trips,
            f"{one.read_s * 1e3:.1f}",
            f"{one.per_series_s * 1e3:,.0f}",
            f"{one.per_series_s / one.read_s:.0f}x",
        )


HEADERS = (
    "features",
    "tick, ms",
    "per feature, us",
    "Prometheus requests",
    "Redis round trips",
    "reading the evidence, ms",
    "one query per series, ms",
    "slower",
)

TEXT = """## Tick

{machine} `make bench ARGS=tick` measures this part alone.

A whole tick of a leader: lease, flags, evidence, judging, deciding, one write and one record for every
feature (medians of {ticks}). The features are in a step and healthy, every tick has new windows to judge, and
nothing changes. Prometheus, Redis and the controller share the machine. "One query per series" asks for the
same five series of each feature one after the other on an open connection, as the analyses of Argo Rollouts
and Flagger do for theirs (measured over {alone} features and multiplied).

{table}
{failed}
A line through all sizes, {fit}. One record takes {record_bytes:.0f} bytes of Redis's memory.
"""


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    measured, failed = [], []
    for count in WINDOWS_S:
        try:
            with tempfile.TemporaryDirectory() as folder:
                measured.append(measure(Path(folder), count))
        except RuntimeError as error:
            say(f"{count} features could not be measured here: {error}")
            failed.append(f"{count:,}")
    body = TEXT.format(
        machine=machine(),
        ticks=TICKS,
        alone=ASKED_ALONE,
        table=table(HEADERS, rows(measured)),
        failed=f"\nNot measured, on a machine too slow or too busy: {', '.join(failed)} features.\n"
        if failed
        else "",
        fit=fit(measured),
        record_bytes=measured[-1].record_bytes,
    )
    write_section("tick", body)
    print(body)


if __name__ == "__main__":
    main()
