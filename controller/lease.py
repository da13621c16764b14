"""One controller acts at a time: a lease in Redis, and the epoch that every step up carries."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import redis

from controller.contract import EPOCH_KEY, LEASE_KEY
from controller.flagstore import StoreError

_ACQUIRE = """
local owner = redis.call('GET', KEYS[1])
if owner == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
elseif not owner then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  redis.call('INCR', KEYS[2])
else
  return {0, 0}
end
return {1, tonumber(redis.call('GET', KEYS[2]) or '0')}
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


@dataclass(frozen=True, slots=True)
class Leadership:
    """The right to act until `until`, on this process's monotonic clock."""

    epoch: int
    until: float


class Lease(Protocol):
    """What gives the right to step up; pausing never asks for it."""

    def acquire(self) -> Leadership | None:
        """Take or renew the lease; None while another holds it. Raises StoreError."""

    def release(self) -> None:
        """Give the lease back, if it is ours."""


class RedisLease:
    """A lease that ends by itself. Its time counts from before the request, so it never ends late here."""

    def __init__(self, client: "redis.Redis", *, lease_s: float, monotonic: Callable[[], float]) -> None:
        self._redis = client
        self._lease_s = lease_s
        self._monotonic = monotonic
        self.owner = uuid.uuid4().hex

    def acquire(self) -> Leadership | None:
        asked_at = self._monotonic()
        lease_ms = str(int(self._lease_s * 1000))
        try:
            answer = self._redis.eval(_ACQUIRE, 2, LEASE_KEY, EPOCH_KEY, self.owner, lease_ms)
        except (redis.RedisError, OSError) as error:
            raise StoreError(f"Redis: {type(error).__name__}: {error}") from error
        held, epoch = cast("tuple[int, int]", answer)
        return Leadership(epoch, asked_at + self._lease_s) if held else None

    def release(self) -> None:
        try:
            self._redis.eval(_RELEASE, 1, LEASE_KEY, self.owner)
        except (redis.RedisError, OSError) as error:
            raise StoreError(f"Redis: {type(error).__name__}: {error}") from error


class NoLease:
    """For a dry run, which writes nothing and so takes no lease."""

    def acquire(self) -> Leadership | None:
        return Leadership(epoch=0, until=float("inf"))

    def release(self) -> None:
        """Nothing was taken."""
