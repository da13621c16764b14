"""The daemon's own metrics, set from each tick's report."""

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from controller import contract
from controller.decision.model import Kind, RolloutFeature
from controller.tick import Report

OUTCOMES = ("ok", "standby", "error")


class Telemetry:
    """Gauges and counters of one controller; every child that can be known exists from the start."""

    def __init__(self, features: Mapping[str, RolloutFeature], registry: CollectorRegistry) -> None:
        self._ticks = Counter(
            contract.ROLLOUT_TICKS_TOTAL, "Ticks, by how they ended.", ["outcome"], registry=registry
        )
        self._duration = Histogram(
            contract.ROLLOUT_TICK_DURATION_SECONDS, "Length of a tick, seconds.", registry=registry
        )
        self._last_tick = Gauge(
            contract.ROLLOUT_LAST_TICK_TIMESTAMP_SECONDS,
            "End of the last good tick, unix seconds.",
            registry=registry,
        )
        self._leader = Gauge(
            contract.ROLLOUT_LEADER, "1 while this controller holds the lease.", registry=registry
        )
        self._decisions = Counter(
            contract.ROLLOUT_DECISIONS_TOTAL, "Decisions.", ["feature", "kind", "reason"], registry=registry
        )
        self._percent = Gauge(
            contract.ROLLOUT_FEATURE_PERCENT, "rollout_percent.", ["feature"], registry=registry
        )
        self._paused = Gauge(
            contract.ROLLOUT_FEATURE_PAUSED, "1 while paused.", ["feature"], registry=registry
        )
        self._held = Gauge(
            contract.ROLLOUT_HELD_SECONDS,
            "Since when it has held without a step.",
            ["feature"],
            registry=registry,
        )
        for outcome in OUTCOMES:
            self._ticks.labels(outcome)
        for name in features:
            self._percent.labels(name)
            self._paused.labels(name)
            self._held.labels(name)

    def note(self, report: Report, now: float) -> None:
        """Count one tick; `now` is its end in unix seconds."""
        outcome = "error" if report.error else "ok" if report.leader else "standby"
        self._ticks.labels(outcome).inc()
        self._duration.observe(report.duration_s)
        self._leader.set(report.leader)
        if not report.error:
            self._last_tick.set(now)
        for record in report.records:
            self._note_record(record)

    def _note_record(self, record: Mapping[str, Any]) -> None:
        feature, flags = record["feature"], record["to"]
        self._decisions.labels(feature, record["kind"], record["reason"]).inc()
        self._percent.labels(feature).set(flags["rollout_percent"])
        self._paused.labels(feature).set(flags["paused"])
        if record["kind"] == Kind.HOLD and "held_s" in record:
            self._held.labels(feature).set(record["held_s"])
