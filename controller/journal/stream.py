"""The decisions kept in Redis, read without waiting in a thread: the newest, a page of them, and what comes.

Entry ids are Redis's own (`1700000000000-0`): all streams lie in one Redis, so they rise over all features.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import redis
import redis.asyncio as aioredis

from controller.contract import LEASE_KEY, decisions_key
from controller.shared.redis_pool import key_prefix
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
    """Reads the streams of decisions; every method raises StoreError when Redis does not answer."""

    def __init__(self, client: "aioredis.Redis") -> None:
        self._redis = client
        self._prefix = key_prefix(client)

    async def last(self, features: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return each feature's newest record, in one round trip; empty where there is none."""
        with _store_errors():
            pipe = self._redis.pipeline(transaction=False)
            for name in features:
                pipe.xrevrange(self._key(name), count=1)
            answers = await pipe.execute() if features else []
        return {
            name: next((entry.record for entry in entries_of(name, answer)), {})
            for name, answer in zip(features, answers, strict=True)
        }

    async def page(self, feature: str, *, before: str = "+", limit: int, changes: bool = False) -> Page:
        """Return at most `limit` entries older than the id `before`; `changes` leaves out the holds."""
        if before != "+" and place(before) == (0, 0):
            return Page(())  # Redis refuses to look before the first possible id
        found: list[Entry] = []
        top, scanned = before if before == "+" else f"({before}", 0
        count = max(limit + 1, _CHUNK) if changes else limit + 1
        while len(found) <= limit and scanned < _LONGEST_SCAN:
            with _store_errors():
                chunk = await self._redis.xrevrange(self._key(feature), max=top, count=count)
            entries = entries_of(feature, chunk)
            scanned += len(entries)
            left_out = {None, "hold"} if changes else {None}
            found += [one for one in entries if one.record.get("kind") not in left_out]
            if len(entries) < count:
                break
            top = f"({entries[-1].id}"
        return Page(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else "")

    async def since(self, features: Sequence[str], entry_id: str, count: int) -> list[Entry]:
        """Return the entries from `entry_id` on, itself included, at most `count` of each feature."""
        with _store_errors():
            pipe = self._redis.pipeline(transaction=False)
            for name in features:
                pipe.xrange(self._key(name), min=entry_id, count=count)
            answers = await pipe.execute() if features else []
        chunks = zip(features, answers, strict=True)
        found = [entry for name, chunk in chunks for entry in entries_of(name, chunk)]
        return sorted(found, key=lambda entry: entry.place)

    async def after(self, feature: str, entry_id: str, count: int) -> list[Entry]:
        """Return at most `count` entries behind `entry_id`, oldest first."""
        with _store_errors():
            chunk = await self._redis.xrange(self._key(feature), min=f"({entry_id}", count=count)
        return entries_of(feature, chunk)

    async def newest_ids(self, features: Sequence[str]) -> dict[str, str]:
        """Return the id of each feature's newest entry, `0-0` where there is none."""
        with _store_errors():
            pipe = self._redis.pipeline(transaction=False)
            for name in features:
                pipe.xrevrange(self._key(name), count=1)
            answers = await pipe.execute() if features else []
        return {
            name: answer[0][0] if answer else "0-0" for name, answer in zip(features, answers, strict=True)
        }

    async def wait(
        self, after: Mapping[str, str], *, block_ms: int | None = round(BLOCK_S * 1000)
    ) -> list[Entry]:
        """Wait up to half a second for entries newer than these ids, and give them oldest first.

        With `block_ms` None those that are there already.
        """
        keys = {self._key(name): name for name in after}
        with _store_errors():
            answer: Any = await self._redis.xread(
                {key: after[name] for key, name in keys.items()}, block=block_ms, count=_CHUNK
            )
        found = [entry for key, chunk in answer or [] for entry in entries_of(keys[key], chunk)]
        return sorted(found, key=lambda entry: entry.place)

    async def leader(self) -> str | None:
        """Return who holds the lease now, as lease.leader does."""
        with _store_errors():
            return cast("str | None", await self._redis.get(self._prefix + LEASE_KEY))

    async def ping(self) -> None:
        """Raise StoreError unless Redis answers."""
        with _store_errors():
            await self._redis.ping()

    def _key(self, feature: str) -> str:
        return self._prefix + decisions_key(feature)


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
