"""The adapter's own Redis client: short time-outs, and no command is sent twice without our knowing."""

import asyncio
from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from controller.redispool import open_pool

TIMEOUT_S = 0.5
"""To connect and for one exchange. The library's own is 5 s with ten hidden repeats."""
MAX_CONNECTIONS = 50
QUEUE_S = 2.0
"""The longest wait for a free connection."""

REDIS_ERRORS = (redis.RedisError, OSError, asyncio.TimeoutError)


def open_redis(url: str) -> "aioredis.Redis":
    pool = open_pool(
        aioredis.BlockingConnectionPool,
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=QUEUE_S,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )
    return aioredis.Redis.from_pool(pool)


Command = tuple[str | int, ...]


class Together:
    """Asks in one round trip, on a connection of its own, all that comes up during the one before.

    For what every send has to ask; the pool's care for each command took as long as a third of a small send.
    Only for commands that do no harm when they are sent twice.
    """

    def __init__(self, client: "aioredis.Redis") -> None:
        self._connection = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        self._waiting: list[tuple[Command, asyncio.Future[Any]]] = []
        self._asking: asyncio.Task[None] | None = None
        self._first_left = False
        """Whether the first of those that wait was sent already."""

    async def ask(self, *command: str | int) -> Any:
        """Give the answer to one command; raises one of REDIS_ERRORS."""
        at_once = self._asking is None and self._connection.is_connected
        answer = self._wait_for(command)
        if at_once:
            self._first_left = True
            try:
                await self._send([command])
            except REDIS_ERRORS:
                self._first_left = False
        return await answer

    def tell(self, *command: str | int) -> None:
        """Send one command whose answer nobody waits for, not even where it is an error."""
        self._wait_for(command).add_done_callback(lambda answer: answer.cancelled() or answer.exception())

    async def aclose(self) -> None:
        """Close it after what is under way."""
        if self._asking:
            await asyncio.wait([self._asking])
        await self._connection.disconnect()

    def _wait_for(self, command: Command) -> "asyncio.Future[Any]":
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_all())
        return answer

    async def _ask_all(self) -> None:
        asked: list[tuple[Command, asyncio.Future[Any]]] = []
        try:
            while self._waiting:
                count = 1 if self._first_left else len(self._waiting)
                asked, self._waiting = self._waiting[:count], self._waiting[count:]
                given = await self._answers([command for command, _ in asked])
                for (_, answer), value in zip(asked, given, strict=True):
                    _settle(answer, value)
        finally:
            self._asking = None
            for _, answer in (*asked, *self._waiting):
                answer.cancel()

    async def _answers(self, commands: Sequence[Command]) -> Sequence[Any]:
        """Ask, and once more where the connection that was kept is found dead."""
        for last in (not self._connection.is_connected, True):
            try:
                return await self._exchange(commands)
            except Exception as error:  # noqa: BLE001 (whatever it is, those who wait get to know)
                if last or not isinstance(error, redis.ConnectionError):
                    return [error] * len(commands)
        raise AssertionError

    async def _exchange(self, commands: Sequence[Command]) -> Sequence[Any]:
        connection = self._connection
        left, self._first_left = self._first_left and connection.is_connected, False
        try:
            if not connection.is_connected:
                connection.socket_timeout = TIMEOUT_S
                await connection.connect()
                connection.socket_timeout = None  # with the library's own, each exchange is a task more
            async with asyncio.timeout(TIMEOUT_S):
                if not left:
                    await self._send(commands)
                return [await _answer(connection) for _ in commands]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def _send(self, commands: Sequence[Command]) -> None:
        await self._connection.send_packed_command(
            self._connection.pack_commands(commands), check_health=False
        )


async def _answer(connection: "aioredis.Connection") -> Any:
    """Read one answer; an error that Redis gave is one too, and others may follow it."""
    try:
        return await connection.read_response()
    except redis.ResponseError as error:
        return error


def _settle(answer: "asyncio.Future[Any]", value: Any) -> None:
    """Hand a value or an error over to who waits; nobody does after a cancellation."""
    if answer.done():
        return
    if isinstance(value, Exception):
        answer.set_exception(value)
    else:
        answer.set_result(value)
