"""The transport under our httpx client: kept-alive connections, the last one used taken first.

The pools of httpx and httpcore look at every connection for every request; with a hundred of them that takes
more time than sending. Here a request looks at one, and a quiet process keeps few.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import cast

import httpcore
import httpx

from adapter.transport.wire import AsyncioBackend

MAX_CONNECTIONS = 128
KEEPALIVE_S = 30.0
"""Idle connections are closed after so long, before most servers would close them in the middle of a send."""

_CORE_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
)


class Connections(httpx.AsyncBaseTransport):
    """The connections of one process to one server, through a proxy where one is named."""

    def __init__(self, server: httpx.URL, trust: ssl.SSLContext | None, proxy: httpcore.Proxy | None) -> None:
        self._server = _core_url(server).origin
        self._maker = httpcore.AsyncConnectionPool(
            ssl_context=trust, proxy=proxy, keepalive_expiry=KEEPALIVE_S, network_backend=AsyncioBackend()
        )
        """Knows the way there and makes connections; it holds none."""
        self._idle: list[httpcore.AsyncConnectionInterface] = []
        self._places = asyncio.Semaphore(MAX_CONNECTIONS)
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send on one connection, which is taken until the reply is closed; waits while all are taken."""
        connection = await self._take()
        try:
            with _named_as_httpx_does():
                response = await connection.handle_async_request(_for_core(request))
        except BaseException:
            await self._put_back(connection)
            raise
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_Reply(response, lambda: self._put_back(connection)),
        )

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
        """Close what is open."""
        self._closed = True
        while self._idle:
            await self._idle.pop().aclose()


class _Reply(httpx.AsyncByteStream):
    """The body of a reply; its end frees the connection."""

    def __init__(self, response: httpcore.Response, freed: Callable[[], Awaitable[None]]) -> None:
        self._response = response
        self._freed = freed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _named_as_httpx_does():
            async for part in self._response.aiter_stream():
                yield part

    async def aclose(self) -> None:
        try:
            await self._response.aclose()
        finally:
            await self._freed()


def _core_url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


def _for_core(request: httpx.Request) -> httpcore.Request:
    return httpcore.Request(
        request.method,
        _core_url(request.url),
        headers=request.headers.raw,
        content=cast("AsyncIterator[bytes]", request.stream),
        extensions=request.extensions,
    )


@contextmanager
def _named_as_httpx_does() -> Iterator[None]:
    """Raise the errors of httpcore as those of httpx, which bear the same names."""
    try:
        yield
    except _CORE_ERRORS as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error
