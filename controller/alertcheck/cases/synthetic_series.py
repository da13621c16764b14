"""Synthetic metrics: what senders and controllers would export while something goes right or wrong. Pure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from controller.contract import (
    ACTION_ERROR_TOTAL,
    ACTION_EXEC_TOTAL,
    ACTION_LATENCY_SECONDS,
    MS_TOKEN_REFRESH_TOTAL,
    ROLLOUT_GATE_TOTAL,
    SENDER_JOB,
    STRUCTURED_ERROR_TOTAL,
    latency_edges_s,
)
from controller.decision.feature import RolloutFeature
from controller.rules.recording import SIGN_IN_METRICS
from controller.rules.scale import DEFAULT_WINDOW_S, Scale

FAST_SHARE = 0.35
"""The share of the sends within the limit that are very fast; the others lie right below the limit."""


NO_SAMPLE = math.nan


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of time with steady traffic. Its length is written for the default scale, and stretched."""

    length_s: float
    sends_per_s: float = 0.0
    error_share: float = 0.0
    slow_share: float = 0.0
    """Share of sends right above the limit."""
    very_slow_share: float = 0.0
    """Share of sends right above four times the limit."""
    barely_slow_share: float = 0.0
    """Share of sends right below four times the limit."""
    errors_per_s: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Structured errors by (code, source), beside those of failed sends."""
    gate_per_s: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Answers of the gate by (outcome, reason)."""
    refreshes_per_s: Mapping[str, float] = field(default_factory=dict)
    """Token refreshes by outcome."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series with a value (None: not there) for every step of `step_s` from time 0."""

    name: str
    labels: Mapping[str, str]
    values: Sequence[float | None]
    """None is a series that is gone; NO_SAMPLE says nothing about it."""


@dataclass(frozen=True, slots=True)
class Samples:
    """All series of one synthetic world."""

    step_s: float
    series: tuple[Series, ...]

    @property
    def end_s(self) -> float:
        """When the last sample is, in seconds after the first."""
        return self.step_s * (max((len(one.values) for one in self.series), default=1) - 1)

    def select(self, name: str, **matchers: str) -> tuple[Series, ...]:
        """Return the series of this name that have these labels."""
        wanted = matchers.items()
        return tuple(one for one in self.series if one.name == name and wanted <= one.labels.items())

    def __add__(self, other: "Samples") -> "Samples":
        return Samples(self.step_s, self.series + other.series)


def steps_of(phase: Phase) -> int:
    """Return how many windows of 30 s a phase lasts."""
    return round(phase.length_s / DEFAULT_WINDOW_S)


def traffic(feature: RolloutFeature, phases: Sequence[Phase], scale: Scale, job: str = SENDER_JOB) -> Samples:
    """Return what the senders of one feature export in these phases, one sample per window."""
    step_s = scale.window_s
    rows = [rates_per_s(feature, phase) for phase in phases]
    keys = dict.fromkeys(key for row in rows for key in row)
    series = tuple(
        Series(
            key[0],
            {"job": job, **dict(key[1])},
            tuple(
                _accumulated(
                    (steps_of(phase), row.get(key, 0.0) * step_s)
                    for phase, row in zip(phases, rows, strict=True)
                )
            ),
        )
        for key in keys
    )
    return Samples(step_s, series)


def _accumulated(stretches: Iterator[tuple[int, float]]) -> Iterator[float]:
    total = 0.0
    yield total
    for steps, increment in stretches:
        for _ in range(steps):
            total += increment
            yield total


Key = tuple[str, tuple[tuple[str, str], ...]]


def rates_per_s(feature: RolloutFeature, phase: Phase) -> dict[Key, float]:
    """Return the rate of every counter of a feature in one phase."""
    pair = {"provider": feature.provider, "action": feature.action}
    errors = phase.sends_per_s * phase.error_share
    good = phase.sends_per_s - errors
    rates: dict[Key, float] = {}

    def put(name: str, per_s: float, **labels: str) -> None:
        rates[name, tuple(labels.items())] = per_s

    put(ACTION_EXEC_TOTAL, good, **pair, status="ok")
    put(ACTION_EXEC_TOTAL, errors, **pair, status="error")
    put(ACTION_ERROR_TOTAL, errors, **pair)
    for status, per_s in (("ok", good), ("error", errors)):
        for edge, share in distribution(feature, phase):
            put(f"{ACTION_LATENCY_SECONDS}_bucket", per_s * share, **pair, status=status, le=edge)
        put(f"{ACTION_LATENCY_SECONDS}_count", per_s, **pair, status=status)
    codes = {("MS_SEND_UNKNOWN", "provider"): errors, **phase.errors_per_s}
    for (code, source), per_s in codes.items():
        put(STRUCTURED_ERROR_TOTAL, per_s, **pair, code=code, source=source)
    for (outcome, reason), per_s in phase.gate_per_s.items():
        put(ROLLOUT_GATE_TOTAL, per_s, feature=feature.name, outcome=outcome, reason=reason)
    for outcome, per_s in phase.refreshes_per_s.items():
        put(SIGN_IN_METRICS.get(feature.provider, MS_TOKEN_REFRESH_TOTAL), per_s, outcome=outcome)
    return rates


def distribution(feature: RolloutFeature, phase: Phase) -> Iterator[tuple[str, float]]:
    """Yield the share of sends at or below each edge of the latency histogram."""
    limit_s = feature.latency_limit_s
    edges = edges_of(feature)
    slow = phase.slow_share + phase.barely_slow_share + phase.very_slow_share
    fast = (1 - slow) * FAST_SHARE
    parts = (
        (edges[0], fast),
        (limit_s, 1 - slow - fast),
        (_next(edges, limit_s), phase.slow_share),
        (limit_s * 4, phase.barely_slow_share),
        (_next(edges, limit_s * 4), phase.very_slow_share),
    )
    for edge in edges:
        yield spelled(edge), sum(share for top, share in parts if top <= edge)
    yield "+Inf", 1.0


def edges_of(feature: RolloutFeature) -> tuple[float, ...]:
    """Return the bucket edges of the latency histogram, seconds."""
    return latency_edges_s((feature.latency_limit_s,))


def spelled(edge_s: float) -> str:
    """Write an edge as the Python client does."""
    return repr(float(edge_s))


def _next(edges: Sequence[float], edge_s: float) -> float:
    return next((edge for edge in edges if edge > edge_s), float("inf"))


def next_edge_s(feature: RolloutFeature, edge_s: float) -> float:
    """Return the bucket edge above `edge_s`, seconds."""
    return _next(edges_of(feature), edge_s)


def gauge(name: str, values: Sequence[tuple[int, float | None]], **labels: str) -> Series:
    """Return a series that stays at each value for so many steps."""
    return Series(name, labels, tuple(value for steps, value in values for _ in range(steps)))


def ticking(name: str, stretches: Sequence[tuple[int, bool]], step_s: float, behind_s: float = 0.0) -> Series:
    """Return a gauge of unix seconds that follows the time, this far behind, or stands still."""
    values: list[float | None] = []
    now = 0.0
    for steps, moves in stretches:
        for _ in range(steps):
            now = len(values) * step_s - behind_s if moves else now
            values.append(now)
    return Series(name, {}, tuple(values))


def counter(name: str, stretches: Sequence[tuple[int, float]], **labels: str) -> Series:
    """Return a counter that rises by so much in each of so many steps."""
    return Series(name, labels, tuple(_accumulated(iter(stretches))))
