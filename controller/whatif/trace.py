"""Reads a trace, JSON lines of counts since the line before: {"t": 0, "sends": 9, "errors": 1, "slow": 0}."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from statistics import median_low
from typing import Any

from controller.whatif.playback import Tick

_DECODE = json.JSONDecoder().decode
_NUMBERS = (int, float)
_SHAPE = 'each line is an object such as {"t": 0, "sends": 9, "errors": 1, "slow": 0}'
_LOOKED_AT = 1000
_MOST_EXTRAPOLATED = 1.1
"""An increase in Prometheus is extrapolated, so that a few more errors than sends may be seen."""


class TraceError(ValueError):
    """A line that cannot be used, with its number and what is wrong with it."""


def read_trace(lines: Iterable[str]) -> Iterator[Tick]:
    """Yield the ticks of a trace, in rising time. Blank lines are passed over; raises TraceError."""
    before = -math.inf
    for number, line in enumerate(lines, start=1):
        if line.isspace() or not line:
            continue
        try:
            tick = _tick(_decoded(line.strip()))
        except (ValueError, TypeError) as error:
            raise TraceError(f"line {number}: {error}") from error
        if tick.at <= before:
            raise TraceError(f"line {number}: t = {tick.at:g} does not come after {before:g}")
        before = tick.at
        yield tick


def spacing_s(ticks: Sequence[Tick]) -> float | None:
    """Return how far two lines of a trace are apart, as most of its first lines are; None for one line."""
    first = ticks[:_LOOKED_AT]
    return median_low([after.at - before.at for before, after in pairwise(first)]) if first[1:] else None


def _decoded(line: str) -> Any:
    try:
        return _DECODE(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({error}); {_SHAPE}") from error


def _tick(entry: Any) -> Tick:
    if not isinstance(entry, dict):
        raise TypeError(f"not an object; {_SHAPE}")
    missing = entry.get("missing", False)
    if not isinstance(missing, bool):
        raise TypeError('"missing" must be true or false')
    at = _number(entry, "t")
    if missing:
        return Tick(at, missing=True)
    sends, errors, slow = _count(entry, "sends"), _count(entry, "errors"), _count(entry, "slow")
    if max(errors, slow) > _MOST_EXTRAPOLATED * sends + 1:
        raise ValueError(f"{errors:g} errors and {slow:g} slow sends cannot be among {sends:g} sends")
    return Tick(
        at,
        sends,
        errors,
        slow,
        failed_mailboxes=_mailboxes(entry, errors),
        very_slow=_very_slow(entry, sends),
        reference=_reference(entry),
    )


def _very_slow(entry: dict[str, Any], sends: float) -> float | None:
    """Read the sends slower than four times the limit, where the line tells them."""
    if entry.get("very_slow") is None:
        return None
    very_slow = _count(entry, "very_slow")
    if very_slow > _MOST_EXTRAPOLATED * sends + 1:
        raise ValueError(f"{very_slow:g} very slow sends cannot be among {sends:g} sends")
    return very_slow


def _reference(entry: dict[str, Any]) -> tuple[float, float] | None:
    """Read what the reference sent in the same time, where the line tells it."""
    if entry.get("reference_sends") is None:
        return None
    sends, errors = _count(entry, "reference_sends"), _count(entry, "reference_errors")
    if errors > _MOST_EXTRAPOLATED * sends + 1:
        raise ValueError(f"{errors:g} errors of the reference cannot be among {sends:g} sends")
    return sends, errors


def _mailboxes(entry: dict[str, Any], errors: float) -> float | None:
    """Read the distinct mailboxes of the failed sends: none or as many as failed, or nobody told."""
    if entry.get("failed_mailboxes") is None:
        return None
    mailboxes = _count(entry, "failed_mailboxes")
    if mailboxes > _MOST_EXTRAPOLATED * errors + 1:
        raise ValueError(f"{errors:g} failed sends cannot be of {mailboxes:g} mailboxes")
    return mailboxes


def _count(entry: dict[str, Any], name: str) -> float:
    value = _number(entry, name)
    if value < 0:
        raise ValueError(f'"{name}" = {value:g} must not be negative')
    return value


def _number(entry: dict[str, Any], name: str) -> float:
    value: Any = entry.get(name)
    if type(value) not in _NUMBERS:
        raise TypeError(f'"{name}" must be a number, not {json.dumps(value)}')
    if not math.isfinite(value):
        raise ValueError(f'"{name}" must be a finite number')
    return float(value)
