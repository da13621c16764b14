"""Who may call over HTTP: the bearer token of a request, as the host or one token of our own sees it."""

import hmac
from collections.abc import Callable
from typing import Any

Caller = Callable[[str | None], Any]
"""Takes the Authorization header; gives the caller's name, or a value with `status` and `detail`."""


class CallerRefusal:
    """Why a caller is not let in."""

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        self.detail = detail


class PlainToken:
    """Lets in whoever brings the one token."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def __call__(self, authorization: str | None) -> str | CallerRefusal:
        if not self._token:
            return CallerRefusal(
                403, "no token is configured, so this route is closed; set ROLLOUT_API_TOKEN"
            )
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return CallerRefusal(401, "a bearer token is needed: Authorization: Bearer TOKEN")
        if not hmac.compare_digest(token.strip().encode(), self._token):
            return CallerRefusal(403, "the bearer token is not the one configured")
        return "api"
