"""Many small connection pools behind one HTTP client.

The pool of httpcore looks at every connection for every request: with a hundred of them that took more time
than sending. So requests fill one small pool before the next; a quiet process keeps few connections.
"""

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx

CONNECTIONS_PER_POOL = 8
POOLS = 16
KEEPALIVE_S = 30.0
"""Idle connections are closed after so long, before most servers would close them in the middle of a send."""


@dataclass(eq=False, slots=True)
class _Pool:
    transport: httpx.AsyncHTTPTransport
    busy: int = 0


class _Stream(httpx.AsyncByteStream):
    """The body of a reply; its end frees the place in the pool."""

    def __init__(self, stream: httpx.AsyncByteStream, pool: _Pool) -> None:
        self._stream = stream
        self._pool: _Pool | None = pool

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        pool, self._pool = self._pool, None
        if pool:
            pool.busy -= 1
        await self._stream.aclose()


class Pools(httpx.AsyncBaseTransport):
    """An httpx transport of POOLS pools."""

    def __init__(self, trust: ssl.SSLContext | bool, proxy: str | None = None) -> None:
        limits = httpx.Limits(
            max_connections=CONNECTIONS_PER_POOL,
            max_keepalive_connections=CONNECTIONS_PER_POOL,
            keepalive_expiry=KEEPALIVE_S,
        )
        self._pools = [
            _Pool(httpx.AsyncHTTPTransport(verify=trust, limits=limits, proxy=proxy)) for _ in range(POOLS)
        ]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        pool = self._choose()
        pool.busy += 1
        try:
            response = await pool.transport.handle_async_request(request)
        except BaseException:
            pool.busy -= 1
            raise
        if not isinstance(response.stream, httpx.AsyncByteStream):
            raise TypeError("the transport gave a stream that cannot be awaited")
        response.stream = _Stream(response.stream, pool)
        return response

    def _choose(self) -> _Pool:
        for pool in self._pools:
            if pool.busy < CONNECTIONS_PER_POOL:
                return pool
        return min(self._pools, key=lambda pool: pool.busy)

    async def aclose(self) -> None:
        for pool in self._pools:
            await pool.transport.aclose()
