"""The adapter's own Redis client: short time-outs, and no command is sent twice without our knowing."""

import asyncio
from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio as aioredis

TIMEOUT_S = 0.5
"""To connect and for one exchange. The library's own is 5 s with ten hidden repeats."""
MAX_CONNECTIONS = 50
QUEUE_S = 2.0
"""The longest wait for a free connection."""

REDIS_ERRORS = (redis.RedisError, OSError, asyncio.TimeoutError)


Command = tuple[str | int, ...]


class BatchingConnection:
    """Asks in one round trip, on a connection of its own, all that comes up during the one before.

    The first, which finds nobody asking, is sent before anything else runs: a mail that begins beside others
    has its answer while they are prepared. For what every send has to ask; the pool's care for each command
    took as long as a third of a small send. Only for commands that do no harm when they are sent twice.
    """

    def __init__(self, client: "aioredis.Redis") -> None:
        self._connection = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        self._waiting: list[tuple[Command, asyncio.Future[Any]]] = []
        self._asking: asyncio.Task[None] | None = None
        self._leaving = False

    async def execute(self, *command: str | int) -> Any:
        """Return the answer to one command; raises one of REDIS_ERRORS."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, answer))
        if not self._leaving and (self._asking is None or self._asking.done()):
            left = False
            self._leaving = True
            try:
                left = await self._first_leaves()
            finally:
                self._leaving = False
                self._asking = asyncio.create_task(self._ask_all(first_left=left))
        return await answer

    async def aclose(self) -> None:
        """Close what is open."""
        await self._connection.disconnect()

    async def _first_leaves(self) -> bool:
        """Send the first of those that wait: a task that is made now begins after all that run already."""
        if self._asking:  # it was cancelled before it began; the answer that it was to read may still come
            await self._connection.disconnect(nowait=True)
        if not self._connection.is_connected:
            return False
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._send([self._waiting[0][0]])
        except Exception:  # noqa: BLE001 (it is asked again, and who waits gets to know)
            return False
        return True

    async def _ask_all(self, *, first_left: bool) -> None:
        asked: list[tuple[Command, asyncio.Future[Any]]] = []
        try:
            while self._waiting:
                count = 1 if first_left else len(self._waiting)
                asked, self._waiting = self._waiting[:count], self._waiting[count:]
                given = await self._answers([command for command, _ in asked], left=first_left)
                first_left = False
                for (_, answer), value in zip(asked, given, strict=True):
                    _settle(answer, value)
        finally:
            self._asking = None
            for _, answer in (*asked, *self._waiting):
                answer.cancel()

    async def _answers(self, commands: Sequence[Command], *, left: bool) -> Sequence[Any]:
        """Ask, unless they left already, and once more where the connection that was kept is found dead."""
        for last in (not self._connection.is_connected, True):
            try:
                return await self._exchange(commands, left=left)
            except Exception as error:  # noqa: BLE001 (whatever it is, those who wait get to know)
                left = False
                if last or not isinstance(error, redis.ConnectionError):
                    return [error] * len(commands)
        raise AssertionError

    async def _exchange(self, commands: Sequence[Command], *, left: bool) -> Sequence[Any]:
        connection = self._connection
        try:
            if not connection.is_connected:
                left = False
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
