"""Connections to the Redis that Sentinel calls the master: `redis+sentinel://HOST:PORT,HOST:PORT/MASTER/DB`.

A pool of redis-py takes the kind of its connections as an argument, so every client here works with Sentinel
as it does without: each new connection asks the sentinels first, as their guidelines for clients say, and one
whose server is no master any more is given up.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

import redis
import redis.asyncio as aioredis
from redis.exceptions import ReadOnlyError

from controller.redisurl import SENTINEL, Address, Watched, read_sentinel_url

PATIENCE_S = 0.5
"""For the answer of one sentinel."""

Pool = TypeVar("Pool", redis.ConnectionPool, aioredis.ConnectionPool, aioredis.BlockingConnectionPool)


def open_pool(kind: type[Pool], url: str, **options: Any) -> Pool:
    """Open a pool of one Redis, or of the master of a Sentinel URL; raises ValueError."""
    if not url.startswith(f"{SENTINEL}://"):
        return kind.from_url(url, **options)
    watched, place = read_sentinel_url(url)
    connection: Any = AsyncFollowing if kind.__module__.startswith(aioredis.__name__) else Following
    return kind(connection_class=connection, watched=watched, **place, **options)


def master_of(watched: Watched) -> Address:
    """Ask the sentinels where the master is; the first answer counts. Raises redis.ConnectionError."""
    for host, port in watched.sentinels:
        with suppress(redis.RedisError, OSError), redis.Redis(**_quick(host, port)) as sentinel:
            found = cast("Sequence[Any] | None", sentinel.sentinel_get_master_addr_by_name(watched.master))
            if found:
                return str(found[0]), int(found[1])
    raise _unknown(watched)


async def amaster_of(watched: Watched) -> Address:
    """Do the same without waiting in a thread."""
    for host, port in watched.sentinels:
        with suppress(redis.RedisError, OSError):
            async with aioredis.Redis(**_quick(host, port)) as sentinel:
                found = await cast("Any", sentinel.sentinel_get_master_addr_by_name(watched.master))
                if found:
                    return str(found[0]), int(found[1])
    raise _unknown(watched)


class Following(redis.Connection):
    """A connection that goes where the master is when it connects."""

    def __init__(self, *, watched: Watched, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._watched = watched

    def connect(self) -> None:
        if self.is_connected:
            return
        self.host, self.port = master_of(self._watched)
        super().connect()  # type: ignore[no-untyped-call]
        self.send_command("ROLE")  # type: ignore[no-untyped-call]
        if not _is_master(self.read_response()):
            self.disconnect()  # type: ignore[no-untyped-call]
            raise _demoted(self.host)

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)
        except ReadOnlyError as error:
            self.disconnect()  # type: ignore[no-untyped-call]
            raise _demoted(self.host) from error


class AsyncFollowing(aioredis.Connection):
    """The same for an event loop."""

    def __init__(self, *, watched: Watched, **options: Any) -> None:
        super().__init__(**options)
        self._watched = watched

    async def connect(self) -> None:
        if self.is_connected:
            return
        self.host, self.port = await amaster_of(self._watched)
        await super().connect()  # type: ignore[no-untyped-call]
        await self.send_command("ROLE")
        if not _is_master(await self.read_response()):
            await self.disconnect()
            raise _demoted(self.host)

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except ReadOnlyError as error:
            await self.disconnect()
            raise _demoted(self.host) from error


def _quick(host: str, port: int) -> dict[str, Any]:
    patience = {"socket_timeout": PATIENCE_S, "socket_connect_timeout": PATIENCE_S}
    return {"host": host, "port": port, "protocol": 2, "decode_responses": True, "retry": None} | patience


def _is_master(role: Any) -> bool:
    return bool(role) and role[0] in {"master", b"master"}


def _demoted(host: str) -> redis.ConnectionError:
    return redis.ConnectionError(f"{host} is not the master any more")


def _unknown(watched: Watched) -> redis.ConnectionError:
    return redis.ConnectionError(f"no sentinel tells where the master {watched.master!r} is")
