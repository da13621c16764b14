"""Gathers a course of decisions into bins and draws it: percentage, rates, evidence, decisions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape

from controller.contract import format_percent
from controller.decision.decide import decide
from controller.decision.feature import RolloutFeature
from controller.decision.model import SLOW_SHARE_LIMIT, Decision, Finding, Kind, Snapshot
from controller.decision.sequential.logarithms import log_mean
from controller.whatif.svg import ChartPanel, Line, Mark, Point, document, figure

BINS = 800
"""A picture is about as many points wide; more ticks than that are gathered into bins."""
_HOUR_S = 3600.0
_EVIDENCE_TOP = 1.25


@dataclass(slots=True)
class _Bin:
    at: float
    percent: float
    sends: float = 0.0
    errors: float = 0.0
    slow: float = 0.0
    breach: float = 0.0
    late: float = 0.0
    health: float = 0.0
    """Evidence as a share of what is needed: the most against, the last for."""


@dataclass(slots=True)
class Timeline:
    """One policy's course over a feature."""

    feature: RolloutFeature
    ticks_a_bin: int = 1
    bins: list[_Bin] = field(default_factory=list)
    told: list[tuple[float, Decision]] = field(default_factory=list)
    _in_bin: int = 0

    def add(self, snapshot: Snapshot, decision: Decision) -> None:
        """Add one tick; what is not a hold is kept whole, with its words."""
        if not self.bins or self._in_bin >= self.ticks_a_bin:
            self.bins.append(_Bin(snapshot.now, decision.flags.rollout_percent))
            self._in_bin = 0
        self._in_bin += 1
        into = self.bins[-1]
        into.percent = decision.flags.rollout_percent
        for window in snapshot.evidence.windows:
            into.sends += window.sends
            into.errors += window.errors
            into.slow += window.slow
        if decision.findings:
            _add_evidence(into, decision.findings)
        if decision.kind is not Kind.HOLD:
            self.told.append((snapshot.now, decide(snapshot)))


def _add_evidence(into: _Bin, findings: Sequence[Finding]) -> None:
    first = findings[0]
    breach = log_mean([finding.evidence_for_breach for finding in findings]) / first.breach_needed
    late = log_mean([finding.late_evidence for finding in findings]) / first.late_needed
    into.breach = max(into.breach, breach)
    into.late = max(into.late, late)
    into.health = min(finding.evidence_for_health / finding.health_needed for finding in findings)


def ticks_a_bin(ticks: int) -> int:
    """Return how many ticks go into one bin."""
    return -(-ticks // BINS)


def page(title: str, timelines: Sequence[tuple[str, Timeline]]) -> str:
    """Draw timelines below each other as one HTML page."""
    body = []
    for name, timeline in timelines:
        body += [f"<h2>Policy {escape(name)}</h2>", *_pictures(timeline), _table(timeline)]
    return document(title, body)


def _pictures(timeline: Timeline) -> list[str]:
    bins = timeline.bins
    if not bins:
        return ["<p>No tick.</p>"]
    start, end = bins[0].at, bins[-1].at
    hours = (end - start) / _HOUR_S
    unit_s, unit = (_HOUR_S, "hours") if hours >= 3 else (60.0, "minutes")
    panels = (
        _percentage(timeline, start, unit_s),
        _rates(timeline, start, unit_s),
        _evidence(timeline, start, unit_s),
    )
    return [figure(panel, 0.0, (end - start) / unit_s, unit) for panel in panels]


def _percentage(timeline: Timeline, start: float, unit_s: float) -> ChartPanel:
    points = [((b.at - start) / unit_s, b.percent) for b in timeline.bins]
    marks = [
        Mark(
            (at - start) / unit_s,
            told.flags.rollout_percent,
            told.kind.value,
            f"{told.reason}: {told.detail}",
        )
        for at, told in timeline.told
    ]
    line = Line("users who are in", points, stairs=True)
    return ChartPanel("Percentage", [line], 100.0, " %", marks)


def _rates(timeline: Timeline, start: float, unit_s: float) -> ChartPanel:
    seen = [b for b in timeline.bins if b.sends > 0]
    errors = [((b.at - start) / unit_s, 100 * b.errors / b.sends) for b in seen]
    slow = [((b.at - start) / unit_s, 100 * b.slow / b.sends) for b in seen]
    limit, slow_limit = 100 * timeline.feature.slo_error_rate_threshold, 100 * SLOW_SHARE_LIMIT
    width = (timeline.bins[-1].at - start) / unit_s
    lines = [
        Line("failed", errors, "two"),
        Line(f"limit {limit:g} %", [(0, limit), (width, limit)], "two", dashed=True),
        Line("too slow", slow, "three"),
        Line(f"limit {slow_limit:g} %", [(0, slow_limit), (width, slow_limit)], "three", dashed=True),
    ]
    return ChartPanel("Rates", lines, _top([*errors, *slow], 1.6 * max(limit, slow_limit)), " %")


def _top(points: Sequence[Point], least: float) -> float:
    """Return a height that shows all but the rarest spikes of small bins."""
    values = sorted(y for _, y in points)
    return max(least, min(100.0, 1.2 * values[int(0.98 * (len(values) - 1))])) if values else least


def _evidence(timeline: Timeline, start: float, unit_s: float) -> ChartPanel:
    def points(name: str) -> list[Point]:
        return [((b.at - start) / unit_s, 100 * max(getattr(b, name), 0.0)) for b in timeline.bins]

    lines = [
        Line("healthy", points("health"), "one"),
        Line("breach", points("breach"), "two"),
        Line("late change", points("late"), "three"),
        Line("enough", [(0, 100.0), ((timeline.bins[-1].at - start) / unit_s, 100.0)], "one", dashed=True),
    ]
    return ChartPanel("Evidence, as a share of what is enough (ln)", lines, 100 * _EVIDENCE_TOP, " %")


def _table(timeline: Timeline) -> str:
    rows = "\n".join(
        f"<tr><td>{clock(at)}</td><td>{format_percent(told.flags.rollout_percent)} %</td>"
        f"<td>{told.kind}</td><td>{told.reason}</td><td>{escape(told.detail)}</td></tr>"
        for at, told in timeline.told
    )
    head = "<tr><th>at (UTC)</th><th>to</th><th>decision</th><th>reason</th><th>in words</th></tr>"
    return f"<table>{head}\n{rows}</table>"


def clock(at: float) -> str:
    """Write an instant as a person reads it; a trace that counts from 0 gives the time since then."""
    if at < 366 * 86_400:
        hours, seconds = divmod(at, 3600)
        return f"{hours:.0f}:{int(seconds // 60):02d}:{seconds % 60:04.1f}".removesuffix(".0")
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
