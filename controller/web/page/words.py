"""What the page says of a feature: its state in a word, numbers as a person reads them, times as elements."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any

from controller.contract import format_percent
from controller.decision.words import count_text, duration_text, share_text
from controller.shared.plain_text import escape_controls

__all__ = [
    "count_text",
    "duration_text",
    "e",
    "headline",
    "ms_text",
    "part_tag",
    "percent_text",
    "share_text",
    "state_of",
    "time_tag",
]

_WAITS_FOR_PERSON = {"awaiting_approval", "flags_unreadable"}


def e(value: object) -> str:
    """Escape for HTML, attributes too; what would turn or hide a line is shown as its escape."""
    return escape(escape_controls(str(value), keep="\n\t"), quote=True)


def part_tag(name: str, part: str, inner: str, *, live: bool = False) -> str:
    """Return a piece of the page that the script replaces when it changes; a live one is read aloud then."""
    spoken = ' role="status"' if live else ""
    return f'<div class="part {part}" id="{e(name)}-{part}" data-part{spoken}>{inner}</div>'


def percent_text(percent: float) -> str:
    return f"{format_percent(percent)} %"


def ms_text(seconds: float | None) -> str:
    """Write a latency; below ten seconds in whole milliseconds."""
    if seconds is None or not math.isfinite(seconds):
        return "no data"
    return f"{seconds * 1000:,.0f} ms" if seconds < 10 else f"{seconds:,.1f} s"


def time_tag(at: float, *, date: bool = False) -> str:
    """Return an instant as an element, in UTC; the script writes it in the reader's zone."""
    moment = datetime.fromtimestamp(at, UTC)
    shown = moment.strftime("%Y-%m-%d %H:%M:%S UTC" if date else "%H:%M:%S UTC")
    full = "full" if date else "clock"
    return f'<time datetime="{moment.strftime("%Y-%m-%dT%H:%M:%SZ")}" data-show="{full}">{shown}</time>'


def state_of(stand: Mapping[str, Any]) -> tuple[str, str]:
    """Return the state in a word, and its tone: calm, good, wait, warn, stop."""
    reason = str(stand["reason"])
    closed = bool(stand["missing"] or stand["unreadable"])
    states = [
        (closed and not stand["at"], ("not set up", "calm")),
        (closed, ("flags unreadable", "warn")),
        (not stand["enabled"], ("off", "calm")),
        (stand["paused"], ("paused", "stop")),
        (reason in _WAITS_FOR_PERSON, ("waits for you", "warn")),
        (reason.startswith("metrics_") or reason == "alert_firing", ("held", "warn")),
        (reason == "complete" or stand["next_percent"] is None, ("complete", "good")),
        (stand["kind"] == "step_up", ("stepping up", "good")),
    ]
    return next((state for holds, state in states if holds), ("holding", "wait"))


def headline(stand: Mapping[str, Any]) -> str:
    """Say where it stands, as in `Holding at 5 %`."""
    word, _ = state_of(stand)
    at = percent_text(stand["rollout_percent"])
    whole = {
        "off": "Off: nobody is in",
        "not set up": "Not set up yet",
        "complete": f"Complete: {at} of the users are in",
        "stepping up": f"Stepped up to {at}",
        "waits for you": f"Waits for a person at {at}",
        "flags unreadable": "A flag cannot be read, so the gate is closed",
    }
    return whole.get(word, f"{word.capitalize()} at {at}")
