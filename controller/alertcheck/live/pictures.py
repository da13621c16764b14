"""Pictures of a live validation, drawn from what the backend recorded: traffic, errors, latency, alerts."""

import math
import re
from collections.abc import Sequence

import httpx

from controller.decision.feature import RolloutFeature
from controller.rules.names import Names
from controller.whatif.svg import STYLE, ChartPanel, Line, Point, figure

STEP_S = 0.5
_ABOVE = 26
"""Room for the title above a drawing."""


def pictures(
    client: httpx.Client, url: str, feature: RolloutFeature, start: float, end: float
) -> dict[str, str]:
    """Return standalone SVG files by name, for one feature; times are unix seconds."""
    names = Names.of(feature)

    def line(label: str, query: str, colour: str, *, dashed: bool = False, stairs: bool = False) -> Line:
        return Line(label, _points(client, url, query, start, end), colour, stairs, dashed)

    p95, limit_s = names.series("latency_p95"), feature.latency_limit_s
    panels = {
        "exec-rate": _panel(
            f"{names.title}: sends per second", [line("sends/s", names.series("exec_rate"), "one")]
        ),
        "error-ratio": _panel(
            f"{names.title}: share of failed sends",
            [
                line("exact", names.series("error_ratio"), "one"),
                line("limit", f"vector({feature.slo_error_rate_threshold:g})", "two", dashed=True),
            ],
        ),
        "latency-p95": _panel(
            f"{names.title}: p95 of the latency, seconds",
            [line("p95", p95, "one"), line("limit", f"vector({limit_s:g})", "two", dashed=True)],
        ),
        "alert-states": _panel(
            f"{names.title}: alerts that are pending or firing",
            [
                line(state, _alerts(names, state), colour, stairs=True)
                for state, colour in zip(("pending", "firing"), ("two", "three"), strict=True)
            ],
        ),
    }
    return {f"{name}.svg": standalone(figure(panel, 0, end - start, "s")) for name, panel in panels.items()}


def _alerts(names: Names, state: str) -> str:
    return f'count(ALERTS{{action="{names.action}",alertstate="{state}"}}) or vector(0)'


def _panel(title: str, lines: Sequence[Line]) -> ChartPanel:
    top = max((y for line in lines for _, y in line.points), default=1.0)
    return ChartPanel(title, lines, top * 1.1 or 1.0)


def _points(client: httpx.Client, url: str, query: str, start: float, end: float) -> list[Point]:
    params = {"query": query, "start": str(start), "end": str(end), "step": str(STEP_S)}
    answer = client.get(f"{url}/api/v1/query_range", params=params).raise_for_status().json()
    found = answer["data"]["result"]
    values = [(float(at) - start, float(value)) for at, value in found[0]["values"]] if found else []
    return [(x, y) for x, y in values if math.isfinite(y)]


def standalone(html: str) -> str:
    """Cut the drawing out of its page; give it the page's style, and title and legend above it as text."""
    drawing = re.search(r'<svg viewBox="0 0 (\d+) (\d+)"(.*</svg>)', html, re.DOTALL)
    title = re.search("<b>(.*?)</b>", html)
    if drawing is None or title is None:
        raise ValueError("there is no drawing in it")
    width, height, rest = int(drawing[1]), int(drawing[2]) + _ABOVE, drawing[3]
    legend = "".join(
        f'<tspan style="fill: var(--{colour})" dx="14">{label}</tspan>'
        for colour, label in re.findall(r'class="key-(\w+)">(\S+ [^<]*)<', html)
    )
    text = f'<text x="12" y="{16 - _ABOVE}"><tspan font-weight="bold">{title[1]}</tspan>{legend}</text>'
    style = f"<style>{STYLE} svg {{ background: var(--paper); font-family: system-ui, sans-serif; }}</style>"
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 {-_ABOVE} {width} {height}"'
    return opening + rest.replace(">", f">\n{style}\n{text}\n", 1) + "\n"
