"""The sockets under httpcore, through asyncio alone.

Its own way to them leads through a second library for each block that is written. That took as long as the
rest of a small send, and the blocks of several mails took turns, so that all were whole at the end only.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterable, Iterator
from typing import Any, cast

import httpcore
from aiohappyeyeballs import start_connection

HAPPY_EYEBALLS_S = 0.25
"""Before the next address of a host is tried beside the first (RFC 8305)."""
MOST_UNREAD_BYTES = 256 * 1024
"""Replies are small; beyond this the server has to wait until they are read."""


class AsyncioBackend(httpcore.AsyncNetworkBackend):
    """Opens connections. Reading and writing are bounded by the caller's deadline, not here."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 (nobody asks for one)
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 (as above)
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a host; raises httpcore.ConnectError or ConnectTimeout."""
        loop = asyncio.get_running_loop()
        with _connecting():
            async with asyncio.timeout(timeout):
                _, wire = await loop.create_connection(AsyncioStream, sock=await _first_connected(host, port))
        return wire


class AsyncioStream(asyncio.Protocol, httpcore.AsyncNetworkStream):
    """One connection, as asyncio drives it and as httpcore uses it."""

    def __init__(self) -> None:
        self._transport = asyncio.Transport()
        self._received = bytearray()
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = False
        self._error: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the new connection, as asyncio reports it."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take bytes that arrived."""
        self._received += data
        self._readable.set()
        if len(self._received) > MOST_UNREAD_BYTES:
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """Note that the other side sends no more."""
        self._ended = True
        self._readable.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Note that the connection is gone, and why."""
        self._error = error
        self.eof_received()
        self._writable.set()

    def pause_writing(self) -> None:
        """Wait with writing: the other side does not keep up."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on writing."""
        self._writable.set()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """Return bytes that arrived, at most `max_bytes`; empty at the end."""
        if not self._received and not self._ended:
            self._readable.clear()
            await self._readable.wait()
        if not self._received and self._error:
            raise httpcore.ReadError from self._error
        taken = bytes(self._received[:max_bytes])
        del self._received[:max_bytes]
        self._transport.resume_reading()
        return taken

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """Write bytes, and wait while the other side does not keep up."""
        if not self._transport.is_closing():
            self._transport.write(buffer)
            await self._writable.wait()
        if self._transport.is_closing():
            raise httpcore.WriteError from self._error

    async def aclose(self) -> None:
        """Cut it: what of a mail has not left yet shall not leave later."""
        self._transport.abort()
        await asyncio.sleep(0)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Go on in TLS. What came before it would pass for an answer within it, so nothing may have come."""
        if self.get_extra_info("is_readable"):
            await self.aclose()
            raise httpcore.ConnectError
        loop = asyncio.get_running_loop()
        with _connecting():
            async with asyncio.timeout(timeout):
                transport = await loop.start_tls(
                    self._transport, self, ssl_context, server_hostname=server_hostname
                )
        if transport is None:
            raise httpcore.ConnectError
        self._transport = transport
        return self

    def get_extra_info(self, info: str) -> Any:
        """Return what httpcore asks of a connection."""
        if info == "is_readable":
            return self._ended or bool(self._received)
        return self._transport.get_extra_info(info)


async def _first_connected(host: str, port: int) -> socket.socket:
    """Connect to the address that answers first; each has a moment before the next is tried beside it.

    asyncio can do so, but leaves a connection open that is made just when its caller gives up.
    """
    # The protocol is named because asyncio sends small blocks at once (TCP_NODELAY) only where it is.
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )
    return await start_connection(found, happy_eyeballs_delay=HAPPY_EYEBALLS_S)


@contextlib.contextmanager
def _connecting() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise httpcore.ConnectTimeout from error
    except OSError as error:
        raise httpcore.ConnectError from error
