"""The decisions kept in Redis, read without waiting in a thread: the newest, a page of them, and what comes.

Entry ids are Redis's own (`1700000000000-0`): all streams lie in one Redis, so they rise over all features.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import redis
import redis.asyncio as aioredis

from controller.contract import LEASE_KEY, decisions_key
from controller.shared.redis_pool import is_wrong_type, key_prefix
from controller.store.flag_store import StoreError
from controller.store.record_json import read_record

_ENTRY_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}\Z")
_LARGEST = 2**64 - 1
BLOCK_S = 0.5
"""The longest wait for new entries before looking again."""
_CHUNK = 200
_LONGEST_SCAN = 20_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One record as the stream holds it."""

    id: str
    feature: str
    text: str
    """The record as JSON, or what somebody else put in its place."""

    @property
    def place(self) -> tuple[int, int]:
        """What the entry is ordered by among all streams."""
        return place(self.id)

    @property
    def record(self) -> dict[str, Any]:
        """The record; empty for what is none."""
        return read_record(self.text) or {}


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, newest first, and where the next page begins; empty at the end."""

    entries: tuple[Entry, ...]
    next: str = ""


def is_entry_id(text: str) -> bool:
    """Whether Redis takes this for an id: two numbers of 64 bits."""
    return bool(_ENTRY_ID.match(text)) and max(place(text)) <= _LARGEST


def place(entry_id: str) -> tuple[int, int]:
    """Read an entry's id as what it is ordered by."""
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence or 0)


class Streams:
    """Reads the streams of decisions; every method raises StoreError when Redis does not answer.

    A feature whose key holds another type has no records here, and keeps no other's from being read.
    """

    def __init__(self, client: "aioredis.Redis") -> None:
        self._redis = client
        self._prefix = key_prefix(client)

    async def last(self, features: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return each feature's newest record, in one round trip; empty where there is none."""
        newest = await self._each(features, "XREVRANGE", "+", "-", "COUNT", 1)
        return {
            name: next((entry.record for entry in entries_of(name, chunk)), {})
            for name, chunk in newest.items()
        }

    async def page(self, feature: str, *, before: str = "+", limit: int, changes: bool = False) -> Page:
        """Return at most `limit` entries older than the id `before`; `changes` leaves out the holds."""
        if before != "+" and place(before) == (0, 0):
            return Page(())  # Redis refuses to look before the first possible id
        found: list[Entry] = []
        top, scanned = before if before == "+" else f"({before}", 0
        count = max(limit + 1, _CHUNK) if changes else limit + 1
        while len(found) <= limit and scanned < _LONGEST_SCAN:
            chunk = await self._each([feature], "XREVRANGE", top, "-", "COUNT", count)
            entries = entries_of(feature, chunk[feature])
            scanned += len(entries)
            left_out = {None, "hold"} if changes else {None}
            found += [one for one in entries if one.record.get("kind") not in left_out]
            if len(entries) < count:
                break
            top = f"({entries[-1].id}"
        return Page(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else "")

    async def since(self, features: Sequence[str], entry_id: str, count: int) -> list[Entry]:
        """Return the entries from `entry_id` on, itself included, at most `count` of each feature."""
        chunks = await self._each(features, "XRANGE", entry_id, "+", "COUNT", count)
        found = [entry for name, chunk in chunks.items() for entry in entries_of(name, chunk)]
        return sorted(found, key=lambda entry: entry.place)

    async def after(self, feature: str, entry_id: str, count: int) -> list[Entry]:
        """Return at most `count` entries behind `entry_id`, oldest first."""
        if place(entry_id) == (_LARGEST, _LARGEST):
            return []  # Redis refuses to look behind the last possible id
        chunk = await self._each([feature], "XRANGE", f"({entry_id}", "+", "COUNT", count)
        return entries_of(feature, chunk[feature])

    async def newest_ids(self, features: Sequence[str]) -> dict[str, str]:
        """Return the id of each feature's newest entry, `0-0` where there is none."""
        newest = await self._each(features, "XREVRANGE", "+", "-", "COUNT", 1)
        return {name: chunk[0][0] if chunk else "0-0" for name, chunk in newest.items()}

    async def wait(
        self, after: Mapping[str, str], *, block_ms: int | None = round(BLOCK_S * 1000)
    ) -> list[Entry]:
        """Wait up to half a second for entries newer than these ids, and give them oldest first.

        With `block_ms` None those that are there already.
        """
        keys = {self._key(name): name for name in after}
        asked = {key: after[name] for key, name in keys.items()}
        with _store_errors():
            answer: Any = await of_streams(
                self._redis, keys, lambda there: self._read_on(asked, there, block_ms)
            )
        found = [entry for key, chunk in answer or [] for entry in entries_of(keys[key], chunk)]
        return sorted(found, key=lambda entry: entry.place)

    async def leader(self) -> str | None:
        """Return who holds the lease now, as lease.leader does."""
        with _store_errors():
            return cast("list[str | None]", await self._redis.mget([self._prefix + LEASE_KEY]))[0]

    async def ping(self) -> None:
        """Raise StoreError unless Redis answers."""
        with _store_errors():
            await self._redis.ping()

    def _key(self, feature: str) -> str:
        return self._prefix + decisions_key(feature)

    async def _each(self, features: Sequence[str], command: str, *asked: str | int) -> dict[str, Any]:
        """Ask the same of each feature's stream in one round trip; none where its key is no stream."""
        if not features:
            return {}
        with _store_errors():
            pipe = self._redis.pipeline(transaction=False)
            for name in features:
                pipe.execute_command(command, self._key(name), *asked)
            answers = await pipe.execute(raise_on_error=False)
            for answer in answers:
                if isinstance(answer, Exception) and not is_wrong_type(answer):
                    raise answer
        return {
            name: [] if isinstance(answer, Exception) else answer
            for name, answer in zip(features, answers, strict=True)
        }

    async def _read_on(self, after: Mapping[str, str], there: Sequence[str], block_ms: int | None) -> Any:
        """Wait for entries of these streams; without any of them wait as long for nothing."""
        if not there:
            await asyncio.sleep((block_ms or 0) / 1000)
            return []
        asked: dict[Any, Any] = {key: after[key] for key in there}
        return await self._redis.xread(asked, block=block_ms, count=_CHUNK)


async def of_streams(
    client: "aioredis.Redis", keys: Iterable[str], ask: Callable[[Sequence[str]], Awaitable[Any]]
) -> Any:
    """Ask these keys together; where Redis refuses because one is no stream, ask the others.

    One command on many keys fails as a whole for a single key of another type.
    """
    named = list(keys)
    try:
        return await ask(named)
    except redis.ResponseError as error:
        if not is_wrong_type(error):
            raise
    pipe = client.pipeline(transaction=False)
    for key in named:
        pipe.type(key)
    types = await pipe.execute()
    return await ask([key for key, kind in zip(named, types, strict=True) if kind in {"stream", "none"}])


def entries_of(feature: str, chunk: Any) -> list[Entry]:
    """Return what Redis answered as entries, those that hold no record too: whoever reads on is past them."""
    return [Entry(entry_id, feature, (fields or {}).get("record", "")) for entry_id, fields in chunk]


@contextmanager
def _store_errors() -> Iterator[None]:
    """Foreign exceptions become StoreError at this border."""
    try:
        yield
    except (redis.RedisError, OSError, TimeoutError) as error:
        raise StoreError.of(error) from error
