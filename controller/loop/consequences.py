"""What a person's act would change, in one sentence, before anybody is asked whether to do it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from controller.contract import format_percent
from controller.decision.model import Kind
from controller.decision.telling.sentences import audience_text, duration_text


def consequence(kind: Kind, stand: Mapping[str, Any], now: float, percent: float | None = None) -> str:
    """Say from what to what, what paused it and what is skipped. `stand` is as `feature_status` has it."""
    sentences = (_change(kind, stand, percent), _skipped(kind, stand, percent), _stop(kind, stand, now))
    return " ".join(sentence for sentence in sentences if sentence)


def _change(kind: Kind, stand: Mapping[str, Any], percent: float | None) -> str:
    name, at = stand["feature"], stand["rollout_percent"]
    here = audience_text(at, internal_only=stand["internal_only"])
    present = "nobody" if stand["paused"] or not stand["enabled"] else here
    if kind is Kind.RESUME:
        return f"{name}: from {present} to {here}." if at else f"{name}: the ramp begins again from 0 %."
    if kind is Kind.SET:
        to = audience_text(percent or 0.0, internal_only=stand["internal_only"])
        stays = " It stays paused." if stand["paused"] else ""
        return f"{name}: from {here} to {to}.{stays}"
    changes = {
        Kind.OPEN: f"from {here} to {audience_text(at, internal_only=False)} of all mail",
        Kind.CLOSE: f"from {here} to {audience_text(at, internal_only=True)}",
        Kind.ENABLE: f"from nobody to {here}" if not stand["paused"] else "enabled, and still paused",
        Kind.DISABLE: f"from {present} to nobody",
        Kind.APPROVE: f"the step from {here} to {format_percent(stand['next_percent'] or at)} % is approved",
        Kind.PAUSE: f"from {present} to nobody",
    }
    return f"{name}: {changes[kind]}."


def _skipped(kind: Kind, stand: Mapping[str, Any], percent: float | None) -> str:
    """Name the steps that a percentage jumps over: nothing was proven at them."""
    if kind is not Kind.SET:
        return ""
    steps = [step for step in stand["steps"] if stand["rollout_percent"] < step < (percent or 0.0)]
    return f"Skips {', '.join(format_percent(step) for step in steps)} %, without proof." if steps else ""


def _stop(kind: Kind, stand: Mapping[str, Any], now: float) -> str:
    if kind not in {Kind.RESUME, Kind.SET, Kind.ENABLE}:
        return ""
    told = [
        f"{what} by {since_text(stand[key], now)}."
        for what, key in (("Paused", "paused_by"), ("Set to 0 %", "stopped_by"))
        if stand[key]
    ]
    unknown = ["Nothing recorded what paused it."] if stand["paused"] and not stand["paused_by"] else []
    return " ".join([*told, *unknown])


def instant_text(at: float) -> str:
    """Write an instant (unix seconds) in UTC, as in `2026-11-29 17:32:10 UTC`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def since_text(cause: Mapping[str, Any], now: float) -> str:
    """Write who stopped it, how long ago and why; `cause` is as the API gives it."""
    why = str(cause["note"] or cause["detail"]).rstrip(".")
    ago = duration_text(max(now - cause["at"], 0.0))
    return f"{cause['actor']} ({cause['reason']}) {ago} ago: {why}"
