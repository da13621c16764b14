"""What every request passes first: a rate for each address, a time for its body, headers for browsers."""

import asyncio
import math
import time
from collections import OrderedDict

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controller.shared.api_tokens import Tokens
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

_BURST_S = 10.0
_GUESS_COSTS = 10.0
"""A refused token counts as so many requests: guessing is slower than asking."""
_MOST_ADDRESSES = 4096


class Rates:
    """A budget of requests for each address, which fills again as time goes by."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._budgets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """(requests left, when that was so), the address that asked last at the end."""

    def spend(self, address: str, now: float, cost: float = 1.0) -> float:
        """Take from an address's budget; give 0, or how many seconds it has to wait for the next request."""
        most = self._per_s * _BURST_S
        left, at = self._budgets.pop(address, (most, now))
        left = min(most, left + (now - at) * self._per_s)
        wait_s = max(0.0, (1.0 - left) / self._per_s)
        self._budgets[address] = (left if wait_s else left - cost, now)
        while len(self._budgets) > _MOST_ADDRESSES:
            self._budgets.popitem(last=False)
        return wait_s


class RequestGuard:
    """An ASGI middleware; refuses with 429 and Retry-After, or with 408."""

    def __init__(
        self,
        app: ASGIApp,
        per_s: float,
        tokens: Tokens,
    ) -> None:
        self._app = app
        self._rates = Rates(per_s)
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        address = (scope.get("client") or ("",))[0]
        wait_s = self._rates.spend(address, time.monotonic())
        visit = _Visit(scope, receive, send)
        if wait_s:
            refusal = problem_at(scope["path"], 429, "this address asks too often; come back later")
            refusal.headers["Retry-After"] = str(math.ceil(wait_s))
            await refusal(scope, receive, visit.send)
            return
        await self._app(scope, visit.receive, visit.send)
        if visit.forbidden and self._guessed(scope):
            self._rates.spend(address, time.monotonic(), _GUESS_COSTS)

    def _guessed(self, scope: Scope) -> bool:
        """Whether a token was brought that is none; a send that the gate refuses is forbidden as well."""
        return self._tokens.is_guess(Headers(scope=scope).get("authorization"))


class _Visit:
    """One request on its way in, and its answer on its way out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._body_until = asyncio.get_running_loop().time() + BODY_WITHIN_S
        self._body_ended = self._answered = self._refused = False
        self.forbidden = False

    async def receive(self) -> Message:
        """Return the next piece of the body; a body that takes too long ends as a lost connection would."""
        if self._body_ended:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._body_until):
                message = await self._receive()
        except TimeoutError:
            await self._refuse()
            return {"type": "http.disconnect"}
        self._body_ended = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if self._refused:
            return
        if message["type"] == "http.response.start":
            self._answered = True
            headers = MutableHeaders(raw=message["headers"])
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            self.forbidden = message["status"] == 403
        await self._send(message)

    async def _refuse(self) -> None:
        self._body_ended = True
        if not self._answered:
            refusal = problem_at(self._scope["path"], 408, "the body did not come in time")
            refusal.headers["Connection"] = "close"
            await refusal(self._scope, self._receive, self.send)
        self._refused = True
