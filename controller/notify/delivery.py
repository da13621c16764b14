"""Sends notices: off the tick's path, again until they arrive, and each from one process at a time.

Every receiver is a consumer group on the streams of decisions. What was read and not acknowledged stays
with Redis: it is sent after a restart, or by another process when this one is gone. A receiver may so get
one notice twice, with the same Idempotency-Key, and never none.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx
import redis
import redis.asyncio as aioredis
import structlog

from controller.config.receivers import Receiver
from controller.contract import EPOCH_KEY, decisions_key, notice_key
from controller.features import RolloutFeature
from controller.journal.stream import Entry, Streams, entries_of, of_streams
from controller.notify.messages import Notice, mail, message, notices_of
from controller.notify.together import (
    LOOKED_AT,
    WRITTEN_WITHIN_S,
    as_marked,
    looked_from,
    of_one_tick,
    tick_of,
    told_mark,
)
from controller.shared.redis_pool import is_wrong_type, key_prefix
from controller.store.flag_store import StoreError

PATIENCE_S = 10.0
"""For one attempt."""
GIVEN_UP_AFTER_S = 3600.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_ABANDONED_MS = 90_000
"""An entry that nobody touched for so long belongs to a process that is gone."""
_LOOK_FOR_ABANDONED_S = 30.0
_TOLD_KEPT_S = 30 * 86_400
_BLOCK_MS = 500
_FINAL = {400, 401, 403, 404, 410, 413, 422}
"""Answers that would be the same next time."""

Mailer = Callable[[str, Sequence[str], str, str, str], Awaitable[None]]
"""Sends an email: user id, addresses, subject, text, idempotency key."""


class DeliveryError(Exception):
    """A receiver did not take a notice; `final` says that it never will."""

    def __init__(self, why: str, *, final: bool = False) -> None:
        super().__init__(why)
        self.final = final


class Notifier:
    """Tells one receiver."""

    def __init__(
        self,
        receiver: Receiver,
        client: "aioredis.Redis",
        features: Callable[[], Mapping[str, RolloutFeature]],
        mailer: Mailer | None = None,
    ) -> None:
        self._receiver = receiver
        self._redis = client
        self._prefix = key_prefix(client)
        self._features = features
        self._mailer = mailer
        self._group = f"notify:{receiver.name}"
        self._me = uuid.uuid4().hex
        self._known: set[str] = set()
        self._looked_at = 0.0
        self._streams = Streams(client)
        self._http = httpx.AsyncClient(timeout=PATIENCE_S, follow_redirects=False)
        self._log = structlog.get_logger("notify").bind(receiver=receiver.name)

    async def run(self) -> None:
        """Tell of decisions until cancelled; a lost Redis is waited for."""
        lost = False
        try:
            while True:
                try:
                    for entry in await self._entries():
                        await self._tell(entry)
                    lost = False
                except (redis.RedisError, StoreError, OSError) as error:
                    if not lost:
                        self._log.warning("notices_wait_for_redis", error=str(error))
                    lost = True
                    self._known.clear()
                    await asyncio.sleep(1.0)
        finally:
            await self._http.aclose()

    async def _entries(self) -> list[Entry]:
        """Return what is new, or what a process that is gone left behind."""
        names = self._names()
        for name in names:
            if name not in self._known:
                await self._join(name)
        left = await self._abandoned(names)
        if left or not names:
            await asyncio.sleep(0 if left else 1.0)
            return left
        homes = {self._key(name): name for name in names if name in self._known}
        answer = await of_streams(self._redis, homes, self._new)
        return [entry for key, chunk in answer or [] for entry in entries_of(homes[key], chunk)]

    def _names(self) -> list[str]:
        """Return the features that this receiver hears of."""
        features = self._features()
        return [name for name in features if name in (self._receiver.features or features)]

    async def _new(self, keys: Sequence[str]) -> Any:
        if not keys:
            await asyncio.sleep(_BLOCK_MS / 1000)
            return []
        asked: dict[Any, Any] = dict.fromkeys(keys, ">")
        return await self._redis.xreadgroup(self._group, self._me, asked, count=50, block=_BLOCK_MS)

    async def _join(self, name: str) -> None:
        """Begin with what is decided from now on; a group that exists goes on where it was.

        A feature whose key is no stream has nothing to tell of, until it is one.
        """
        try:
            await self._redis.xgroup_create(self._key(name), self._group, id="$", mkstream=True)
            epoch: Any = (await self._redis.mget([self._prefix + EPOCH_KEY]))[0]
            told = self._prefix + notice_key(self._receiver.name, f"leader-{epoch}")
            await self._redis.set(told, "before", nx=True)
        except redis.ResponseError as error:
            if is_wrong_type(error):
                return
            if "BUSYGROUP" not in str(error):
                raise
        self._known.add(name)

    async def _abandoned(self, names: Sequence[str]) -> list[Entry]:
        if time.monotonic() - self._looked_at < _LOOK_FOR_ABANDONED_S:
            return []
        self._looked_at = time.monotonic()
        found: list[Entry] = []
        for name in filter(self._known.__contains__, names):
            try:
                answer: Any = await self._redis.xautoclaim(
                    self._key(name), self._group, self._me, _ABANDONED_MS, count=50
                )
            except redis.ResponseError as error:
                if not is_wrong_type(error):
                    raise
                self._known.discard(name)
                continue
            found += entries_of(name, answer[1])
        return found

    async def _tell(self, entry: Entry) -> None:
        feature = self._features().get(entry.feature)
        longest_hold_s = feature.longest_hold_s if feature else float("inf")
        record = entry.record
        for notice in notices_of(record, longest_hold_s) if record else ():
            whole = await self._to_tell(notice, entry) if notice.event in self._receiver.on else None
            if whole is not None:
                await self._deliver(whole, entry)
        await self._redis.xack(self._key(entry.feature), self._group, entry.id)

    async def _to_tell(self, notice: Notice, entry: Entry) -> Notice | None:
        """Return what this entry tells; None where another one does, as a hold stands in many records."""
        if notice.id != entry.record["id"]:
            return notice if await self._mark(notice.id, entry.record["id"]) == entry.record["id"] else None
        tick, others = tick_of(entry.record), [one for one in self._names() if one != entry.feature]
        if not (tick and others):
            return notice
        mark = await self._marked(tick)
        if mark and as_marked(notice, mark) is None:
            return None
        await asyncio.sleep(WRITTEN_WITHIN_S)
        found = await self._streams.since(others, looked_from(entry.id), LOOKED_AT)
        whole = of_one_tick(notice, [one.record for one in found], self._receiver.on)
        return as_marked(whole, await self._mark(tick, told_mark(whole)))

    async def _mark(self, what: str, mark: str) -> str:
        """Return the mark of the first entry that tells of this: the given one, where there is none yet."""
        key = self._prefix + notice_key(self._receiver.name, what)
        await self._redis.set(key, mark, nx=True, ex=_TOLD_KEPT_S)
        told = await self._marked(what)
        if not told:  # a key of another type
            await self._redis.set(key, mark, ex=_TOLD_KEPT_S)
        return told or mark

    async def _marked(self, what: str) -> str:
        """Return the mark of the first entry that tells of this; empty where there is none."""
        [told] = await self._redis.mget([self._prefix + notice_key(self._receiver.name, what)])
        return str(told or "")

    async def _deliver(self, notice: Notice, entry: Entry) -> None:
        """Send it again and again, with growing pauses, until it is taken or given up."""
        began, pause_s = time.monotonic(), _FIRST_PAUSE_S
        while True:
            await self._redis.xclaim(
                self._key(entry.feature), self._group, self._me, 0, [entry.id], justid=True
            )
            try:
                await self.send(notice)
            except DeliveryError as error:
                over = error.final or time.monotonic() - began > GIVEN_UP_AFTER_S
                self._log.warning(
                    "notice_given_up" if over else "notice_failed", id=notice.id, error=str(error)
                )
                if over:
                    return
            else:
                self._log.info("notice_sent", id=notice.id, event_told=notice.event)
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def send(self, notice: Notice) -> None:
        """Send one notice once; raises DeliveryError."""
        if self._receiver.kind == "email":
            await self._mail(notice)
        else:
            await post(self._http, self._receiver, notice)

    def _key(self, feature: str) -> str:
        return self._prefix + decisions_key(feature)

    async def _mail(self, notice: Notice) -> None:
        if self._mailer is None:
            raise DeliveryError("email needs the adapter: run without --no-adapter", final=True)
        receiver, (subject, text) = self._receiver, mail(notice, self._receiver)
        key = f"notice-{receiver.name}-{notice.id}"
        try:
            await self._mailer(receiver.user_id, receiver.to, subject, text, key)
        except Exception as error:
            raise DeliveryError(f"{type(error).__name__}: {error}") from error


async def post(http: httpx.AsyncClient, receiver: Receiver, notice: Notice) -> None:
    """Send a notice over HTTP once; raises DeliveryError."""
    written = message(notice, receiver, time.time())
    try:
        async with asyncio.timeout(PATIENCE_S):
            answer = await http.post(receiver.url, content=written.body, headers=dict(written.headers))
    except (httpx.HTTPError, TimeoutError) as error:
        raise DeliveryError(type(error).__name__) from error
    if not answer.is_success:
        raise DeliveryError(f"HTTP {answer.status_code}", final=answer.status_code in _FINAL)


async def send_once(receiver: Receiver, notice: Notice) -> None:
    """Send one notice without keeping anything of it; raises DeliveryError."""
    if receiver.kind == "email":
        raise DeliveryError("an email is tried with `rollout send`, or shown with --print")
    async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
        await post(http, receiver, notice)
