"""Kept-alive connections to one server, the last one used taken first.

The pool of httpcore looks at every connection for every request; with a hundred of them that takes more time
than sending. Here a request looks at one, and a quiet process keeps few.
"""

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any, cast

import httpcore

from adapter.wire import Wires

MAX_CONNECTIONS = 128
KEEPALIVE_S = 30.0
"""Idle connections are closed after so long, before most servers would close them in the middle of a send."""

ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
)
"""How a request fails."""


class Connections:
    """The connections of one process to one server, through a proxy where one is named."""

    def __init__(
        self, server: httpcore.Origin, trust: ssl.SSLContext | None, proxy: httpcore.Proxy | None
    ) -> None:
        self._server = server
        self._maker = httpcore.AsyncConnectionPool(
            ssl_context=trust, proxy=proxy, keepalive_expiry=KEEPALIVE_S, network_backend=Wires()
        )
        """Knows the way there and makes connections; it holds none."""
        self._idle: list[httpcore.AsyncConnectionInterface] = []
        self._places = asyncio.Semaphore(MAX_CONNECTIONS)
        self._closed = False

    async def send(self, request: httpcore.Request) -> httpcore.Response:
        """Send on one connection, which is taken until the reply is closed; waits while all are taken.

        Raises one of ERRORS.
        """
        connection = await self._take()
        try:
            response = await connection.handle_async_request(request)
        except BaseException:
            await self._put_back(connection)
            raise
        response.stream = _Reply(response.stream, lambda: self._put_back(connection))
        return response

    async def _take(self) -> httpcore.AsyncConnectionInterface:
        await self._places.acquire()
        try:
            return await self._choose()
        except BaseException:
            self._places.release()
            raise

    async def _choose(self) -> httpcore.AsyncConnectionInterface:
        while self._idle:
            connection = self._idle.pop()
            if not connection.has_expired():
                return connection
            await connection.aclose()
        return self._maker.create_connection(self._server)

    async def _put_back(self, connection: httpcore.AsyncConnectionInterface) -> None:
        """Keep it if it is ready for another request; close the longest idle one when its time is over."""
        self._places.release()
        if self._closed or not connection.is_available():
            await connection.aclose()
            return
        self._idle.append(connection)
        if self._idle[0].has_expired():
            await self._idle.pop(0).aclose()

    async def aclose(self) -> None:
        self._closed = True
        while self._idle:
            await self._idle.pop().aclose()


class _Reply:
    """The body of a reply; its end frees the connection."""

    def __init__(self, body: Any, freed: Callable[[], Awaitable[None]]) -> None:
        self._body = body
        self._freed = freed

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(cast("AsyncIterable[bytes]", self._body))

    async def aclose(self) -> None:
        try:
            await self._body.aclose()
        finally:
            await self._freed()
