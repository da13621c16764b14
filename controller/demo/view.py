"""What a demo shows while it runs: a live panel on a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Mapping
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from controller.contract import format_percent
from controller.demo.story import StoryProgress

_LINES = 14
_QUIET_S = 5.0


class StoryView:
    """Shows the newest state, and every decision and event once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._lines: list[Text] = []
        self._told = 0
        self._what: tuple[str, str] = ("", "")
        self._quiet_since = 0.0
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the story began."""
        return time.monotonic() - self._started

    def say(self, sentence: str, style: str = "bold") -> None:
        """Show one event."""
        line = Text(f"{self.elapsed_s:6.1f} s  {sentence}", style=style)
        self._lines.append(line)
        self._console.print(line, soft_wrap=True)
        self._quiet_since = time.monotonic()

    def refresh(self, seen: StoryProgress) -> None:
        """Show what is new: each change at once; on a terminal the panel, elsewhere a line now and then."""
        for record in seen.records[self._told :]:
            what = (record["kind"], record["reason"])
            if what != self._what or record["kind"] != "hold":
                self.say(_decision(record), _style(record["kind"]))
            self._what = what
        self._told = len(seen.records)
        if self._live:
            self._live.update(_panel(seen), refresh=True)
        elif seen.records and time.monotonic() - self._quiet_since > _QUIET_S:
            self.say(_numbers(seen), "dim")


def _decision(record: Mapping[str, Any]) -> str:
    percent = format_percent(record["to"]["rollout_percent"])
    told = record["note"] or record["detail"]
    return f"{percent:>5} %  {record['kind']} ({record['reason']}): {told}"


def _style(kind: str) -> str:
    return {"step_up": "green", "pause": "bold red", "hold": "default"}.get(kind, "yellow")


def _numbers(seen: StoryProgress) -> str:
    return f"{format_percent(seen.percent):>5} %  {_traffic(seen)}, {_evidence(seen)}"


def _traffic(seen: StoryProgress) -> str:
    m = seen.measured
    return (
        f"{m.get('rate', 0):.0f} sends/s, error rate {100 * m.get('error_ratio', 0):.1f} %, "
        f"p95 {_ms(m.get('p95_s', math.nan))}, {m.get('failed', 0):.0f} failed so far"
    )


def _ms(seconds: float) -> str:
    return "unknown" if math.isnan(seconds) else f"{1000 * seconds:.0f} ms"


def _evidence(seen: StoryProgress) -> str:
    findings = seen.last.get("findings") or []
    shares = [f"{f['slo']} {_share(f['evidence_for_health'], f['health_needed'])}" for f in findings]
    return "proof of health: " + (", ".join(shares) or "none")


def _share(evidence: float, needed: float) -> str:
    return f"{100 * min(max(evidence / needed, 0), 1):.0f} %"


def _panel(seen: StoryProgress) -> Panel:
    table = Table.grid(padding=(0, 2))
    table.add_row(
        "rollout_percent", ProgressBar(total=100, completed=seen.percent, width=40), f"{seen.percent:g} %"
    )
    for finding in seen.last.get("findings") or []:
        share = min(max(finding["evidence_for_health"] / finding["health_needed"], 0), 1)
        table.add_row(
            f"{finding['slo']}: proof of health",
            ProgressBar(total=1, completed=share, width=40),
            f"{finding['k']:.0f} of {finding['n']:.0f} sends (limit {100 * finding['limit']:g} %)",
        )
    return Panel(
        Group(table, Text(_traffic(seen)), Text(str(seen.last.get("detail", "")))),
        title="microsoft outlook.send",
    )
