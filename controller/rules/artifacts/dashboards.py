"""Grafana dashboards as plain JSON, from a table of panels: one per feature, and one for the controller."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from controller.contract import (
    EVIDENCE_DOUBT,
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
)
from controller.decision.model import SLOW_SHARE_LIMIT, RolloutFeature
from controller.rules.names import Names
from controller.rules.recording import SIGN_IN_METRICS
from controller.rules.scope import DEFAULT_SCOPE, Scope, matcher

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_NO_HOLD = 'kind!="hold"'
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


def dashboards(features: Sequence[RolloutFeature], scope: Scope = DEFAULT_SCOPE) -> dict[str, Dashboard]:
    """Return every dashboard by its file's name."""
    own = {f"{feature.name}.json": feature_dashboard(feature, scope) for feature in features}
    return own | {"rollout.json": controller_dashboard(scope)}


def feature_dashboard(feature: RolloutFeature, scope: Scope) -> Dashboard:
    """Return the dashboard of one feature."""
    names = Names.of(feature, scope)
    return Dashboard(
        f"rollout-{feature.name}"[:40],
        f"Rollout of {feature.name}: {names.title}",
        (
            *_ramp(feature, names),
            *_slos(feature, names),
            *_evidence(feature, names),
            *_causes(names),
        ),
        _marks(scope, matcher("feature", feature.name)),
    )


def _ramp(feature: RolloutFeature, names: Names) -> tuple[DashboardPanel, ...]:
    label = names.scope.recorded(matcher("feature", feature.name))
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
            ((names.recorded("gate_outcomes_rate"), "{{outcome}} {{reason}}"),),
            "reqps",
        ),
    )


def _slos(feature: RolloutFeature, names: Names) -> tuple[DashboardPanel, ...]:
    return (
        DashboardPanel("Sends", ((names.recorded("exec_rate_by_status"), "{{status}}"),), "reqps"),
        DashboardPanel(
            "Error ratio",
            (
                (names.recorded("error_ratio"), "exact"),
                (names.recorded("errors_rate"), "the plan's, floored"),
            ),
            "percentunit",
            feature.slo_error_rate_threshold,
        ),
        DashboardPanel(
            "Latency",
            (
                (names.recorded("latency_p50"), "p50"),
                (names.recorded("latency_p95"), "p95"),
                (names.recorded("latency_p99"), "p99"),
            ),
            "s",
            feature.latency_limit_s,
        ),
        DashboardPanel(
            f"Sends slower than {feature.slo_latency_p95_ms:g} ms",
            ((names.recorded("slow_ratio"), "share"),),
            "percentunit",
            SLOW_SHARE_LIMIT,
        ),
        DashboardPanel("p95 by result", ((names.recorded("latency_p95_by_result"), "{{status}}"),), "s"),
        DashboardPanel(
            "Error budget burn",
            tuple(
                (names.recorded("error_budget_burn", window), window) for window in ("5m", "30m", "1h", "6h")
            ),
            "none",
            1.0,
        ),
    )


def _evidence(feature: RolloutFeature, names: Names) -> tuple[DashboardPanel, ...]:
    pair, own = names.scope.recorded(*names.pair), names.scope.recorded(matcher("feature", feature.name))
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
            ((f"{EVIDENCE_GATE_REVISION}{own}", "revision"),),
            "none",
        ),
        DashboardPanel(
            "Doubts: why a window proves no health",
            ((f"sum by (why) ({EVIDENCE_DOUBT}{names.scope.recorded()} * 0 + 1)", "{{why}}"),),
            "none",
        ),
    )


def _causes(names: Names) -> tuple[DashboardPanel, ...]:
    refreshes = (
        (
            DashboardPanel(
                "Token refreshes that failed",
                (
                    (names.recorded("token_refresh_error_ratio", "15m"), "share"),
                    (names.recorded("token_refresh_failures", "15m"), "number over 15m"),
                ),
            ),
        )
        if names.provider in SIGN_IN_METRICS
        else ()
    )
    return (
        DashboardPanel(
            "Errors by code", ((f"topk(5, {names.recorded('error_rate_by_code')})", "{{code}}"),), "reqps"
        ),
        DashboardPanel(
            "Errors by source", ((names.recorded("error_rate_by_source"), "{{source}}"),), "reqps"
        ),
        DashboardPanel(
            "Throttled, signed out, unknown",
            (
                (names.recorded("throttled_rate"), "throttled"),
                (names.recorded("auth_error_rate"), "signed out"),
                (names.recorded("unknown_rate"), "nobody knows"),
            ),
            "reqps",
        ),
        *refreshes,
    )


def controller_dashboard(scope: Scope) -> Dashboard:
    own = scope.recorded()
    seconds, ticks = (f"rate({ROLLOUT_TICK_DURATION_SECONDS}_{part}{own}[5m])" for part in ("sum", "count"))
    return Dashboard(
        "rollout-controller",
        "Rollout controller",
        (
            DashboardPanel(
                "Percent", ((f"max by (feature) ({ROLLOUT_FEATURE_PERCENT}{own})", "{{feature}}"),), "percent"
            ),
            DashboardPanel(
                "Paused", ((f"max by (feature) ({ROLLOUT_FEATURE_PAUSED}{own})", "{{feature}}"),), "none"
            ),
            DashboardPanel(
                "Decisions",
                (
                    (
                        f"sum by (feature, kind, reason) (increase({ROLLOUT_DECISIONS_TOTAL}{own}[5m]))",
                        "{{feature}} {{kind}} {{reason}}",
                    ),
                ),
            ),
            DashboardPanel(
                "Held", ((f"max by (feature) ({ROLLOUT_HELD_SECONDS}{own})", "{{feature}}"),), "s"
            ),
            DashboardPanel(
                "Ticks", ((f"sum by (outcome) (rate({ROLLOUT_TICKS_TOTAL}{own}[5m]))", "{{outcome}}"),), "ops"
            ),
            DashboardPanel("Length of a tick", ((f"sum({seconds}) / sum({ticks})", "mean"),), "s"),
            DashboardPanel(
                "Since the last good tick",
                ((f"time() - max({ROLLOUT_LAST_TICK_TIMESTAMP_SECONDS}{own})", "seconds"),),
                "s",
            ),
            DashboardPanel(
                "Dependencies that answer",
                ((f"min by (neighbour) ({ROLLOUT_NEIGHBOUR_UP}{own})", "{{neighbour}}"),),
                "none",
            ),
            DashboardPanel("Leaders", ((f"sum({ROLLOUT_LEADER}{own})", "leaders"),), "none"),
            DashboardPanel("Senders", ((f"up{scope.senders()}", "{{instance}}"),), "none"),
            DashboardPanel(
                "Flags and journal disagree",
                ((f"max by (feature) ({ROLLOUT_JOURNAL_DISAGREEMENT}{own})", "{{feature}}"),),
                "none",
            ),
        ),
        _marks(scope),
    )


def _marks(scope: Scope, *matchers: str) -> tuple[tuple[str, str, str], ...]:
    changes = f"{ROLLOUT_DECISIONS_TOTAL}{scope.recorded(_NO_HOLD, *matchers)}"
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
