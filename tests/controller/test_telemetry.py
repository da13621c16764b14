"""The daemon's own metrics, from reports."""

import math

import pytest
from prometheus_client import CollectorRegistry

from controller.contract import METRIC_LABELS, Flags
from controller.daemon.metrics import DaemonMetrics
from controller.decision.model import Evidence
from controller.loop.tick import FeatureReport, Report

FLAGS = Flags(enabled=True, internal_only=False, rollout_percent=5.0, paused=False, revision=7)


class Exported:
    """One Telemetry on a registry and a clock of its own."""

    def __init__(self, *features: str) -> None:
        self.registry, self.now = CollectorRegistry(), 100.0
        self.telemetry = DaemonMetrics(features, self.registry, lambda: self.now)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


def test_every_child_that_can_be_known_is_there_before_the_first_tick() -> None:
    exported = Exported("microsoft")
    for outcome in ("ok", "standby", "error", "skipped"):
        assert exported.value("rollout_ticks_total", outcome=outcome) == 0
    for dependency in ("redis", "prometheus", "journal"):
        assert exported.value("rollout_neighbour_errors_total", neighbour=dependency) == 0
    assert exported.value("rollout_feature_percent", feature="microsoft") == 0
    assert exported.value("rollout_leader") == 0


def test_a_leader_whose_ticks_do_not_end_any_more_is_none_when_its_lease_is_over() -> None:
    exported = Exported("microsoft")
    exported.telemetry.note(Report(leader=True, leader_until=190.0), 1.0)
    assert exported.value("rollout_leader") == 1
    exported.now = 191.0
    assert exported.value("rollout_leader") == 0


def test_a_dry_run_is_never_the_leader() -> None:
    exported = Exported("microsoft")
    exported.telemetry.note(Report(leader=True, leader_until=math.inf), 1.0)
    assert exported.value("rollout_leader") == 0


def test_a_standby_exports_the_flags_and_the_age_of_the_evidence_too() -> None:
    exported = Exported("microsoft")
    seen = {"microsoft": FeatureReport(FLAGS, Evidence(now=1.0, sample_age_s=12.5))}
    exported.telemetry.note(Report(seen=seen), 1.0)
    assert exported.value("rollout_feature_percent", feature="microsoft") == 5
    assert exported.value("rollout_feature_enabled", feature="microsoft") == 1
    assert exported.value("rollout_feature_revision", feature="microsoft") == 7
    assert exported.value("rollout_evidence_age_seconds", feature="microsoft") == 12.5
    assert exported.value("rollout_ticks_total", outcome="standby") == 1


def test_evidence_that_is_not_there_has_no_age() -> None:
    exported = Exported("microsoft")
    exported.telemetry.note(Report(seen={"microsoft": FeatureReport(FLAGS, Evidence(now=1.0))}), 1.0)
    assert math.isnan(exported.value("rollout_evidence_age_seconds", feature="microsoft") or 0.0)


@pytest.mark.parametrize(
    ("kind", "reason", "held_s"),
    [
        ("hold", "baking", 60.0),
        ("hold", "metrics_stale", 60.0),
        ("step_up", "healthy", 0.0),
        ("hold", "complete", 0.0),
        ("hold", "disabled", 0.0),
        ("hold", "stopped", 0.0),
    ],
)
def test_a_hold_is_as_long_as_since_the_last_thing_that_was_done_and_a_rollout_at_rest_is_not_held(
    kind: str, reason: str, held_s: float
) -> None:
    exported = Exported("microsoft")
    record = {
        "feature": "microsoft",
        "kind": kind,
        "reason": reason,
        "at": 160.0,
        "state_before": {"held_since": 100.0},
    }
    exported.telemetry.note(Report((record,)), 160.0)
    assert exported.value("rollout_held_seconds", feature="microsoft") == held_s


def test_a_feature_that_a_reload_took_away_is_exported_no_more() -> None:
    exported = Exported("google", "microsoft")
    exported.telemetry.use(["microsoft", "contacts"])
    assert exported.value("rollout_feature_percent", feature="google") is None
    assert exported.value("rollout_feature_percent", feature="contacts") == 0


def test_a_neighbours_errors_are_counted_by_tick() -> None:
    exported = Exported("microsoft")
    for trouble in ("away", "away", ""):
        exported.telemetry.note_dependencies({"redis": trouble}, {"microsoft": 2})
    assert exported.value("rollout_neighbour_errors_total", neighbour="redis") == 2
    assert exported.value("rollout_neighbour_up", neighbour="redis") == 1
    assert exported.value("rollout_journal_disagreement", feature="microsoft") == 2


def test_every_metric_and_its_labels_stand_in_the_contract() -> None:
    exported = Exported("microsoft")
    for family in exported.registry.collect():
        counted = f"{family.name}_total"
        name = counted if counted in METRIC_LABELS else family.name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(METRIC_LABELS[name])
