"""One controller acts at a time: a lease in Redis, and the epoch that every step up carries."""

import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import redis

from controller.contract import EPOCH_KEY, LEASE_KEY, parse_count
from controller.shared.redis_pool import key_prefix
from controller.store.endless_script import despite_a_script
from controller.store.flag_store import StoreError
from controller.store.redis_store import COUNT

_ACQUIRE = (
    COUNT
    + """
local held = redis.call('MGET', KEYS[1], KEYS[2])
local owner, stored = held[1], held[2] or ''
local epoch = count(stored)
if owner == '' or owner and string.find(owner, '[^ -~]') then owner = nil end
local time = redis.call('TIME')
local now_ms = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
if owner and owner ~= ARGV[1] then return {0, epoch, stored, now_ms} end
if not owner or epoch < tonumber(ARGV[3]) then
  epoch = math.max(epoch, tonumber(ARGV[3])) + 1
  redis.call('SET', KEYS[2], string.format('%d', epoch))
end
if owner then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return {1, epoch, stored, now_ms}
"""
)
"""Keys: lease, epoch. Arguments: owner, length of the lease (ms), the highest epoch this controller knows.
An epoch below that was lost by Redis; it goes on above it, so that no epoch is ever given twice. A key of
another type, or bytes that no controller calls itself, are no lease: they must not stop every rollout."""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


@dataclass(frozen=True, slots=True)
class Leadership:
    """The right to act."""

    epoch: int
    until: float
    """On this process's monotonic clock."""
    granted_ms: int | None = None
    """When it was granted, on Redis's clock, which also says when a write comes too late."""


class Lease(Protocol):
    """What gives the right to step up; pausing never asks for it."""

    def acquire(self) -> Leadership | None:
        """Take or renew the lease; None while another holds it. Raises StoreError."""

    def release(self) -> None:
        """Return the lease back, if it is ours."""


class RedisLease:
    """A lease that ends by itself. Its time counts from before the request, so it never ends late here."""

    def __init__(
        self,
        client: "redis.Redis",
        *,
        lease_s: float,
        monotonic: Callable[[], float],
        known_epoch: int = 0,
    ) -> None:
        import structlog  # noqa: PLC0415 - slow to import, and who only asks for the leader logs nothing

        self._redis = client
        self._key, self._epoch_key = (key_prefix(client) + key for key in (LEASE_KEY, EPOCH_KEY))
        self._lease_s = lease_s
        self._monotonic = monotonic
        self._known_epoch = known_epoch
        self._told: str | None = None
        self._held = False
        self._log = structlog.get_logger("lease")
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        """Says to people who leads, too."""

    def acquire(self) -> Leadership | None:
        """Take or renew the lease; None while another holds it. Raises StoreError."""
        asked_at = self._monotonic()
        arguments = (self.owner, str(int(self._lease_s * 1000)), str(self._known_epoch))
        try:
            answer = despite_a_script(
                self._redis, lambda: self._redis.eval(_ACQUIRE, 2, self._key, self._epoch_key, *arguments)
            )
        except (redis.RedisError, OSError) as error:
            raise StoreError.of(error) from error
        held, epoch, stored, granted_ms = cast("tuple[int, int, str, str]", answer)
        self._tell_loss(stored)
        self._known_epoch = max(epoch, self._known_epoch)
        self._held = bool(held)
        return Leadership(epoch, asked_at + self._lease_s, int(granted_ms)) if held else None

    def release(self) -> None:
        """Release the lease, if it is held."""
        if not self._held:
            return
        try:
            self._redis.eval(_RELEASE, 1, self._key, self.owner)
        except (redis.RedisError, OSError) as error:
            raise StoreError.of(error) from error

    def _tell_loss(self, stored: str) -> None:
        """Say that Redis lost the epoch: it forgot writes, and flags may be lost or old as well."""
        if stored == self._told:
            return
        self._told = stored
        if parse_count(stored) < self._known_epoch:
            self._log.error("epoch_lost", known=self._known_epoch, stored=stored or None)
        elif not stored:
            self._log.warning("epoch_missing", meaning="this Redis is new, or it was emptied")


def leader(client: "redis.Redis") -> str | None:
    """Return who holds the lease now (host:pid:number), None while nobody does. Raises StoreError."""
    try:
        return cast("list[str | None]", client.mget([key_prefix(client) + LEASE_KEY]))[0]
    except (redis.RedisError, OSError) as error:
        raise StoreError.of(error) from error


def ever_led(client: "redis.Redis") -> bool:
    """Whether a controller ever held the lease in this Redis. Raises StoreError."""
    try:
        return bool(client.exists(key_prefix(client) + EPOCH_KEY))
    except (redis.RedisError, OSError) as error:
        raise StoreError.of(error) from error


class NoLease:
    """For a dry run, which writes nothing and so takes no lease."""

    def acquire(self) -> Leadership | None:
        """Return a leadership that never ends."""
        return Leadership(epoch=0, until=float("inf"))

    def release(self) -> None:
        """Nothing was taken."""
