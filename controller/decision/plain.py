"""Frozen values to plain dicts, lists and numbers, and back, so that JSON holds them bit for bit."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from math import isfinite
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
_UNIONS = (Union, get_origin(int | None))
_AS_THEY_ARE = frozenset({str, int, bool, type(None)})
_HINTS: dict[type, dict[str, Any]] = {}
_NAMES: dict[type, tuple[str, ...]] = {}


def to_plain(value: Any) -> Any:
    """Give a value as JSON knows it. A number that is not finite, which JSON lacks, becomes its name."""
    kind = type(value)
    if kind is float:
        return value if isfinite(value) else str(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is tuple or kind is list:
        return [item if type(item) is float and isfinite(item) else to_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return {
        name: part if type(part := getattr(value, name)) in _AS_THEY_ARE else to_plain(part)
        for name in _names(kind)
    }


def from_plain(kind: type[T], value: Mapping[str, Any]) -> T:
    """Give the frozen value again. A field that is not there takes its default: an older record stays good.

    Raises TypeError or ValueError where the value cannot be one of this kind.
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
    if hint is float:
        return float(value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    return value


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


def _names(kind: type) -> tuple[str, ...]:
    """Name the fields of a frozen value; they are looked up once, because a tick asks for thousands."""
    if kind not in _NAMES:
        _NAMES[kind] = tuple(field.name for field in fields(kind))
    return _NAMES[kind]
