"""Opens every client of Redis: of one server, of the master that Sentinel names, of our slot in a cluster.

A pool of redis-py takes the kind of its connections as an argument, so every client works with a server
that moves as it does with one that stays: each new connection asks first where it is (the sentinels, as their
guidelines for clients say, or nodes of the cluster), and one whose server has stopped being it is given up.
In a cluster all keys begin with one hash tag and so are in one slot: one connection reaches them all.

A value may be any bytes. Those that are not UTF-8 come as lone surrogates (PEP 383) and go back as the same
bytes, so one strange value is compared, judged and refused like any other, and fails no request for the rest.
"""

import random
from collections.abc import Iterator
from typing import Any, cast

import redis
import redis.asyncio as aioredis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, ReadOnlyError, TryAgainError
from redis.retry import Retry

from controller.shared.redis_url import CLUSTER, Address, RedisTarget, parse_target

_ANY_BYTES = "surrogateescape"
PATIENCE_S = 0.5
"""For the answer of one that is asked where the master is."""
_MOVED = (ReadOnlyError, MovedError, AskError, TryAgainError, ClusterDownError)
"""Answers of a server that is not, or not wholly, the one that our keys are with."""
_NO_ADDRESS = {None, "", "?"}


def open_redis(url: str, timeout_s: float, *, decode: bool = True) -> "redis.Redis":
    """Open a client that neither waits long nor repeats by itself: redis-py's defaults stall for a minute.

    `timeout_s` bounds connecting and each answer. Raises ValueError for a URL that cannot be used; connects
    to nothing yet.
    """
    options = {**_options(timeout_s, Retry(NoBackoff(), 0), decode), "command_packer": _PacksAnyBytes()}
    target = parse_target(url)
    if target is None:
        return redis.Redis.from_pool(redis.ConnectionPool.from_url(url, **options))
    kind = MasterFollowing if target.tls is None else TlsMasterFollowing
    return redis.Redis.from_pool(redis.ConnectionPool(connection_class=kind, **_of(target), **options))


def open_async_redis(
    url: str, timeout_s: float, *, blocks_s: float = 0.0, connections: int = 0, queue_s: float = 2.0
) -> "aioredis.Redis":
    """Open the same for an event loop; a command may block for `blocks_s` beside.

    With `connections`, at most so many are open, and one more command waits up to `queue_s` for one of them.
    """
    options = _options(timeout_s, AsyncRetry(NoBackoff(), 0), decode=True)
    options["socket_timeout"] += blocks_s
    pool: Any = aioredis.ConnectionPool
    if connections:
        pool = aioredis.BlockingConnectionPool
        options |= {"max_connections": connections, "timeout": queue_s}
    target = parse_target(url)
    if target is None:
        return aioredis.Redis.from_pool(pool.from_url(url, **options))
    kind = AsyncMasterFollowing if target.tls is None else AsyncTlsMasterFollowing
    return aioredis.Redis.from_pool(pool(connection_class=kind, **_of(target), **options))


def _options(timeout_s: float, retry: Any, decode: bool) -> dict[str, Any]:
    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": retry,
        "decode_responses": decode,
        "encoding_errors": _ANY_BYTES,
        "health_check_interval": 0,
        "protocol": 2,
    }


class _PacksAnyBytes(HiredisRespSerializer):
    """Packs a command as redis-py does; hiredis itself would refuse the text of bytes that are not UTF-8."""

    def pack(self, *args: Any) -> list[bytes]:
        try:
            return cast("list[bytes]", super().pack(*args))
        except UnicodeEncodeError:
            packed: Any = [arg.encode("utf-8", _ANY_BYTES) if isinstance(arg, str) else arg for arg in args]
            return cast("list[bytes]", super().pack(*packed))


def _of(target: RedisTarget) -> dict[str, Any]:
    return {"target": target, **target.login, **(target.tls or {})}


def is_wrong_type(error: BaseException | None) -> bool:
    """Whether Redis answers that a key holds another type than the command is for."""
    return isinstance(error, redis.ResponseError) and str(error).startswith("WRONGTYPE")


def key_prefix(client: "redis.Redis | aioredis.Redis") -> str:
    """Return what every key behind this client begins with: the hash tag in a cluster, else nothing."""
    target: RedisTarget | None = client.connection_pool.connection_kwargs.get("target")
    return target.prefix if target else ""


def place_of(target: RedisTarget) -> Address:
    """Ask where the master is; the first answer counts. Raises redis.ConnectionError."""
    why: Exception | None = None
    for options in _asked(target):
        try:
            with redis.Redis(**options) as asked:
                if found := _found(target, asked.execute_command(*_question(target)), options["host"]):
                    return found
        except (redis.RedisError, OSError) as error:
            why = error
    raise _unknown(target, why)


async def aplace_of(target: RedisTarget) -> Address:
    """Ask the same without waiting in a thread."""
    why: Exception | None = None
    for options in _asked(target):
        try:
            async with aioredis.Redis(**options) as asked:
                answer = await asked.execute_command(*_question(target))  # type: ignore[no-untyped-call]
                if found := _found(target, answer, options["host"]):
                    return found
        except (redis.RedisError, OSError) as error:
            why = error
    raise _unknown(target, why)


class MasterFollowing(redis.Connection):
    """A connection that goes where the master is when it connects."""

    def __init__(self, *, target: RedisTarget, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._target = target

    def connect(self) -> None:
        """Connect to the master; raises redis.ConnectionError where the server says that it is none."""
        if self.is_connected:
            return
        self.host, self.port = place_of(self._target)
        super().connect()  # type: ignore[no-untyped-call]
        if self._target.kind == CLUSTER:
            return  # A node that is not the master of our keys refuses every command on them.
        self.send_command("ROLE")  # type: ignore[no-untyped-call]
        if not _is_master(self.read_response()):
            self.disconnect()  # type: ignore[no-untyped-call]
            raise _given_up(self.host)

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read an answer; one of a server that is not the master any more ends the connection."""
        try:
            return super().read_response(*args, **options)
        except _MOVED as error:
            self.disconnect()  # type: ignore[no-untyped-call]
            raise _given_up(self.host, error) from error


class TlsMasterFollowing(MasterFollowing, redis.SSLConnection):
    """The same over TLS."""


class AsyncMasterFollowing(aioredis.Connection):
    """The same for an event loop."""

    def __init__(self, *, target: RedisTarget, **options: Any) -> None:
        super().__init__(**options)
        self._target = target

    async def connect(self) -> None:
        """Connect to the master; raises redis.ConnectionError where the server says that it is none."""
        if self.is_connected:
            return
        self.host, self.port = await aplace_of(self._target)
        await super().connect()  # type: ignore[no-untyped-call]
        if self._target.kind == CLUSTER:
            return
        await self.send_command("ROLE")
        if not _is_master(await self.read_response()):
            await self.disconnect()
            raise _given_up(self.host)

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """Read an answer; one of a server that is not the master any more ends the connection."""
        try:
            return await super().read_response(*args, **options)
        except _MOVED as error:
            await self.disconnect()
            raise _given_up(self.host, error) from error


class AsyncTlsMasterFollowing(AsyncMasterFollowing, aioredis.SSLConnection):
    """The same for an event loop over TLS."""


def _asked(target: RedisTarget) -> Iterator[dict[str, Any]]:
    """Return how to reach those who are asked, in any order.

    One that was cut off from the others, and tells what was, is not believed again and again.
    """
    patience = {"socket_timeout": PATIENCE_S, "socket_connect_timeout": PATIENCE_S, "retry": None}
    tls = {} if target.tls is None else {"ssl": True, **target.tls}
    options = {
        **target.asked_login,
        **tls,
        **patience,
        "protocol": 2,
        "decode_responses": True,
        "encoding_errors": _ANY_BYTES,
    }
    for host, port in random.sample(target.asked, len(target.asked)):
        yield {**options, "host": host, "port": port}


def _question(target: RedisTarget) -> tuple[str, ...]:
    if target.kind == CLUSTER:
        return ("CLUSTER", "SLOTS")
    return ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", target.name)


def _found(target: RedisTarget, answer: Any, host: str) -> Address | None:
    """Parse the answer of `host`; a node that tells a port alone means its own host."""
    if target.kind == CLUSTER:
        slot = key_slot(target.prefix.encode())
        masters = [master for first, last, master, *_ in answer if first <= slot <= last]
        return next(((host if to in _NO_ADDRESS else str(to), int(port)) for to, port, *_ in masters), None)
    return (str(answer[0]), int(answer[1])) if answer else None


def _is_master(role: Any) -> bool:
    return bool(role) and role[0] in {"master", b"master"}


def _given_up(host: str, error: Exception | None = None) -> redis.ConnectionError:
    why = f": {type(error).__name__} {error}" if error else ""
    return redis.ConnectionError(f"{host} is not the master any more{why}")


def _unknown(target: RedisTarget, why: Exception | None) -> redis.ConnectionError:
    if target.kind == CLUSTER:
        asked = f"no node of the cluster tells who serves the keys {target.prefix}*"
    else:
        asked = f"no sentinel tells where the master {target.name!r} is"
    return redis.ConnectionError(f"{asked} ({type(why).__name__}: {why})" if why else asked)
