"""Grafana dashboards as plain JSON, from a table of panels: one per feature, and one for the controller."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from controller.contract import (
    EVIDENCE_ERRORS,
    EVIDENCE_GATE_REVISION,
    EVIDENCE_LATENCY_BUCKET,
    EVIDENCE_SENDS,
    ROLLOUT_DECISIONS_TOTAL,
    ROLLOUT_FEATURE_PAUSED,
    ROLLOUT_FEATURE_PERCENT,
    ROLLOUT_HELD_SECONDS,
    ROLLOUT_JOURNAL_DISAGREEMENT,
    ROLLOUT_LAST_TICK_TIMESTAMP_SECONDS,
    ROLLOUT_LEADER,
    ROLLOUT_NEIGHBOUR_UP,
    ROLLOUT_TICK_DURATION_SECONDS,
    ROLLOUT_TICKS_TOTAL,
    SENDER_JOB,
)
from controller.decision.model import SLOW_SHARE_LIMIT, RolloutFeature
from controller.rules.names import Names
from controller.rules.recording import SIGN_IN_METRICS

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT = 12, 8
COLUMNS = 24 // WIDTH


@dataclass(frozen=True, slots=True)
class DashboardPanel:
    """One panel: its title, what it asks, in which unit, and at which value its line turns red."""

    title: str
    queries: tuple[tuple[str, str], ...]
    """(expression, legend)."""
    unit: str = "short"
    limit: float | None = None
    about: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard; `marks` are the queries whose hits are drawn as annotations."""

    uid: str
    title: str
    panels: tuple[DashboardPanel, ...]
    marks: tuple[tuple[str, str, str], ...]
    """(name, expression, text)."""

    def queries(self) -> Iterable[str]:
        """Yield every expression of the dashboard."""
        yield from (expr for panel in self.panels for expr, _ in panel.queries)
        yield from (expr for _, expr, _ in self.marks)


def dashboards(features: Sequence[RolloutFeature]) -> dict[str, Dashboard]:
    """Return every dashboard by its file's name."""
    own = {f"{feature.name}.json": feature_dashboard(feature) for feature in features}
    return own | {"rollout.json": controller_dashboard()}


def feature_dashboard(feature: RolloutFeature) -> Dashboard:
    """Return the dashboard of one feature."""
    names = Names.of(feature)
    return Dashboard(
        f"rollout-{feature.name}"[:40],
        f"Rollout of {feature.name}: {names.title}",
        (
            *_ramp(feature),
            *_slos(feature, names),
            *_evidence(feature),
            *_causes(names),
        ),
        _marks(f'{{feature="{feature.name}"}}'),
    )


def _ramp(feature: RolloutFeature) -> tuple[DashboardPanel, ...]:
    label = f'{{feature="{feature.name}"}}'
    return (
        DashboardPanel(
            "Ramp",
            (
                (f"max({ROLLOUT_FEATURE_PERCENT}{label})", "percent"),
                (f"max({ROLLOUT_FEATURE_PAUSED}{label}) * 100", "paused"),
            ),
            "percent",
        ),
        DashboardPanel(
            "Gate answers",
            ((Names.of(feature).series("gate_outcomes_rate"), "{{outcome}} {{reason}}"),),
            "reqps",
        ),
    )


def _slos(feature: RolloutFeature, names: Names) -> tuple[DashboardPanel, ...]:
    return (
        DashboardPanel("Sends", ((names.series("exec_rate_by_status"), "{{status}}"),), "reqps"),
        DashboardPanel(
            "Error ratio",
            (
                (names.series("error_ratio"), "exact"),
                (names.series("errors_rate"), "the plan's, floored"),
            ),
            "percentunit",
            feature.slo_error_rate_threshold,
        ),
        DashboardPanel(
            "Latency",
            (
                (names.series("latency_p50"), "p50"),
                (names.series("latency_p95"), "p95"),
                (names.series("latency_p99"), "p99"),
            ),
            "s",
            feature.latency_limit_s,
        ),
        DashboardPanel(
            f"Sends slower than {feature.slo_latency_p95_ms:g} ms",
            ((names.series("slow_ratio"), "share"),),
            "percentunit",
            SLOW_SHARE_LIMIT,
        ),
        DashboardPanel("p95 by result", ((names.series("latency_p95_by_result"), "{{status}}"),), "s"),
        DashboardPanel(
            "Error budget burn",
            tuple(
                (names.series("error_budget_burn", window), window) for window in ("5m", "30m", "1h", "6h")
            ),
            "none",
            1.0,
        ),
    )


def _evidence(feature: RolloutFeature) -> tuple[DashboardPanel, ...]:
    pair = f'{{provider="{feature.provider}",action="{feature.action}"}}'
    return (
        DashboardPanel(
            "Evidence: counts per window",
            ((f"{EVIDENCE_SENDS}{pair}", "sends"), (f"{EVIDENCE_ERRORS}{pair}", "errors")),
            about="What the controller decides by: exact counts of windows that never overlap.",
        ),
        DashboardPanel(
            "Evidence: timed sends per window, cumulative",
            ((f"{EVIDENCE_LATENCY_BUCKET}{pair}", "at most {{le}} s"),),
        ),
        DashboardPanel(
            "Lowest revision that a sender obeys",
            ((f'{EVIDENCE_GATE_REVISION}{{feature="{feature.name}"}}', "revision"),),
            "none",
        ),
    )


def _causes(names: Names) -> tuple[DashboardPanel, ...]:
    refreshes = (
        (
            DashboardPanel(
                "Token refreshes that failed",
                (
                    (names.series("token_refresh_error_ratio", "15m"), "share"),
                    (names.series("token_refresh_failures", "15m"), "number over 15m"),
                ),
            ),
        )
        if names.provider in SIGN_IN_METRICS
        else ()
    )
    return (
        DashboardPanel(
            "Errors by code", ((f"topk(5, {names.series('error_rate_by_code')})", "{{code}}"),), "reqps"
        ),
        DashboardPanel("Errors by source", ((names.series("error_rate_by_source"), "{{source}}"),), "reqps"),
        DashboardPanel(
            "Throttled, signed out, unknown",
            (
                (names.series("throttled_rate"), "throttled"),
                (names.series("auth_error_rate"), "signed out"),
                (names.series("unknown_rate"), "nobody knows"),
            ),
            "reqps",
        ),
        *refreshes,
    )


def controller_dashboard() -> Dashboard:
    seconds, ticks = (f"rate({ROLLOUT_TICK_DURATION_SECONDS}_{part}[5m])" for part in ("sum", "count"))
    return Dashboard(
        "rollout-controller",
        "Rollout controller",
        (
            DashboardPanel(
                "Percent", ((f"max by (feature) ({ROLLOUT_FEATURE_PERCENT})", "{{feature}}"),), "percent"
            ),
            DashboardPanel(
                "Paused", ((f"max by (feature) ({ROLLOUT_FEATURE_PAUSED})", "{{feature}}"),), "none"
            ),
            DashboardPanel(
                "Decisions",
                (
                    (
                        f"sum by (feature, kind, reason) (increase({ROLLOUT_DECISIONS_TOTAL}[5m]))",
                        "{{feature}} {{kind}} {{reason}}",
                    ),
                ),
            ),
            DashboardPanel("Held", ((f"max by (feature) ({ROLLOUT_HELD_SECONDS})", "{{feature}}"),), "s"),
            DashboardPanel(
                "Ticks", ((f"sum by (outcome) (rate({ROLLOUT_TICKS_TOTAL}[5m]))", "{{outcome}}"),), "ops"
            ),
            DashboardPanel("Length of a tick", ((f"sum({seconds}) / sum({ticks})", "mean"),), "s"),
            DashboardPanel(
                "Since the last good tick",
                ((f"time() - max({ROLLOUT_LAST_TICK_TIMESTAMP_SECONDS})", "seconds"),),
                "s",
            ),
            DashboardPanel(
                "Dependencies that answer",
                ((f"min by (neighbour) ({ROLLOUT_NEIGHBOUR_UP})", "{{neighbour}}"),),
                "none",
            ),
            DashboardPanel("Leaders", ((f"sum({ROLLOUT_LEADER})", "leaders"),), "none"),
            DashboardPanel("Senders", ((f'up{{job="{SENDER_JOB}"}}', "{{instance}}"),), "none"),
            DashboardPanel(
                "Flags and journal disagree",
                ((f"max by (feature) ({ROLLOUT_JOURNAL_DISAGREEMENT})", "{{feature}}"),),
                "none",
            ),
        ),
        _marks(""),
    )


def _marks(label: str) -> tuple[tuple[str, str, str], ...]:
    chosen = label.strip("{}")
    changes = f"{ROLLOUT_DECISIONS_TOTAL}{{" + ",".join(filter(None, ('kind!="hold"', chosen))) + "}"
    # increase() does not see the first decision of its kind and reason: that creates the counter.
    made = f"increase({changes}[1m]) > 0 or ({changes} unless {changes} offset 1m)"
    return (
        (
            "Decisions",
            f"sum by (feature, kind, reason) ({made})",
            "{{feature}}: {{kind}}, {{reason}}",
        ),
    )


def dashboard_json(dashboard: Dashboard) -> str:
    """Write a dashboard as Grafana imports it; the data source is asked for in Grafana."""
    document = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["rollout"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}
            ]
        },
        "annotations": {"list": [_mark(*mark) for mark in dashboard.marks]},
        "panels": [_panel(number, panel) for number, panel in enumerate(dashboard.panels)],
    }
    return json.dumps(document, indent=2) + "\n"


def _panel(number: int, panel: DashboardPanel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": {
            "x": number % COLUMNS * WIDTH,
            "y": number // COLUMNS * HEIGHT,
            "w": WIDTH,
            "h": HEIGHT,
        },
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "custom": {"thresholdsStyle": {"mode": "off" if panel.limit is None else "line"}},
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
            for i, (expr, legend) in enumerate(panel.queries)
        ],
    }


def _mark(name: str, expr: str, text: str) -> dict[str, Any]:
    return {
        "name": name,
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": "blue",
        "expr": expr,
        "titleFormat": text,
        "step": "60s",
    }
