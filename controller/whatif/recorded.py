"""Reads the recorded evidence of days from Prometheus, in chunks, as the ticks of a replay."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import requests

from controller.config.settings import PrometheusAccess, shown
from controller.contract import (
    EVIDENCE_ERRORS,
    EVIDENCE_LATENCY_BUCKET,
    EVIDENCE_SENDS,
    ROLLOUT_GATE_PERCENT,
)
from controller.decision.feature import RolloutFeature
from controller.evidence.session import AnswerError, BoundedSession
from controller.rules.names import Names
from controller.rules.scope import DEFAULT_SCOPE, Scope, matcher
from controller.whatif.playback import Tick

POINTS_A_CHUNK = 11_000
"""Prometheus refuses range queries that give more points for one series."""
GAP_WINDOWS = 1.5
"""A longer distance between two samples is a tick without data."""

Samples = dict[float, float]
T = TypeVar("T")


class RecordedError(Exception):
    """Prometheus could not be asked, or did not answer as Prometheus does."""


class Recorded:
    """What Prometheus holds of the past of a feature."""

    def __init__(
        self,
        url: str,
        *,
        access: PrometheusAccess | None = None,
        timeout_s: float = 30.0,
        scope: Scope = DEFAULT_SCOPE,
    ) -> None:
        self._url = url
        self._session = BoundedSession(access)
        self._scope = scope
        self._session.request_timeout_s = timeout_s

    def ticks(
        self,
        feature: RolloutFeature,
        since_s: float,
        window_s: float,
        reference: RolloutFeature | None = None,
    ) -> list[Tick]:
        """Return the ticks of the last `since_s` seconds, oldest first, with what the reference sent.

        Raises RecordedError.
        """
        now = self._now()
        ticks = self._ticks(feature, now, since_s, window_s)
        if reference is None:
            return ticks
        others = {one.at: one for one in self._ticks(reference, now, since_s, window_s) if not one.missing}
        return [
            replace(one, reference=(other.sends, other.errors)) if (other := others.get(one.at)) else one
            for one in ticks
        ]

    def _ticks(self, feature: RolloutFeature, now: float, since_s: float, window_s: float) -> list[Tick]:
        chunk_s = POINTS_A_CHUNK * window_s
        ends = _chunk_ends(now - since_s, now, chunk_s)
        series: dict[str, Samples] = {"sends": {}, "errors": {}, "timed": {}, "fast": {}}
        if feature.slo_very_slow_threshold:
            series["bearable"] = {}
        for start, end in ends:
            self._read_chunk(series, feature, end, end - start)
        return list(joined(series, window_s))

    def sends_per_s(self, feature: RolloutFeature, window_s: float) -> tuple[float | None, float | None]:
        """Return the sends per second of the last hour, and the percentage that the senders obey now.

        Each is None where Prometheus holds nothing of it. Raises RecordedError.
        """
        pair, own = Names.of(feature).pair, matcher("feature", feature.name)
        sends = self._one(f"avg_over_time({EVIDENCE_SENDS}{self._scope.recorded(*pair)}[1h])")
        percent = self._one(f"max({ROLLOUT_GATE_PERCENT}{self._scope.senders(own)})")
        return None if sends is None else sends / window_s, percent

    def _now(self) -> float:
        now = self._one("vector(time())")  # VictoriaMetrics has no scalars
        if now is None:
            raise RecordedError(f"{shown(self._url)}: the answer is not Prometheus's")
        return now

    def _one(self, query: str) -> float | None:
        values = self._query(query, lambda entry: float(entry["value"][1]))
        return values[0] if values and math.isfinite(values[0]) else None

    def _read_chunk(
        self, series: dict[str, Samples], feature: RolloutFeature, end: float, length_s: float
    ) -> None:
        """Ask for the samples themselves, which alone have their own times: a range query repeats them."""
        edges = "|".join(re.escape(edge).replace("\\", "\\\\") for edge in _edges(feature))
        names = f"{EVIDENCE_SENDS}|{EVIDENCE_ERRORS}|{EVIDENCE_LATENCY_BUCKET}"
        matchers = (f'__name__=~"{names}"', *Names.of(feature).pair, f'le=~"|[+]Inf|{edges}"')
        selector = f"{self._scope.recorded(*matchers)}[{math.ceil(length_s * 1000)}ms]"
        found = self._query(selector, lambda entry: _samples(entry, feature), at=end)
        if len(found) != len({role for role, _ in found}):
            raise RecordedError(
                f"{shown(self._url)}: several series where one is expected for {feature.name}"
            )
        for role, samples in found:
            series[role].update(samples)

    def _query(self, query: str, read: Callable[[Any], T], at: float | None = None) -> list[T]:
        params = {"query": query} if at is None else {"query": query, "time": f"{at:.3f}"}
        try:
            answer = self._session.get(f"{self._url}/api/v1/query", params=params)
            if answer.status_code != requests.codes.ok:
                raise RecordedError(f"{shown(self._url)}: HTTP {answer.status_code}: {answer.text[:200]}")
            return [read(entry) for entry in answer.json()["data"]["result"]]
        except (requests.RequestException, AnswerError, OSError) as error:
            raise RecordedError(f"{shown(self._url)} cannot be asked: {type(error).__name__}") from error
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise RecordedError(f"{shown(self._url)}: the answer is not Prometheus's") from error


def _samples(entry: Any, feature: RolloutFeature) -> tuple[str, Samples]:
    return _role(entry["metric"], feature.latency_limit_s), {
        float(at): float(value) for at, value in entry["values"]
    }


def _chunk_ends(start: float, end: float, chunk_s: float) -> Iterator[tuple[float, float]]:
    while start < end:
        yield start, min(start + chunk_s, end)
        start += chunk_s


def _edges(feature: RolloutFeature) -> set[str]:
    """Write the edges as the clients do: 1.0 in Python, 1 in Go."""
    return {text for edge_s in feature.latency_edges_s for text in (repr(float(edge_s)), f"{edge_s:g}")}


def _role(labels: dict[str, str], limit_s: float) -> str:
    if labels["__name__"] == EVIDENCE_LATENCY_BUCKET:
        if labels["le"] == "+Inf":
            return "timed"
        return "fast" if float(labels["le"]) == limit_s else "bearable"
    return "sends" if labels["__name__"] == EVIDENCE_SENDS else "errors"


def joined(series: dict[str, Samples], window_s: float) -> Iterator[Tick]:
    """Join the series by time; where samples are missing for longer than a window, a tick says so."""
    sends, errors, timed, fast = (series[role] for role in ("sends", "errors", "timed", "fast"))
    bearable = series.get("bearable")
    whole = sends.keys() & errors.keys() & timed.keys() & fast.keys()
    before: float | None = None
    for at in sorted(whole if bearable is None else whole & bearable.keys()):
        while before is not None and at - before > GAP_WINDOWS * window_s:
            before += window_s
            yield Tick(before, missing=True)
        counts = (sends[at], errors[at], max(timed[at] - fast[at], 0.0))
        very_slow = None if bearable is None else max(timed[at] - bearable[at], 0.0)
        missing = not all(math.isfinite(count) and count >= 0 for count in (*counts, very_slow or 0.0))
        yield Tick(at, missing=True) if missing else Tick(at, *counts, very_slow=very_slow)
        before = at
