"""What every request passes first: its host, a rate, a time for its body, headers for browsers."""

import asyncio
import math
import os
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controller.config.addresses import site_of
from controller.config.hosts import host_name, is_served, read_hosts
from controller.config.settings import ControllerSettings
from controller.shared.api_tokens import Caller, Tokens, bearer
from controller.web.guard.rates import BURST_S, GUESSES_AT_ONCE, GUESSES_PER_S, Rates
from controller.web.problems import problem_at

BODY_WITHIN_S = 30.0
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""On every answer that does not say otherwise itself."""
SIGN_IN_ADDRESS = "_REDIRECT_URI"
"""How the variables end that say where a sign-in comes back to."""
WAITS = "rollout.waits"
"""In the scope of a request: whether it waits for its turn, so that its connection may give way to others."""
GONE = "rollout.gone"
"""In the scope of a request: whether its client has left."""
UNGUESSABLE = 16
"""Tokens of so many characters are found by no number of guesses that a server can answer."""
ANONYMOUS_AT_ONCE = 16
TOO_OFTEN = "this address asks too often; come back later"
TOO_MANY_GUESSES = "too many wrong tokens came from this address; come back later"


def guarded(settings: ControllerSettings) -> Middleware:
    """Return the guard as these settings want it, with the hosts that a sign-in comes back to."""
    named = [text for name, text in os.environ.items() if name.endswith(SIGN_IN_ADDRESS)]
    hosts = read_hosts(settings.allowed_hosts) + tuple(urlsplit(text).hostname or "" for text in named)
    return Middleware(
        RequestGuard, per_s=settings.requests_per_s, tokens=Tokens.parse(settings.api_token), hosts=hosts
    )


class RequestGuard:
    """An ASGI middleware; refuses with 400 or 421 for the host, 429 and Retry-After, or 408.

    A token's requests are counted by the token and all others by the address: a crowd at one address, or
    behind one proxy, uses up nothing of a person with a token. Requests without a token take turns, so that
    one with a token waits for few of them. Wrong tokens are counted by the address; after
    too many of them, a right one that is short enough to be guessed is refused as well.
    """

    def __init__(self, app: ASGIApp, per_s: float, tokens: Tokens, hosts: tuple[str, ...] = ()) -> None:
        self._app = app
        self._requests = Rates(per_s, per_s * BURST_S)
        self._guesses = Rates(GUESSES_PER_S, GUESSES_AT_ONCE)
        self._tokens = tokens
        self._hosts = hosts
        self._turns = asyncio.Semaphore(ANONYMOUS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        token = bearer(headers.get("authorization"))
        caller = self._tokens.holder(token)
        visit = _Visit(scope, receive, send, None if caller else self._turns)
        try:
            await visit.take_turn()
            if scope.get(GONE):
                return
            if refused := self._wrong_host(headers.get("host")) or self._too_much(scope, token, caller):
                await visit.refuse(*refused)
                return
            if token and not caller:
                visit.on_forbidden = lambda: self._guesses.spend(_site(scope), time.monotonic())
            await self._app(scope, visit.receive, visit.send)
        except asyncio.CancelledError:  # the server ends, and waits no longer for this request
            await visit.refuse(503, "this server is stopping")
        finally:
            visit.end_turn()

    def _too_much(self, scope: Scope, token: str, caller: Caller | None) -> tuple[int, str, float] | None:
        """Count a request; return how to refuse it where it is one too many."""
        site, now = _site(scope), time.monotonic()
        if caller and len(token) < UNGUESSABLE and (wait_s := self._guesses.wait_s(site, now)):
            return 429, TOO_MANY_GUESSES, wait_s
        if wait_s := self._requests.spend(f"token {caller.name}" if caller else site, now):
            return 429, TOO_OFTEN, wait_s
        return None

    def _wrong_host(self, header: str | None) -> tuple[int, str] | None:
        """Return how to refuse a request by its Host header; HTTP/1.0 may have none."""
        if header is None:
            return None
        name = host_name(header)
        if name is None:
            return 400, "the Host header is no host"
        if not is_served(name, self._hosts):
            return 421, f"this server does not answer to {name}; add it to allowed_hosts if it should"
        return None


class _Visit:
    """One request on its way in, and its answer on its way out."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, turns: asyncio.Semaphore | None = None
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._turns = turns
        self._has_turn = False
        self._body_until = asyncio.get_running_loop().time() + BODY_WITHIN_S
        self._body_ended = self._answered = self._refused = False
        self.on_forbidden: Callable[[], float] | None = None
        """Counts a wrong token; returns for how many seconds no more are looked at."""

    async def take_turn(self) -> None:
        if self._turns and not self._answered:
            self._scope[WAITS] = True
            await self._turns.acquire()
            self._has_turn = True
            self._end_turn_if_answered()
        self._scope[WAITS] = False

    def _end_turn_if_answered(self) -> None:
        """End a turn that came after the answer began, as to a stream that waits for its client to leave."""
        if self._answered:
            self.end_turn()

    def end_turn(self) -> None:
        """Let the next one go on, but not in this round of the event loop: others are waiting for it."""
        if self._turns and self._has_turn:
            self._has_turn = False
            asyncio.get_running_loop().call_soon(self._turns.release)

    async def receive(self) -> Message:
        """Return the next piece of the body; a body that takes too long ends as a lost connection would."""
        if self._body_ended:
            return await self._receive()
        self.end_turn()
        try:
            async with asyncio.timeout_at(self._body_until):
                message = await self._receive()
        except TimeoutError:
            self._body_ended = True
            await self.refuse(408, "the body did not come in time")
            return {"type": "http.disconnect"}
        self._body_ended = message["type"] != "http.request" or not message.get("more_body", False)
        if self._body_ended:
            await self.take_turn()
        return message

    async def send(self, message: Message) -> None:
        if self._refused:
            return
        if message["type"] == "http.response.start":
            if message["status"] == 403 and self.on_forbidden and (wait_s := self.on_forbidden()):
                await self.refuse(429, TOO_MANY_GUESSES, wait_s)
                return
            await self._start(message)
        else:
            await self._send(message)

    async def refuse(self, status: int, detail: str, wait_s: float = 0.0) -> None:
        """Answer with a problem instead of the application, unless the application has begun to."""
        self._refused = True
        if self._answered:
            return
        refusal = problem_at(self._scope["path"], status, detail)
        if wait_s:
            refusal.headers["Retry-After"] = str(math.ceil(wait_s))
        else:
            refusal.headers["Connection"] = "close"
        await refusal(self._scope, self._receive, self._start)

    async def _start(self, message: Message) -> None:
        """Send a message; on the first one the headers that every answer has are set."""
        if message["type"] == "http.response.start":
            self._answered = True
            self.end_turn()
            headers = MutableHeaders(raw=message["headers"])
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


def _site(scope: Scope) -> str:
    return site_of((scope.get("client") or ("",))[0])
