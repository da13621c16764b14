"""A few sends at once per mailbox, as the provider takes them: in this process, and across processes.

Across processes the places lie in Redis, each with an end, so that a process that dies gives its places back.
Without Redis the places of this process still hold; that is no reason not to send.
"""

import asyncio
import hashlib
import logging
import random
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import redis.asyncio as aioredis

from adapter.errors import MessageRefusedError
from adapter.sending.delivery import Deadline
from adapter.sending.redis_client import REDIS_ERRORS, BatchingConnection
from controller.shared.redis_pool import key_prefix

log = logging.getLogger("rollout.send")

TAKE = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'zset' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
local now = redis.call('TIME')
now = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, now)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3] + 1000)
return 1
"""
"""KEYS: the mailbox. ARGV: owner, places, milliseconds held at most. Harmless when it is sent twice.
What is of another type was never a place."""

LEASE_MARGIN_S = 5.0
LOOK_AGAIN_S = (0.02, 0.06)
"""Between two looks at a full mailbox; spread, so that processes do not look in step."""
WITHOUT_REDIS_S = 2.0
"""After a failure Redis is not asked for so long, or every send would wait for its time-out."""


@dataclass(eq=False)
class _Mailbox:
    """The places of one mailbox in this process, and how many calls hold or want one."""

    places: asyncio.Semaphore
    interested: int = 0


@dataclass(eq=False)
class Mailboxes:
    """The places of all mailboxes of one provider."""

    provider: str
    limit: int
    client: "aioredis.Redis"
    _local: dict[str, _Mailbox] = field(default_factory=dict)
    _ask_again_at: float = 0.0

    def __post_init__(self) -> None:
        self._redis = BatchingConnection(self.client)
        self._prefix = f"{key_prefix(self.client)}rollout:mailbox:{self.provider}"

    async def aclose(self) -> None:
        """Close what is open."""
        await self._redis.aclose()

    @asynccontextmanager
    async def place(self, user_id: str, deadline: Deadline) -> AsyncIterator[None]:
        """Hold one place; raises MessageRefusedError where none is free in time."""
        mailbox = self._local.setdefault(user_id, _Mailbox(asyncio.Semaphore(self.limit)))
        mailbox.interested += 1
        try:
            await self._enter(mailbox, deadline)
            try:
                async with self._shared(user_id, deadline):
                    yield
            finally:
                mailbox.places.release()
        finally:
            mailbox.interested -= 1
            if not mailbox.interested:
                del self._local[user_id]

    async def _enter(self, mailbox: _Mailbox, deadline: Deadline) -> None:
        try:
            async with asyncio.timeout(deadline.left_s()):
                await mailbox.places.acquire()
        except TimeoutError:
            raise self._busy() from None

    @asynccontextmanager
    async def _shared(self, user_id: str, deadline: Deadline) -> AsyncIterator[None]:
        key = f"{self._prefix}:{hashlib.sha256(user_id.encode()).hexdigest()[:32]}"
        owner = uuid.uuid4().hex
        taken = True  # until Redis says otherwise: a caller may give up before its answer is here
        try:
            taken = await self._wait_for_shared(key, owner, deadline)
            if deadline.is_near():
                raise self._busy()
            yield
        finally:
            if taken:
                await self._give_back(key, owner)

    async def _wait_for_shared(self, key: str, owner: str, deadline: Deadline) -> bool:
        """Take a place in Redis; says whether there is one to give back, surely or perhaps."""
        held_ms = int((deadline.left_s() + LEASE_MARGIN_S) * 1000)
        while time.monotonic() >= self._ask_again_at:
            try:
                async with asyncio.timeout(deadline.left_s()):
                    if await self._redis.execute("EVAL", TAKE, 1, key, owner, self.limit, held_ms):
                        return True
            except REDIS_ERRORS as error:
                self._leave_redis_alone(error)
                return True
            if not await deadline.sleep(random.uniform(*LOOK_AGAIN_S)):  # noqa: S311 (spreads, no secret)
                raise self._busy()
        return False

    async def _give_back(self, key: str, owner: str) -> None:
        try:
            await self._redis.execute("ZREM", key, owner)
        except REDIS_ERRORS as error:
            self._leave_redis_alone(error)

    def _leave_redis_alone(self, error: Exception) -> None:
        self._ask_again_at = time.monotonic() + WITHOUT_REDIS_S
        log.warning(
            "Redis did not answer (%s), so the places of mailboxes are counted in this process alone",
            type(error).__name__,
        )

    def _busy(self) -> MessageRefusedError:
        return MessageRefusedError(
            "MAILBOX_BUSY",
            f"no place within the deadline; at most {self.limit} sends at once for one mailbox",
            "user_id",
        )
