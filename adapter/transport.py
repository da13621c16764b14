"""One post and its reply, and the one thing that only it can know: whether the mail may have left."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from adapter.connections import CONNECTION_ERRORS, Connections
from adapter.providers.body import Body
from adapter.providers.provider import Reply, Request

MAX_REPLY_BYTES = 64 * 1024
"""Error bodies are small; more than this is not read."""
READ_BODY_S = 5.0
"""For the rest of a reply whose status is known."""


class NotSentError(Exception):
    """The request failed before its body began, so the provider cannot have acted on it."""


class OutcomeUnknownError(Exception):
    """The body began to leave and no status came back."""


class Attempt:
    """Tells, also after a cancellation, whether the mail may have left."""

    __slots__ = ("body_began",)

    def __init__(self) -> None:
        self.body_began = False


class _Stream:
    """The request body; it notes when it is first asked for, because headers alone send no mail."""

    def __init__(self, body: Body, attempt: Attempt) -> None:
        self._body = body
        self._attempt = attempt

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._attempt.body_began = True
        for block in self._body:
            yield block


class Transport:
    """Posts to one base URL over kept-alive HTTP/1.1 connections."""

    def __init__(self, base_url: str, *, ca_file: str = "", connect_timeout_s: float = 5.0) -> None:
        url = httpx.URL(base_url)
        self._base = httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path.rstrip(b"/")
        )
        self._headers = {
            "Host": url.netloc.decode(),
            "User-Agent": "rollout-controller",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        self._connect_timeout_s = connect_timeout_s
        self._connections = Connections(self._base.origin, _trust(base_url, ca_file), _proxy(base_url))

    async def post(
        self, request: Request, headers: Mapping[str, str], left_s: float, attempt: Attempt
    ) -> Reply:
        """Post once; raises NotSentError or OutcomeUnknownError, both within `left_s` seconds."""
        end = asyncio.get_running_loop().time() + left_s
        built = self._build(request, headers, left_s, attempt)
        try:
            async with asyncio.timeout_at(end):
                connection = await self._connections.take()
        except TimeoutError as error:
            raise _outcome(attempt, error) from error
        try:
            async with asyncio.timeout_at(end):
                response = await connection.handle_async_request(built)
            return Reply(response.status, _texts(response.headers), await _read(response))
        except CONNECTION_ERRORS as error:
            raise _outcome(attempt, error) from error
        finally:
            await self._connections.put_back(connection)

    def _build(
        self, request: Request, headers: Mapping[str, str], left_s: float, attempt: Attempt
    ) -> httpcore.Request:
        every = {**self._headers, **request.headers, **headers, "Content-Length": str(len(request.body))}
        return httpcore.Request(
            b"POST",
            self._url(request.path),
            headers=[(name.encode(), value.encode("ascii")) for name, value in every.items()],
            content=_Stream(request.body, attempt),
            extensions={
                "timeout": {"connect": min(self._connect_timeout_s, left_s), "read": left_s, "write": left_s}
            },
        )

    def _url(self, path: str) -> httpcore.URL:
        base = self._base
        return httpcore.URL(
            scheme=base.scheme, host=base.host, port=base.port, target=base.target + path.encode()
        )

    async def aclose(self) -> None:
        await self._connections.aclose()


def _texts(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Give headers by their names in lower case; what is there twice stands behind a comma."""
    texts: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        texts[name] = f"{texts[name]}, {value}" if name in texts else value
    return texts


async def _read(response: httpcore.Response) -> bytes:
    """Read what can be read in a moment: the status alone already says whether the mail was taken."""
    read = bytearray()
    with contextlib.suppress(*CONNECTION_ERRORS):
        async with asyncio.timeout(READ_BODY_S):
            async for part in response.aiter_stream():
                read += part
                if len(read) > MAX_REPLY_BYTES:
                    break
    with contextlib.suppress(*CONNECTION_ERRORS):
        await response.aclose()
    return bytes(read[:MAX_REPLY_BYTES])


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
    """Give the proxy that the environment asks for; none stands between us and this machine."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if host in {"localhost", "127.0.0.1", "::1"} or proxy_bypass(host):
        return None
    named = getproxies().get(parts.scheme)
    if not named:
        return None
    proxy = httpx.Proxy(named if "://" in named else f"http://{named}")
    return httpcore.Proxy(str(proxy.url), auth=proxy.raw_auth)
