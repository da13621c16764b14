"""What every reader of a record relies on: its fields, their types and bounds. Somebody else may write it."""

from typing import Annotated, Any, NotRequired, TypedDict, TypeGuard

from msgspec import Meta, ValidationError, convert

_Figure = Annotated[float, Meta(ge=-1e36, le=1e36)]
"""A count, or the logarithm that counts add up to: sums and products of a few stay finite."""
_Count = Annotated[int, Meta(ge=0, le=10**15)]
_Instant = Annotated[float, Meta(ge=0, lt=253_402_300_800)]
"""Unix seconds before the year 10000, the last that a calendar here knows."""


class _Flags(TypedDict):
    enabled: bool
    internal_only: bool
    rollout_percent: Annotated[float, Meta(ge=0, le=100)]
    paused: bool


class _Window(TypedDict):
    sends: _Figure
    errors: _Figure
    timed: _Figure
    slow: _Figure


class _Evidence(TypedDict):
    windows: list[_Window]
    sample_age_s: NotRequired[_Figure | None]
    input_age_s: NotRequired[_Figure | None]


class _Finding(TypedDict):
    slo: str
    verdict: str
    n: _Figure
    k: _Figure


class _StateBefore(TypedDict):
    held_since: NotRequired[_Instant]


class _FlagsRead(TypedDict):
    revision: NotRequired[_Count]


_Record = TypedDict(
    "_Record",
    {
        "id": str,
        "at": _Instant,
        "feature": str,
        "kind": str,
        "reason": str,
        "detail": NotRequired[str],
        "note": NotRequired[str],
        "from": _Flags,
        "to": _Flags,
        "findings": list[_Finding],
        "evidence": _Evidence | None,
        "state_before": _StateBefore,
        "flags_read": NotRequired[_FlagsRead | None],
        "actor": str,
        "dry_run": bool,
        "applied": str,
        "epoch": _Count,
        "revision": _Count,
        "config_hash": str,
    },
)


def is_record(found: object) -> TypeGuard[dict[str, Any]]:
    """Whether a value is a record, and not what somebody else may put in its place.

    Kinds and reasons may be of a later version; more fields than these may be there.
    """
    try:
        convert(found, _Record)
    except ValidationError:
        return False
    return True
