"""The decision timeline: newest first, holds at one step on one line, each with its whole record."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controller.web.page.words import e, percent_text, reason_text, time_tag

LINES = 25
_TONES = {"step_up": "good", "pause": "stop", "step_back": "stop", "external_change": "warn", "hold": "calm"}


@dataclass(slots=True)
class TimelineLine:
    """One line: a decision, or holds at one percentage, newest first."""

    records: list[Mapping[str, Any]]

    @property
    def newest(self) -> Mapping[str, Any]:
        """The newest record of the line."""
        return self.records[0]

    def goes_on_with(self, record: Mapping[str, Any]) -> bool:
        """Whether an older record says the same."""
        says = [(one["kind"], one["to"]["rollout_percent"]) for one in (self.newest, record)]
        return says[0][0] == "hold" and says[0] == says[1]

    @property
    def key(self) -> str:
        """Name the line so that it stays the same line while its hold goes on."""
        return str(self.records[-1]["id"])

    @property
    def earlier_reasons(self) -> list[str]:
        """Return what it held for before, each reason once, newest first."""
        reasons = dict.fromkeys(str(record["reason"]) for record in self.records)
        return [reason for reason in reasons if reason != self.newest["reason"]]


def runs_of(records: Iterable[Mapping[str, Any]]) -> list[TimelineLine]:
    """Put holds at one percentage that follow each other on one line; everything else stands alone."""
    runs: list[TimelineLine] = []
    for record in records:
        if runs and runs[-1].goes_on_with(record):
            runs[-1].records.append(record)
        else:
            runs.append(TimelineLine([record]))
    return runs


def timeline(name: str, records: Iterable[Mapping[str, Any]]) -> str:
    """Return the newest decisions of a feature as HTML."""
    lines = "".join(_line(name, run) for run in runs_of(records)[:LINES])
    return lines or '<li class="none">No decision yet.</li>'


def _line(name: str, run: TimelineLine) -> str:
    record = run.newest
    kind, reason = record["kind"], record["reason"]
    address = f"/api/v1/features/{e(name)}/decisions/{e(record['id'])}"
    what = (
        kind.replace("_", " ") if reason == "manual" else f"{kind.replace('_', ' ')}: {reason_text(reason)}"
    )
    return (
        f'<li data-id="{e(run.key)}"><details data-record="{address}">'
        f'<summary><span class="when">{time_tag(record["at"])}</span>'
        f'<span class="badge {_TONES.get(kind, "hand")}">{e(what)}</span>'
        f'<span class="at">{e(percent_text(record["to"]["rollout_percent"]))}</span>'
        f'<span class="told">{e(record["note"] or record["detail"])}{_aside(run)}</span></summary>'
        f'<pre class="record" tabindex="0"><a href="{address}">the whole record</a></pre></details></li>'
    )


def _aside(run: TimelineLine) -> str:
    """Say who did it, or for how many ticks it holds and what it held for before."""
    if run.newest["actor"] != "controller":
        return f' <span class="aside">by {e(run.newest["actor"])}</span>'
    if len(run.records) < 2:
        return ""
    before = ", ".join(reason_text(reason) for reason in run.earlier_reasons)
    also = f"; before: {before}" if before else ""
    return f' <span class="aside">{len(run.records)} ticks{e(also)}</span>'
