"""What the page says of a feature: its state in a word, numbers as a person reads them, times as elements."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any

from controller.contract import format_percent
from controller.decision.causes import CONTROLLER, OUTSIDE
from controller.decision.telling.headline import Stage
from controller.decision.telling.sentences import count_text, duration_text, share_text
from controller.shared.plain_text import escape_controls

__all__ = [
    "ago_tag",
    "cause_of",
    "count_text",
    "duration_text",
    "e",
    "ms_text",
    "nobody_is_in",
    "part_tag",
    "percent_in",
    "percent_text",
    "reason_text",
    "share_text",
    "since_of",
    "state_of",
    "time_tag",
    "who_text",
    "why_text",
]

_INSTANT = "%Y-%m-%dT%H:%M:%SZ"


def e(value: object) -> str:
    """Escape for HTML, attributes too; what would turn or hide a line is shown as its escape."""
    return escape(escape_controls(str(value), keep="\n\t"), quote=True)


def part_tag(name: str, part: str, inner: str, *, live: bool = False) -> str:
    """Return a piece of the page that the script replaces when it changes; a live one is read aloud then."""
    spoken = ' role="status"' if live else ""
    return f'<div class="part {part}" id="{e(name)}-{part}" data-part{spoken}>{inner}</div>'


def percent_text(percent: float) -> str:
    """Write a percentage with its sign."""
    return f"{format_percent(percent)} %"


def ms_text(seconds: float | None) -> str:
    """Write a latency; below ten seconds in whole milliseconds."""
    if seconds is None or not math.isfinite(seconds):
        return "no data"
    return f"{seconds * 1000:,.0f} ms" if seconds < 10 else f"{seconds:,.1f} s"


def ago_tag(at: float, now: float) -> str:
    """Return how long ago an instant was; the script keeps it up to date."""
    instant = datetime.fromtimestamp(at, UTC).strftime(_INSTANT)
    return f'<time datetime="{instant}" data-show="ago">{duration_text(max(now - at, 0.0))}</time>'


def time_tag(at: float, *, date: bool = False) -> str:
    """Return an instant as an element, in UTC; the script writes it in the reader's zone."""
    moment = datetime.fromtimestamp(at, UTC)
    shown = moment.strftime("%Y-%m-%d %H:%M:%S UTC" if date else "%H:%M:%S UTC")
    full = "full" if date else "clock"
    return f'<time datetime="{moment.strftime(_INSTANT)}" data-show="{full}">{shown}</time>'


_STATES = {
    Stage.UNWATCHED: ("unwatched", "stop"),
    Stage.UNREADABLE: ("flags unreadable", "warn"),
    Stage.PAUSED: ("paused", "stop"),
    Stage.WAITS_FOR_PERSON: ("waits for you", "warn"),
    Stage.HELD: ("held", "warn"),
    Stage.STOPPED: ("stopped", "warn"),
    Stage.RAMPING: ("ramping", "wait"),
    Stage.COMPLETE: ("complete", "good"),
    Stage.DISABLED: ("disabled", "calm"),
    Stage.NOT_SET_UP: ("not set up", "calm"),
}


def state_of(stand: Mapping[str, Any]) -> tuple[str, str]:
    """Return the state in a word, and its tone: calm, good, wait, warn, stop."""
    return _STATES[Stage(stand["stage"])]


def nobody_is_in(stand: Mapping[str, Any]) -> bool:
    """Whether no send of a user goes ahead."""
    return bool(stand["paused"] or not stand["enabled"] or stand["missing"] or stand["unreadable"])


def percent_in(stand: Mapping[str, Any]) -> str:
    """Write how many are in now; a percentage that waits for a resume lets nobody in."""
    return "0 %" if nobody_is_in(stand) else str(stand["audience"])


def since_of(stand: Mapping[str, Any]) -> float | None:
    """Return since when it is in its state, in unix seconds; None where that is not known."""
    cause = cause_of(stand)
    if cause is not None:
        return float(cause["at"])
    progress = stand["progress"]
    begun = progress["held_since"] if stand["stage"] == Stage.HELD else progress["step_started_at"]
    found = begun or stand["at"]
    return float(found) if found else None


def cause_of(stand: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what stopped it first: the cause of its pause, or of a percentage that was set to 0."""
    by: Mapping[str, Any] | None = stand["paused_by"] if stand["paused"] else stand["stopped_by"]
    return by


def why_text(cause: Mapping[str, Any]) -> str:
    """Write why it was stopped: a person's reason, else what was measured."""
    return str(cause["note"] or cause["detail"])


def who_text(cause: Mapping[str, Any]) -> str:
    """Write who caused something, for people."""
    names = {CONTROLLER: "the controller", OUTSIDE: "somebody outside of this product"}
    return names.get(cause["actor"], str(cause["actor"]))


def reason_text(reason: str) -> str:
    """Write a reason in words."""
    return reason.replace("_", " ").removeprefix("slo ")
