"""Connections to one Redis, to the master that Sentinel names, or to the master of our keys in a cluster.

A pool of redis-py takes the kind of its connections as an argument, so every client here works with a server
that moves as it does with one that stays: each new connection asks first where it is (the sentinels, as their
guidelines for clients say, or nodes of the cluster), and one whose server has stopped being it is given up.
In a cluster all keys begin with one hash tag and so lie in one slot: one connection reaches them all.
"""

import random
from typing import Any, TypeVar

import redis
import redis.asyncio as aioredis
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, ReadOnlyError, TryAgainError

from controller.shared.redis_url import CLUSTER, Address, RedisTarget, parse_target

PATIENCE_S = 0.5
"""For the answer of one that is asked."""
_MOVED = (ReadOnlyError, MovedError, AskError, TryAgainError, ClusterDownError)
"""Answers of a server that is not, or not wholly, the one that our keys are with."""
_NO_ADDRESS = {None, "", "?"}

Pool = TypeVar("Pool", redis.ConnectionPool, aioredis.ConnectionPool, aioredis.BlockingConnectionPool)


def open_pool(kind: type[Pool], url: str, **options: Any) -> Pool:
    """Open a pool of one Redis, or of a master that moves; raises ValueError."""
    home = parse_target(url)
    if home is None:
        return kind.from_url(url, **options)
    connection: Any = (
        AsyncFollowing if kind.__module__.startswith(aioredis.__name__) else MasterFollowingConnection
    )
    return kind(connection_class=connection, home=home, **home.login, **options)


def key_prefix(client: "redis.Redis | aioredis.Redis") -> str:
    """Return what every key behind this client begins with: the hash tag in a cluster, else nothing."""
    home: RedisTarget | None = client.connection_pool.connection_kwargs.get("home")
    return home.prefix if home else ""


def place_of(home: RedisTarget) -> Address:
    """Ask where the master is; the first answer counts. Raises redis.ConnectionError."""
    why: Exception | None = None
    for host, port in _in_any_order(home.asked):
        try:
            with redis.Redis(**_quick(home, host, port)) as asked:
                answer = asked.execute_command(*_question(home))
                found = _found(home, answer, host)
        except (redis.RedisError, OSError) as error:
            why = error
            continue
        if found:
            return found
    raise _unknown(home, why)


async def aplace_of(home: RedisTarget) -> Address:
    """Do the same without waiting in a thread."""
    why: Exception | None = None
    for host, port in _in_any_order(home.asked):
        try:
            async with aioredis.Redis(**_quick(home, host, port)) as asked:
                answer = await asked.execute_command(*_question(home))  # type: ignore[no-untyped-call]
                found = _found(home, answer, host)
        except (redis.RedisError, OSError) as error:
            why = error
            continue
        if found:
            return found
    raise _unknown(home, why)


class MasterFollowingConnection(redis.Connection):
    """A connection that goes where the master is when it connects."""

    def __init__(self, *, home: RedisTarget, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._home = home

    def connect(self) -> None:
        if self.is_connected:
            return
        self.host, self.port = place_of(self._home)
        super().connect()  # type: ignore[no-untyped-call]
        if self._home.kind == CLUSTER:
            return  # A node that is not the master of our keys refuses every command on them.
        self.send_command("ROLE")  # type: ignore[no-untyped-call]
        if not _is_master(self.read_response()):
            self.disconnect()  # type: ignore[no-untyped-call]
            raise _given_up(self.host)

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)
        except _MOVED as error:
            self.disconnect()  # type: ignore[no-untyped-call]
            raise _given_up(self.host, error) from error


class AsyncFollowing(aioredis.Connection):
    """The same for an event loop."""

    def __init__(self, *, home: RedisTarget, **options: Any) -> None:
        super().__init__(**options)
        self._home = home

    async def connect(self) -> None:
        if self.is_connected:
            return
        self.host, self.port = await aplace_of(self._home)
        await super().connect()  # type: ignore[no-untyped-call]
        if self._home.kind == CLUSTER:
            return
        await self.send_command("ROLE")
        if not _is_master(await self.read_response()):
            await self.disconnect()
            raise _given_up(self.host)

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except _MOVED as error:
            await self.disconnect()
            raise _given_up(self.host, error) from error


def _in_any_order(asked: tuple[Address, ...]) -> list[Address]:
    """Shuffle: one that was cut off from the others, and tells what was, is not believed again and again."""
    return random.sample(asked, len(asked))


def _quick(home: RedisTarget, host: str, port: int) -> dict[str, Any]:
    options = dict(home.login) if home.kind == CLUSTER else {}
    patience = {"socket_timeout": PATIENCE_S, "socket_connect_timeout": PATIENCE_S, "retry": None}
    return options | patience | {"host": host, "port": port, "protocol": 2, "decode_responses": True}


def _question(home: RedisTarget) -> tuple[str, ...]:
    if home.kind == CLUSTER:
        return ("CLUSTER", "SLOTS")
    return ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", home.name)


def _found(home: RedisTarget, answer: Any, host: str) -> Address | None:
    """Read the answer of `host`; a node that tells a port alone means its own host."""
    if home.kind == CLUSTER:
        slot = key_slot(home.prefix.encode())
        masters = [master for first, last, master, *_ in answer if first <= slot <= last]
        return next(((host if to in _NO_ADDRESS else str(to), int(port)) for to, port, *_ in masters), None)
    return (str(answer[0]), int(answer[1])) if answer else None


def _is_master(role: Any) -> bool:
    return bool(role) and role[0] in {"master", b"master"}


def _given_up(host: str, error: Exception | None = None) -> redis.ConnectionError:
    why = f": {type(error).__name__} {error}" if error else ""
    return redis.ConnectionError(f"{host} is not the master any more{why}")


def _unknown(home: RedisTarget, why: Exception | None) -> redis.ConnectionError:
    if home.kind == CLUSTER:
        asked = f"no node of the cluster tells who serves the keys {home.prefix}*"
    else:
        asked = f"no sentinel tells where the master {home.name!r} is"
    return redis.ConnectionError(f"{asked} ({type(why).__name__}: {why})" if why else asked)
