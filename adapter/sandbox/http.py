"""A small HTTP/1.1 server on loopback that can also misbehave: reset, hang, or answer by halves.

The usual servers are made not to do that, and this one is also several times faster than they are,
which matters where it shares two cores with everything else.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024
RESET_AT_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends RST."""


class Reset(Exception):  # noqa: N818 (it is an order, not an error)
    """Raised by a handler to cut the connection with RST."""


@dataclass(frozen=True, slots=True)
class Head:
    """The first part of a request; header names are lower-case."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def length(self) -> int:
        """How many bytes of body the head announces."""
        text = self.headers.get("content-length", "0")
        return int(text) if text.isdecimal() else 0


@dataclass(frozen=True, slots=True)
class SandboxReply:
    """A reply. `cut` closes the connection after half of the body."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: bool = False


Body = Callable[[int], Awaitable[bytes]]
"""Reads that many bytes of the request's body."""
Handler = Callable[[Head, Body], Awaitable[SandboxReply]]


class Server:
    """Serves one handler; `async with Server(handler) as server` listens on `server.port`."""

    def __init__(
        self,
        handler: Handler,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._handler = handler
        self._host = host
        self._tls = tls
        self.port = port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._connected, self._host, self.port, ssl=self._tls, limit=MAX_HEAD_BYTES, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            while await self._exchange(reader, writer):
                pass
        except Reset:
            _reset(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ssl.SSLError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; says whether the connection may serve another."""
        head = parse_head(await reader.readuntil(b"\r\n\r\n"))
        if head is None or "transfer-encoding" in head.headers or head.length > MAX_BODY_BYTES:
            writer.write(format_answer(SandboxReply(411, {"connection": "close"})))
            return False
        if head.headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        answer = await self._handler(head, reader.readexactly)
        written = format_answer(answer)
        writer.write(written[: len(written) - len(answer.body) // 2] if answer.cut else written)
        await writer.drain()
        return not answer.cut and head.headers.get("connection", "").lower() != "close"


def _reset(writer: asyncio.StreamWriter) -> None:
    plain: Any = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
    writer.transport.abort()


def parse_head(raw: bytes) -> Head | None:
    """Parse the head of a request; None where it is none."""
    lines = raw.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3:
        return None
    headers = (line.partition(":") for line in lines[1:] if line)
    return Head(parts[0], parts[1], {name.strip().lower(): value.strip() for name, _, value in headers})


def format_answer(answer: SandboxReply) -> bytes:
    """Return an answer as bytes of HTTP/1.1."""
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Unknown"
    headers = {**answer.headers, "content-length": str(len(answer.body))}
    lines = (f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {answer.status} {phrase}\r\n{''.join(lines)}\r\n".encode("latin-1") + answer.body
