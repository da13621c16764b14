"""Frozen values to plain dicts, tuples and numbers, and back, so that JSON holds them bit for bit."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from enum import Enum
from math import isfinite
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from msgspec import to_builtins

T = TypeVar("T")
_UNIONS = (Union, get_origin(int | None))
_HINTS: dict[type, dict[str, Any]] = {}


def encode(value: Any) -> Any:
    """Return a value as JSON knows it, tuples for lists. Numbers must be finite, as those of evidence are."""
    return to_builtins(value)


def decode(kind: type[T], value: Mapping[str, Any]) -> T:
    """Return the frozen value again. A field that is not there takes its default: an older record stays good.

    Raises TypeError or ValueError where the value cannot be one of this kind; its numbers must be finite.
    """
    return cast(T, _read(kind, value))


def _read(hint: Any, value: Any) -> Any:
    if get_origin(hint) in _UNIONS:
        return _read_union(get_args(hint), value)
    if get_origin(hint) is tuple:
        return tuple(_read(get_args(hint)[0], item) for item in value)
    if is_dataclass(hint):
        hints = _hints(cast(type, hint))
        known = {name: _read(hints[name], value[name]) for name in hints if name in value}
        return cast(type, hint)(**known)
    if hint is float or hint is int:
        return _number(hint, value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    return value


def _number(kind: type, value: Any) -> float:
    """Read a number; what is none, or cannot be reckoned with, is refused."""
    try:
        if isfinite(value) and isinstance(value, kind | int):
            return cast(float, kind(value))
    except OverflowError:
        pass
    raise ValueError(f"{value!r:.40} is no number to reckon with")


def _read_union(options: tuple[Any, ...], value: Any) -> Any:
    """Read as the option that has just these fields, or as the one that is not None."""
    if value is None:
        return None
    choices = [option for option in options if option is not type(None)]
    if isinstance(value, Mapping):
        choices = [option for option in choices if set(value) <= set(_hints(option))]
    if not choices:
        raise ValueError(f"fields {sorted(value)} belong to none of the known kinds")
    return _read(choices[0], value)


def _hints(kind: type) -> dict[str, Any]:
    if kind not in _HINTS:
        _HINTS[kind] = get_type_hints(kind)
    return _HINTS[kind]
