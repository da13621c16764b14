"""Server-sent events: every decision as it is written, and every change of health, to bounded queues.

The records are read from Redis and not taken from the tick: so a standby tells the same as the leader, what
a person does elsewhere is seen here as well, and no open stream can hold a tick up.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from controller.config.addresses import site_of
from controller.journal.stream import Entry, Streams, is_entry_id, place
from controller.shared.openapi import TEXT, Operation, Parameter, ResponseSpec
from controller.store.flag_store import StoreError
from controller.web.context import ServerContext
from controller.web.problems import ProblemError
from controller.web.readiness import Readiness

MOST_STREAMS = 1000
MOST_STREAMS_OF_AN_ADDRESS = 250
QUEUE = 256
"""A reader that is so many ticks behind is cut off; it comes back with Last-Event-ID and misses nothing."""
HEARTBEAT_S = 15.0
RETRY_MS = 2000
REPLAYED = 1000
"""As many events of a feature are sent again after a gap; a longer one is sent as `gap`."""
_HEALTH_EVERY_S = 1.0
_GATHERED_S = 0.03
"""A tick writes all of its decisions within this time: so they go out together, and after the tick."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it is sent; `place` is where it lies in the streams, None where it does not."""

    data: bytes
    feature: str = ""
    place: tuple[int, int] | None = None


@dataclass(eq=False)
class Subscriber:
    """One open stream's queue."""

    site: str = ""
    """The address that reads it, as limits count addresses."""
    queue: asyncio.Queue[tuple[Event, ...]] = field(default_factory=lambda: asyncio.Queue(QUEUE))
    lost: bool = False

    def give(self, *events: Event) -> None:
        """Return what came at once, so that it is sent at once; nothing at all ends the stream."""
        if self.queue.full():
            self.lost = True
            self.queue.get_nowait()
            events = ()
        self.queue.put_nowait(events)


class Hub:
    """Reads the decisions once and gives each to every open stream."""

    def __init__(self, context: ServerContext, streams: Streams, readiness: Readiness) -> None:
        self._context = context
        self._streams = streams
        self._readiness = readiness
        self._subscribers: set[Subscriber] = set()
        self._after: dict[str, str] = {}
        self._health: dict[str, Any] = {}
        self._health_at = 0.0
        self._log = structlog.get_logger("events")

    async def run(self) -> None:
        """Follow the streams until the server stops; a lost Redis is waited for, and nothing is skipped."""
        lost = False
        while not self._context.stopping():
            try:
                await self._tell_health()
                await self._follow()
            except StoreError as error:
                if not lost:
                    self._log.warning("events_wait_for_redis", error=str(error))
                lost = True
                await asyncio.sleep(0.5)
            except Exception:  # noqa: BLE001 - one mistake must not end the reader of all streams
                self._log.error("events_failed", exc_info=True)
                await asyncio.sleep(0.5)
            else:
                lost = False
        self.close()

    def close(self) -> None:
        """End every open stream."""
        for subscriber in self._subscribers:
            subscriber.give()

    async def _follow(self) -> None:
        names = list(self._context.features)
        new = [name for name in names if name not in self._after]
        self._after = {name: self._after[name] for name in names if name in self._after}
        if new:
            self._after |= await self._streams.newest_ids(new)
        entries = await self._streams.wait(self._after)
        if entries:
            await asyncio.sleep(_GATHERED_S)
            entries = await self._streams.wait(self._after, block_ms=None)
        self._after |= {entry.feature: entry.id for entry in entries}
        if entries:
            self._give(*_events(entries))

    async def _tell_health(self) -> None:
        if time.monotonic() - self._health_at < _HEALTH_EVERY_S:
            return
        self._health_at = time.monotonic()
        health = await self._readiness.now()
        if health != self._health:
            self._health = health
            self._give(Event(_frame("health", json.dumps(health))))

    def _give(self, *events: Event) -> None:
        for subscriber in self._subscribers:
            subscriber.give(*events)

    async def events(self, request: Request) -> Response:
        """Open a stream: what was missed since Last-Event-ID first, then everything as it comes."""
        if len(self._subscribers) >= MOST_STREAMS:
            raise ProblemError(503, f"{MOST_STREAMS} streams are open already; come back later")
        site = site_of(request.client.host if request.client else "")
        if sum(one.site == site for one in self._subscribers) >= MOST_STREAMS_OF_AN_ADDRESS:
            raise ProblemError(429, f"this address has {MOST_STREAMS_OF_AN_ADDRESS} streams open; close some")
        feature = request.query_params.get("feature", "")
        if feature:
            self._context.feature(feature)
        from_id = request.headers.get("last-event-id", request.query_params.get("last_event_id", ""))
        if from_id and not is_entry_id(from_id):
            raise ProblemError(400, "Last-Event-ID must be the id of an event: 1700000000000-0")
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        names = [feature] if feature else list(self._context.features)
        return StreamingResponse(self._stream(names, from_id, site), 200, headers, "text/event-stream")

    async def _stream(self, names: list[str], from_id: str, site: str) -> AsyncIterator[bytes]:
        subscriber = Subscriber(site)
        self._subscribers.add(subscriber)
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            yield _frame("health", json.dumps(await self._readiness.now()))
            told, wanted = (0, 0), {"", *names}
            if from_id:
                missed = await self._missed(names, from_id)
                told = max((event.place for event in missed if event.place), default=told)
                for event in missed:
                    yield event.data
            async for events in _live(subscriber):
                new = (one for one in events if one.place is None or one.place > told)
                data = b"".join(one.data for one in new if one.feature in wanted)
                if data:
                    yield data
        finally:
            self._subscribers.discard(subscriber)

    async def _missed(self, names: Iterable[str], from_id: str) -> list[Event]:
        """Return the events since an id. Its own millisecond's come again: other features' may be new."""
        start = f"{place(from_id)[0]}-0"
        try:
            entries = await self._streams.since(list(names), start, REPLAYED)
        except StoreError:
            return [Event(_frame("gap", json.dumps({"since": from_id})))]
        events = _events(entry for entry in entries if entry.id != from_id)
        if len(entries) >= REPLAYED:
            events.insert(0, Event(_frame("gap", json.dumps({"since": from_id}))))
        return events

    @property
    def operations(self) -> list[Operation]:
        """Return what is served here, each with its description."""
        parameters = [
            Parameter("feature", "Only this feature's events.", TEXT),
            Parameter("Last-Event-ID", "Tell first what came after this event.", TEXT, "header"),
        ]
        answers = {
            200: ResponseSpec(
                "a stream of `decision` (a record, with the event's id), `health` (as /readyz) "
                "and `gap` (too much was missed: read the decisions)",
                TEXT,
                "text/event-stream",
            )
        }
        problems = {400: "a Last-Event-ID that is none", 404: "no such feature", 503: "too many streams"}
        return [
            Operation(
                "GET",
                "/api/v1/events",
                self.events,
                "Everything as it happens, as server-sent events.",
                "features",
                answers,
                parameters=parameters,
                problems=problems,
            )
        ]


async def _live(subscriber: Subscriber) -> AsyncIterator[tuple[Event, ...]]:
    while True:
        try:
            events = await asyncio.wait_for(subscriber.queue.get(), HEARTBEAT_S)
        except TimeoutError:
            events = (Event(b": alive\n\n"),)
        if not events:
            return
        yield events


def _events(entries: Iterable[Entry]) -> list[Event]:
    """Make events of the entries that hold a record."""
    return [
        Event(_frame("decision", " ".join(entry.text.splitlines()), entry.id), entry.feature, entry.place)
        for entry in entries
        if entry.record
    ]


def _frame(name: str, data: str, event_id: str = "") -> bytes:
    """Write one event as the HTML standard has it; `data` holds no line break."""
    first = f"id: {event_id}\n" if event_id else ""
    return f"{first}event: {name}\ndata: {data}\n\n".encode()
