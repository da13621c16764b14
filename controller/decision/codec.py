"""Frozen values to plain dicts, tuples and numbers, and back, so that JSON holds them bit for bit."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from msgspec import convert, to_builtins

from controller.decision.freeze import DatedFreeze, Freeze, WeeklyFreeze

T = TypeVar("T")
_LARGEST = 1.7976931348623157e308


def encode(value: Any) -> Any:
    """Return a value as JSON knows it, tuples for lists. Numbers must be finite, as those of evidence are."""
    return to_builtins(value)


def decode(kind: type[T], value: Mapping[str, Any]) -> T:
    """Return the frozen value again. A field that is not there takes its default: an older record stays good.

    Raises ValueError where the value cannot be one of this kind; its numbers must be finite.
    """
    if not _is_finite(value):
        raise ValueError("a number is too large to reckon with")
    return convert(value, kind, dec_hook=_freeze)


def _is_finite(value: Any) -> bool:
    if isinstance(value, float | int):
        return -_LARGEST <= value <= _LARGEST
    if isinstance(value, Mapping):
        return all(map(_is_finite, value.values()))
    return all(map(_is_finite, value)) if isinstance(value, list | tuple) else True


def _freeze(_: type, value: Any) -> Freeze:
    """Decode a freeze as the kind that has its fields; msgspec tells no two dataclasses apart."""
    given = set(value) if isinstance(value, Mapping) else set()
    kind = DatedFreeze if "start" in given else WeeklyFreeze
    if unknown := given - {field.name for field in fields(kind)}:
        raise ValueError(f"fields {sorted(unknown)} belong to no known kind of freeze")
    return convert(value, kind)
