"""The course of a ramp for the chart: percentage, sends and failures over time, kept small in memory."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.decision.model import LIVE
from controller.journal.stream import Entry, Streams

MOST_POINTS = 1200
"""Twice as many as a chart is wide; then adjacent points are merged."""
_CHUNK = 500
_LATEST = 1e12
"""Unix seconds; as the id of an entry, Redis still takes it."""
_NEVER_WRITTEN = {"conflict", "failed"}


@dataclass(slots=True)
class Point:
    """What was counted in one stretch, at one percentage; `at` is its end in unix seconds."""

    at: float
    percent: float
    paused: bool
    sends: float = 0.0
    errors: float = 0.0
    timed: float = 0.0
    slow: float = 0.0

    def stands_as(self, other: "Point") -> bool:
        """Whether percentage and pause are the same as another's."""
        return (self.percent, self.paused) == (other.percent, other.paused)

    def take(self, other: "Point") -> None:
        """Add the next point to this one."""
        self.at = other.at
        self.sends += other.sends
        self.errors += other.errors
        self.timed += other.timed
        self.slow += other.slow


@dataclass(slots=True)
class Stay:
    """The time at one percentage."""

    percent: float
    start: float
    end: float
    sends: float = 0.0
    errors: float = 0.0
    slow: float = 0.0


@dataclass(slots=True)
class Course:
    """The points of one ramp, oldest first, and its stays, one for each step."""

    started_at: float
    points: list[Point] = field(default_factory=list)
    stays: list[Stay] = field(default_factory=list)
    newest: str = ""

    def add(self, record: Mapping[str, Any]) -> None:
        """Take in one record; what was counted in it was counted at the percentage before it."""
        if record["applied"] in _NEVER_WRITTEN:
            return
        self._stay(record)
        self.points.append(_point(record))
        if len(self.points) > MOST_POINTS:
            self._merge()

    def _stay(self, record: Mapping[str, Any]) -> None:
        point, before = _point(record), record["from"]["rollout_percent"]
        if not self.stays or self.stays[-1].percent != before:
            self.stays.append(Stay(before, point.at, point.at))
        stay = self.stays[-1]
        stay.end = point.at
        stay.sends, stay.errors, stay.slow = (
            stay.sends + point.sends,
            stay.errors + point.errors,
            stay.slow + point.slow,
        )
        if point.percent != before:
            self.stays.append(Stay(point.percent, point.at, point.at))

    def _merge(self) -> None:
        """Halve the points; only adjacent points that are alike are merged, so steps stay where they are."""
        merged: list[Point] = []
        pending: Point | None = None
        for point in self.points:
            if pending is not None and pending.stands_as(point):
                pending.take(point)
                merged.append(pending)
                pending = None
                continue
            if pending is not None:
                merged.append(pending)
            pending = point
        self.points = merged if pending is None else [*merged, pending]


def _point(record: Mapping[str, Any]) -> Point:
    point = Point(record["at"], record["to"]["rollout_percent"], record["to"]["paused"])
    evidence = record["evidence"] if record["kind"] != "external_change" else None
    live = evidence is not None and evidence.get("source") == LIVE  # the windows hold that, too
    for window in evidence["windows"] if evidence and not live else ():
        point.sends += window["sends"]
        point.errors += window["errors"]
        point.timed += window["timed"]
        point.slow += window["slow"]
    return point


class Courses:
    """One course for each feature, read once and then kept up to date."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._courses: dict[str, Course] = {}
        self._lock = asyncio.Lock()

    async def of(self, feature: str, started_at: float) -> Course:
        """Return the course of the ramp that began then; raises StoreError."""
        async with self._lock:
            course = self._courses.get(feature)
            if course is None or course.started_at != started_at:
                course = Course(started_at, newest=f"{int(min(max(started_at, 0.0), _LATEST) * 1000)}-0")
            while entries := await self._streams.after(feature, course.newest, _CHUNK):
                await asyncio.to_thread(_take, course, entries)
                course.newest = entries[-1].id
            self._courses[feature] = course
        return course


def _take(course: Course, entries: Iterable[Entry]) -> None:
    for entry in entries:
        if record := entry.record:
            course.add(record)
