"""Rules are rendered the same at any scale but for their lengths, and refused where they could not run."""

import dataclasses
import math
import subprocess
from pathlib import Path

import pytest
import yaml

from controller.contract import evidence_delay_s, evidence_reach_s, evidence_step_ms, latency_edges_s
from controller.features import ROLLOUT_FEATURES
from controller.rules.names import Names
from controller.rules.recording import le_matcher
from controller.rules.rule_files import rule_files
from controller.rules.scale import Scale, duration, in_words
from controller.rules.yaml_text import yaml_text

FEATURES = list(ROLLOUT_FEATURES.values())
PLAN_SERIES = {
    "job:outlook_send_exec_rate:5m",
    "job:outlook_send_latency_seconds:rate5m",
    "job:outlook_send_latency_p95:5m",
    "job:outlook_send_latency_p95_by_result:5m",
    "job:outlook_send_errors_rate:5m",
    "job:structured_error_rate_top5_codes_microsoft:5m",
}
PLAN_ALERTS = {
    "OutlookSendHighErrorRateWarning",
    "OutlookSendHighErrorRateCritical",
    "OutlookSendHighLatencyWarning",
    "OutlookSendHighLatencyCritical",
}


def names(scale: Scale) -> list[str]:
    return [rule.name for file in rule_files(FEATURES, scale) for rule in file.rules]


def test_the_plans_names_are_kept_and_every_feature_has_at_least_fifteen_series() -> None:
    files = {file.name: file for file in rule_files(FEATURES, Scale())}
    microsoft = files["prometheus-recording-microsoft.yml"]
    assert {rule.name for rule in microsoft.recordings} >= PLAN_SERIES
    assert {rule.name for rule in files["prometheus-alerts-microsoft.yml"].alerts} >= PLAN_ALERTS
    assert len(microsoft.recordings) >= 15
    assert len(files["prometheus-recording-google.yml"].recordings) >= 15


@pytest.mark.parametrize("window_s", [0.5, 1, 2, 7, 30, 60, 300])
def test_names_are_the_same_at_any_scale_and_promtool_accepts_all(window_s: float, tmp_path: Path) -> None:
    scale = Scale.of(window_s=window_s)
    assert names(scale) == names(Scale())
    paths = []
    for file in rule_files(FEATURES, scale):
        paths.append(tmp_path / file.name)
        paths[-1].write_text(yaml_text(file), encoding="utf-8")
    done = subprocess.run(
        ["promtool", "check", "rules", "--lint=all", "--lint-fatal", *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_yaml_says_what_the_rules_are() -> None:
    for file in rule_files(FEATURES, Scale()):
        groups = yaml.safe_load(yaml_text(file))["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        assert [rule["expr"] for rule in found] == [rule.expr for rule in file.rules]
        assert [rule["labels"] for rule in found if "alert" in rule] == [dict(a.labels) for a in file.alerts]


def test_lengths_stretch_with_the_window_and_the_evidence_runs_once_per_window() -> None:
    files = {file.name: yaml_text(file) for file in rule_files(FEATURES, Scale.of(window_s=2, scrape_s=1))}
    assert "[20s]" in files["prometheus-recording-microsoft.yml"]
    assert "for: 40s" in files["prometheus-alerts-microsoft.yml"]
    assert "interval: 2s" in files["prometheus-recording-rollout.yml"]


@pytest.mark.parametrize(("window_s", "scrape_s"), [(1, 2), (30, 31), (-5, 1), (0.001, 0.001)])
def test_lengths_that_rules_cannot_run_on_are_refused(window_s: float, scrape_s: float) -> None:
    with pytest.raises(ValueError, match=r"shorter than"):
        Scale.of(window_s=window_s, scrape_s=scrape_s)


@pytest.mark.parametrize("limit_s", [0.05, 0.333, 0.5, 2, 7.5, 10, 600])
def test_each_limit_and_critical_latency_is_an_edge_of_the_histogram_and_not_the_last(limit_s: float) -> None:
    edges_s = latency_edges_s((limit_s,))
    assert {limit_s, limit_s * 4} <= set(edges_s)
    assert edges_s[-1] > limit_s * 4


def test_two_features_that_would_record_the_same_series_are_refused() -> None:
    twin = dataclasses.replace(FEATURES[0], name="twin", provider="elsewhere")
    with pytest.raises(ValueError, match="give one of them another action"):
        rule_files([*FEATURES, twin], Scale())


@pytest.mark.parametrize(
    ("window_s", "scrape_s", "step_ms"), [(30, 10, 10_000), (10, 3, 5000), (7, 2, 3500), (1, 1, 1000)]
)
def test_steps_divide_the_window_and_are_no_shorter_than_a_scrape(
    window_s: float, scrape_s: float, step_ms: int
) -> None:
    assert evidence_step_ms(window_s, scrape_s) == step_ms
    assert round(window_s * 1000) % step_ms == 0
    assert step_ms >= scrape_s * 1000


def test_the_reach_covers_the_delay_and_two_steps() -> None:
    assert evidence_delay_s(10) == 5
    assert evidence_delay_s(1) == 1
    assert evidence_reach_s(30, 10) == 55


def test_names_are_made_from_the_action() -> None:
    google = Names.of(ROLLOUT_FEATURES["google"])
    assert google.series("exec_rate") == "job:gmail_send_exec_rate:5m"
    assert google.alert("HighErrorRateWarning") == "GmailSendHighErrorRateWarning"
    assert google.runbook("high-latency") == "gmail-send-high-latency.md"
    assert google.title == "Gmail send"


@pytest.mark.parametrize(
    ("limit_s", "matcher"), [(0.5, 'le="0.5"'), (2.0, r'le=~"2(\\.0)?"'), (1.25, 'le="1.25"')]
)
def test_an_edge_is_matched_however_it_is_spelled(limit_s: float, matcher: str) -> None:
    assert le_matcher(limit_s) == matcher


@pytest.mark.parametrize(
    ("length_s", "text", "words"),
    [
        (0.0005 * 1000, "500ms", "0.5 seconds"),
        (30, "30s", "30 seconds"),
        (90, "90s", "90 seconds"),
        (300, "5m", "5 minutes"),
        (60, "1m", "1 minute"),
        (21_600, "6h", "6 hours"),
        (29.999, "29999ms", "29.999 seconds"),
    ],
)
def test_lengths_are_written_for_prometheus_and_for_people(length_s: float, text: str, words: str) -> None:
    assert duration(length_s) == text
    assert in_words(length_s) == words
    assert math.isfinite(length_s)
