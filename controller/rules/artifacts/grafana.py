"""Dashboards as Grafana imports them: panels in their places, units, states and what a reader may choose."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
LINES, NUMBER, STATES = "timeseries", "stat", "state-timeline"
"""Grafana's names of the forms of a panel."""
_SIZES = {LINES: (12, 8), NUMBER: (4, 4), STATES: (12, 8)}
_FULL_WIDTH = 24


@dataclass(frozen=True, slots=True)
class DashboardPanel:
    """One panel: its title, what it asks, in which unit, and at which value its line turns red."""

    title: str
    queries: tuple[tuple[str, str], ...]
    """(expression, legend)."""
    unit: str = "short"
    limit: float | None = None
    about: str = ""
    form: str = LINES
    low: float | None = 0.0
    high: float | None = None
    """The ends of the axis; None leaves one to Grafana."""
    states: tuple[tuple[str, str], ...] = ()
    """(word, colour) of the values 0, 1, 2 ..., where the value is a state."""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard; `marks` are the queries whose hits are drawn as annotations."""

    uid: str
    title: str
    panels: tuple[DashboardPanel, ...]
    marks: tuple[tuple[str, str, str], ...]
    """(name, expression, text)."""
    chosen_by: str = ""
    """The expression whose features a reader may choose from, as `$feature`."""

    def queries(self) -> Iterable[str]:
        """Yield every expression of the dashboard."""
        yield from (expr for panel in self.panels for expr, _ in panel.queries)
        yield from (expr for _, expr, _ in self.marks)


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
                {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"},
                *([_choice(dashboard.chosen_by)] if dashboard.chosen_by else []),
            ]
        },
        "annotations": {"list": [_mark(*mark) for mark in dashboard.marks]},
        "panels": [
            _panel(number, panel, place)
            for number, (panel, place) in enumerate(_placed(dashboard.panels), start=1)
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def _choice(expr: str) -> dict[str, Any]:
    """Return the variable `$feature`: any number of features, all of them at first."""
    return {
        "name": "feature",
        "type": "query",
        "label": "Feature",
        "datasource": _SOURCE,
        "query": {"query": expr, "refId": "feature"},
        "definition": expr,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _placed(panels: Iterable[DashboardPanel]) -> Iterator[tuple[DashboardPanel, dict[str, int]]]:
    """Yield each panel with its place: from left to right, in rows as high as their first panel."""
    x = y = row = 0
    for panel in panels:
        width, height = _SIZES[panel.form]
        if x + width > _FULL_WIDTH or (x and height != row):
            x, y = 0, y + row
        row = height
        yield panel, {"x": x, "y": y, "w": width, "h": height}
        x += width


def _panel(number: int, panel: DashboardPanel, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    return {
        "id": number,
        "type": panel.form,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": panel.low,
                "max": panel.high,
                "mappings": _mappings(panel.states),
                "custom": _custom(panel),
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
            for i, (expr, legend) in enumerate(panel.queries)
        ],
    }


def _custom(panel: DashboardPanel) -> dict[str, Any]:
    if panel.form != LINES:
        return {}
    return {"thresholdsStyle": {"mode": "off" if panel.limit is None else "line"}}


def _mappings(states: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return the words and colours of states, which are shown in the place of their numbers."""
    options = {
        str(value): {"text": word, "color": colour, "index": value}
        for value, (word, colour) in enumerate(states)
    }
    return [{"type": "value", "options": options}] if options else []


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
