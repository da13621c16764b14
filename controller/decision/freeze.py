"""Freezes: windows of time in which no step up is taken. Whether one is open is worked out elsewhere."""

from dataclasses import dataclass


class Freeze:
    """A window in which no step up is taken: a WeeklyFreeze or a DatedFreeze."""

    __slots__ = ()
    name: str


@dataclass(frozen=True, slots=True)
class WeeklyFreeze(Freeze):
    """No step up on these weekdays (0 is Monday) from `start_s` to `end_s` seconds after local midnight."""

    weekdays: tuple[int, ...]
    start_s: int
    end_s: int
    time_zone: str = "UTC"
    name: str = "weekly"


@dataclass(frozen=True, slots=True)
class DatedFreeze(Freeze):
    """No step up from `start` to `end`, unix seconds."""

    start: float
    end: float
    name: str = "dated"
