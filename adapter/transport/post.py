"""One request and its reply, and the one thing that only it can know: whether the mail may have left."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from adapter.providers.body import Body
from adapter.providers.provider import MaySend, Reply, Request
from adapter.transport.connections import Connections

MOST_KNOWN_URLS = 100
"""Those of upload sessions and of shared mailboxes are ever new ones."""
READ_BODY_S = 5.0
"""For the rest of a reply whose status is known."""
_ERRORS = (TimeoutError, OSError, httpx.HTTPError)


class NotSentError(Exception):
    """The request failed before its body began, so the provider cannot have acted on it."""


class OutcomeUnknownError(Exception):
    """The body began to leave and no status came back."""


class Attempt:
    """Tells, also after a cancellation, whether the mail may have left."""

    __slots__ = ("body_began",)

    def __init__(self) -> None:
        self.body_began = False


class _Stream(httpx.AsyncByteStream):
    """The request body; it notes when it is first asked for, because headers alone send no mail.

    Where only a whole body sends, it notes when the last of it is handed on.
    """

    def __init__(self, body: Body, may_send: MaySend, attempt: Attempt) -> None:
        self._body = body
        self._may_send = may_send
        self._attempt = attempt

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._attempt.body_began |= self._may_send is MaySend.AT_FIRST_BYTE
        left = len(self._body)
        for block in self._body:
            left -= len(block)
            self._attempt.body_began |= self._may_send is MaySend.AT_LAST_BYTE and left <= 0
            yield block


class Transport:
    """Posts to one base URL over kept-alive HTTP/1.1 connections."""

    def __init__(self, base_url: str, *, ca_file: str = "", connect_timeout_s: float = 5.0) -> None:
        self._base_url = base_url.rstrip("/")
        self._urls: dict[str, httpx.URL] = {}
        self._connect_timeout_s = connect_timeout_s
        url = httpx.URL(self._base_url)
        self._headers = {
            "Host": url.netloc.decode(),
            "User-Agent": "rollout-controller",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        self._connections = Connections(url, _trust(base_url, ca_file), _proxy(base_url))
        """Not below a client of httpx, which logs every URL: an upload's bears its own right."""

    async def post(
        self, request: Request, headers: Mapping[str, str], left_s: float, attempt: Attempt
    ) -> Reply:
        """Post once, within `left_s` seconds; raises NotSentError or OutcomeUnknownError."""
        ends_at = asyncio.get_running_loop().time() + left_s
        try:
            async with asyncio.timeout_at(ends_at):
                response = await self._connections.handle_async_request(
                    self._build(request, headers, left_s, attempt)
                )
        except _ERRORS as error:
            raise _outcome(attempt, error) from error
        body = await _read(response, ends_at, request.max_reply_bytes)
        return Reply(response.status_code, dict(response.headers.items()), body)

    def _build(
        self, request: Request, headers: Mapping[str, str], left_s: float, attempt: Attempt
    ) -> httpx.Request:
        """Write the request whole: httpx would parse the address and merge headers for each again."""
        url = self._urls.get(request.path) or httpx.URL(self._base_url + request.path)
        if len(self._urls) < MOST_KNOWN_URLS:
            self._urls[request.path] = url
        length = {"Content-Length": str(len(request.body))}
        connect_s = min(self._connect_timeout_s, left_s)
        return httpx.Request(
            request.method,
            url,
            headers={**self._headers, **request.headers, **headers, **length},
            stream=_Stream(request.body, request.may_send, attempt),
            extensions={"timeout": {"connect": connect_s, "read": left_s, "write": left_s}},
        )

    async def aclose(self) -> None:
        """Close what is open."""
        await self._connections.aclose()


async def _read(response: httpx.Response, ends_at: float, most: int) -> bytes:
    """Read at most so many bytes, and for a moment only: the status alone says whether the mail was taken."""
    read = bytearray()
    ends_at = min(ends_at, asyncio.get_running_loop().time() + READ_BODY_S)
    try:
        with contextlib.suppress(*_ERRORS):
            async with asyncio.timeout_at(ends_at):
                async for part in response.aiter_bytes():
                    read += part
                    if len(read) > most:
                        break
    finally:
        with contextlib.suppress(*_ERRORS):
            await response.aclose()
    return bytes(read[:most])


def _outcome(attempt: Attempt, error: Exception) -> NotSentError | OutcomeUnknownError:
    name = type(error).__name__
    if attempt.body_began:
        return OutcomeUnknownError(f"no answer after the mail began to leave ({name})")
    return NotSentError(f"no connection ({name})")


def _trust(base_url: str, ca_file: str) -> ssl.SSLContext | None:
    if not base_url.startswith("https:"):
        return None
    return ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context()


def _proxy(base_url: str) -> httpcore.Proxy | None:
    """Return the proxy that the environment asks for; none stands between us and this machine."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if host in {"localhost", "127.0.0.1", "::1"} or proxy_bypass(host):
        return None
    named = getproxies().get(parts.scheme)
    if not named:
        return None
    proxy = httpx.Proxy(named if "://" in named else f"http://{named}")
    return httpcore.Proxy(str(proxy.url), auth=proxy.raw_auth)
