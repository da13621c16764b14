"""The daemon's own metrics, set from each tick's report."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from controller import contract
from controller.contract import METRIC_LABELS
from controller.decision.model import AT_REST, Kind
from controller.loop.tick import FeatureReport, Report

OUTCOMES = ("ok", "standby", "error", "skipped")
DEPENDENCIES = ("redis", "prometheus", "journal")
RELOADS = ("ok", "refused")


class DaemonMetrics:
    """Gauges and counters of one controller; every child that can be known exists from the start."""

    def __init__(
        self,
        features: Iterable[str],
        registry: CollectorRegistry,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        def counter(name: str, help_text: str) -> Counter:
            return Counter(name, help_text, METRIC_LABELS[name], registry=registry)

        def gauge(name: str, help_text: str) -> Gauge:
            return Gauge(name, help_text, METRIC_LABELS[name], registry=registry)

        self._ticks = counter(contract.ROLLOUT_TICKS_TOTAL, "Ticks, by how they ended.")
        self._duration = Histogram(
            contract.ROLLOUT_TICK_DURATION_SECONDS, "Length of a tick, seconds.", registry=registry
        )
        self._last_tick = gauge(
            contract.ROLLOUT_LAST_TICK_TIMESTAMP_SECONDS, "End of the last good tick, unix seconds."
        )
        self._leader = gauge(contract.ROLLOUT_LEADER, "1 while this controller holds the lease.")
        self._leader_until = 0.0
        self._leader.set_function(lambda: monotonic() < self._leader_until)
        self._decisions = counter(contract.ROLLOUT_DECISIONS_TOTAL, "Decisions of this controller.")
        self._percent = gauge(contract.ROLLOUT_FEATURE_PERCENT, "rollout_percent.")
        self._paused = gauge(contract.ROLLOUT_FEATURE_PAUSED, "1 while paused.")
        self._enabled = gauge(contract.ROLLOUT_FEATURE_ENABLED, "1 while enabled.")
        self._revision = gauge(contract.ROLLOUT_FEATURE_REVISION, "Revision of the flags.")
        self._age = gauge(contract.ROLLOUT_EVIDENCE_AGE_SECONDS, "Age of the newest recorded sample.")
        self._held = gauge(contract.ROLLOUT_HELD_SECONDS, "How long it has held without a step.")
        self._disagreement = gauge(
            contract.ROLLOUT_JOURNAL_DISAGREEMENT, "Records that only the stream or only the file holds."
        )
        self._up = gauge(
            contract.ROLLOUT_NEIGHBOUR_UP, "1 while the dependency answers, NaN before it was asked."
        )
        self._errors = counter(
            contract.ROLLOUT_NEIGHBOUR_ERRORS_TOTAL, "Ticks at which the dependency failed."
        )
        self._reloads = counter(contract.ROLLOUT_RELOADS_TOTAL, "Reloads of the configuration.")
        self._clock = counter(contract.ROLLOUT_CLOCK_STEPS_TOTAL, "How often the wall clock was set.")
        self._unwatched = gauge(
            contract.ROLLOUT_UNWATCHED_FEATURES, "Features enabled in Redis and in no configuration here."
        )
        self._agrees = gauge(
            contract.ROLLOUT_CONFIG_AGREES, "1 while this controller decides by what the leader decides by."
        )
        self._agrees.set(1)
        self._live_difference = gauge(
            contract.ROLLOUT_LIVE_DIFFERENCE,
            "Share by which live counts are more than the windows of ten minutes; negative: less.",
        )
        self._features: set[str] = set()
        for family, values in (
            (self._ticks, OUTCOMES),
            (self._up, DEPENDENCIES),
            (self._errors, DEPENDENCIES),
            (self._reloads, RELOADS),
        ):
            for value in values:
                family.labels(value)
        for dependency in DEPENDENCIES:
            self._up.labels(dependency).set(math.nan)
        self.use(features)

    @property
    def _by_feature(self) -> tuple[Gauge, ...]:
        return (
            self._percent,
            self._paused,
            self._enabled,
            self._revision,
            self._age,
            self._held,
            self._disagreement,
            self._live_difference,
        )

    def use(self, features: Iterable[str]) -> None:
        """Export these features from now on, and no others."""
        wanted = set(features)
        for family in self._by_feature:
            for name in self._features - wanted:
                family.remove(name)
            for name in wanted - self._features:
                family.labels(name)
        self._features = wanted

    def note(self, report: Report, now: float) -> None:
        """Count one tick; `now` is its end in unix seconds."""
        outcome = "error" if report.error else "ok" if report.leader else "standby"
        self._ticks.labels(outcome).inc()
        self._duration.observe(report.duration_s)
        self._leader_until = report.leader_until if math.isfinite(report.leader_until) else 0.0
        if not report.error:
            self._last_tick.set(now)
        for name, seen in report.seen.items():
            self._note_feature(name, seen)
        self.note_records(report.records)

    def note_records(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Count decisions."""
        for record in records:
            self._note_record(record)

    def note_live(self, differences: Mapping[str, float | None]) -> None:
        """Take by how much live counts and windows differ."""
        for name, share in differences.items():
            if name in self._features:
                self._live_difference.labels(name).set(math.nan if share is None else share)

    def note_dependencies(self, wrong: Mapping[str, str], disagreements: Mapping[str, int]) -> None:
        """Take what is wrong with each dependency now, and how many records stream and file differ by."""
        for dependency, trouble in wrong.items():
            self._up.labels(dependency).set(not trouble)
            if trouble:
                self._errors.labels(dependency).inc()
        for name in self._features:
            self._disagreement.labels(name).set(disagreements.get(name, 0))

    def note_oversight(self, unwatched: int, *, config_agrees: bool) -> None:
        """Take how many features nobody here watches, and whether the leader decides by the same."""
        self._unwatched.set(unwatched)
        self._agrees.set(config_agrees)

    def skipped(self) -> None:
        """Count a tick that was due while the one before still ran."""
        self._ticks.labels("skipped").inc()

    def reloaded(self, *, refused: bool) -> None:
        """Count a reload of the configuration."""
        self._reloads.labels("refused" if refused else "ok").inc()

    def clock_stepped(self) -> None:
        """Count that the wall clock was set."""
        self._clock.inc()

    def _note_feature(self, name: str, seen: FeatureReport) -> None:
        self._percent.labels(name).set(seen.flags.rollout_percent)
        self._paused.labels(name).set(seen.flags.paused)
        self._enabled.labels(name).set(seen.flags.enabled)
        self._revision.labels(name).set(seen.flags.revision)
        age_s = seen.evidence.sample_age_s
        self._age.labels(name).set(math.nan if age_s is None else age_s)

    def _note_record(self, record: Mapping[str, Any]) -> None:
        name = record["feature"]
        self._decisions.labels(name, record["kind"], record["reason"]).inc()
        since = record["state_before"]["held_since"]
        holds = record["kind"] == Kind.HOLD and record["reason"] not in AT_REST and since
        self._held.labels(name).set(record["at"] - since if holds else 0)
