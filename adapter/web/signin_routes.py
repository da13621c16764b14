"""The routes of signing in. Their duty is to let one browser link one mailbox, and to give no token away."""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from adapter.checks.message_checks import is_user_id
from adapter.settings import Settings
from adapter.signin.errors import Failure, SignInError
from adapter.signin.google.manager import GoogleTokenManager
from adapter.signin.handshake import Begun, Handshake, RefusedError, SignInRefusal, Wanted
from adapter.signin.metrics import SignInMetrics
from adapter.signin.microsoft.manager import MicrosoftTokenManager
from adapter.signin.settings import LINK_TTL_S
from adapter.signin.tokens import TokenManager
from adapter.web import signin_pages as pages
from adapter.web.signin_described import operations
from controller.shared.api_tokens import Caller, CheckCaller, Denied, Right, Tokens

_MAX_BODY_BYTES = 64 * 1024
_MOST_PARAMETERS = 50


MANAGERS: tuple[type[TokenManager], ...] = (MicrosoftTokenManager, GoogleTokenManager)
Manager = TokenManager | type[TokenManager]
"""A manager, or its class: a service may run before its provider is configured."""


def all_routes(*, caller: CheckCaller | None = None) -> list[Route]:
    """Return the routes of every provider, as `routes` does."""
    return [route for manager in MANAGERS for route in routes(manager, caller=caller)]


def routes(manager: Manager = MicrosoftTokenManager, *, caller: CheckCaller | None = None) -> list[Route]:
    """Return the routes for a Starlette app.

    Of a class the environment gives a manager at the first request; without `caller` a token of
    ROLLOUT_API_TOKEN is asked for, and where none is set only signed links open anything.
    """
    logging.getLogger("uvicorn.access").addFilter(_without_query)
    SignInMetrics.of(manager.identity)
    served = _SignInRoutes(manager, caller or Tokens.parse(Settings.from_environment().api_token).caller)
    handlers = (served.authorize, served.confirmed, served.callback, served.refresh, served.revoke)
    return [operation.route for operation in operations(manager.identity, *map(_answered, handlers))]


class _DeniedError(Exception):
    """The bearer token is missing (401), or has not the right (403)."""

    def __init__(self, refusal: Denied) -> None:
        super().__init__(refusal.detail)
        self.status = refusal.status


class _SignInRoutes:
    def __init__(self, manager: Manager, check: CheckCaller) -> None:
        self._given = manager
        self._check = check

    @cached_property
    def _manager(self) -> TokenManager:
        return self._given if isinstance(self._given, TokenManager) else self._given.from_env()

    @property
    def _path(self) -> str:
        return self._given.identity.path

    @cached_property
    def _handshake(self) -> Handshake:
        return Handshake(self._manager)

    @property
    def _redirect(self) -> SplitResult:
        return urlsplit(self._manager.settings.redirect_uri)

    async def authorize(self, request: Request) -> Response:
        """Send the browser to the provider, for a signed link, or for `user_id` with the bearer token."""
        link = request.query_params.get("link", "")
        if request.method == "HEAD" or "prefetch" in request.headers.get("sec-purpose", ""):
            return Response(status_code=204)  # A preview must not use a link up.
        if not link:
            wanted = _wanted(request)
            _require(self._caller(request), wanted.user_id)
            return self._begun(await self._handshake.begin(wanted))
        if request.url.hostname != self._redirect.hostname and "hop" not in request.query_params:
            return RedirectResponse(self._at_home(link), 302)
        wanted = await self._handshake.look_at_link(link)
        server = urlsplit(self._manager.settings.sign_in_url)
        headers = pages.headers_of_form(f"{server.scheme}://{server.netloc}")
        return HTMLResponse(
            pages.confirm(self._given.identity.title, wanted.user_id, wanted.account, link), headers=headers
        )

    async def confirmed(self, request: Request) -> Response:
        """Use a link up, now that a person has pressed the button: scanners of mail open links, too."""
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise RefusedError(SignInRefusal.LINK_INVALID)
        form = _once_each(await _form(request))
        return self._begun(await self._handshake.begin_with_link(form.get("link", "")), 303)

    def _at_home(self, link: str) -> str:
        """Return the link's address on the host that the provider sends the browser back to.

        The cookie belongs to a host: one set for 127.0.0.1 is not sent to localhost.
        """
        query = urlencode({"link": link, "hop": "1"})
        return f"{self._redirect.scheme}://{self._redirect.netloc}{self._path}/authorize?{query}"

    def _begun(self, begun: Begun, status: int = 302) -> Response:
        answer = RedirectResponse(begun.url, status)
        answer.set_cookie(begun.cookie_name, begun.cookie_value, max_age=LINK_TTL_S, **self._cookie())
        return answer

    def _cookie(self) -> dict[str, Any]:
        """Return the cookie's attributes; over https it may return with a form, from another site."""
        secure = self._redirect.scheme == "https"
        return {
            "path": self._path,
            "httponly": True,
            "secure": secure,
            "samesite": "none" if secure else "lax",
        }

    async def callback(self, request: Request) -> Response:
        """Take the provider's answer, as a query or as a form."""
        answer = _once_each(request.url.query if request.method == "GET" else await _form(request))
        user_id, grant = await self._handshake.finish(answer, request.cookies)
        return HTMLResponse(pages.linked(user_id, grant.account.name))

    async def refresh(self, request: Request) -> Response:
        """Refresh a user's token now; tells how long it is good, and no more."""
        user_id = await self._named_user(request)
        await self._manager.refresh_access_token(user_id)
        status = await self._manager.status(user_id)
        told = {"user_id": user_id, "refreshed": True, "expires_in_s": round(status.access_token_for_s)}
        return JSONResponse(told)

    async def revoke(self, request: Request) -> Response:
        """Forget a user's tokens, at the server too where that is possible."""
        user_id = await self._named_user(request)
        gone = await self._manager.revoke_tokens(user_id)
        return JSONResponse(
            {"user_id": gone.user_id, "revoked": gone.revoked, "server_revoked": gone.server_revoked}
        )

    async def _named_user(self, request: Request) -> str:
        caller = self._caller(request)
        try:
            body = json.loads(await _body(request))
        except (ValueError, RecursionError):
            body = None
        user_id = body.get("user_id") if isinstance(body, Mapping) else None
        if not is_user_id(user_id):
            raise RefusedError(SignInRefusal.USER_ID_UNUSABLE)
        _require(caller, str(user_id))
        return str(user_id)

    def _caller(self, request: Request) -> Caller:
        found = self._check(request.headers.get("authorization"), Right.SEND)
        if isinstance(found, Denied):
            raise _DeniedError(found)
        return found


def _wanted(request: Request) -> Wanted:
    query = request.query_params
    return Wanted(query.get("user_id", ""), query.get("account", ""), query.get("replace", "") == "true")


def _require(caller: Caller, user_id: str) -> None:
    """Raise _DeniedError where the caller's token is bound to other users."""
    if refusal := caller.refused_for(user_id):
        raise _DeniedError(refusal)


Handler = Callable[[Request], Awaitable[Response]]


def _answered(handler: Handler) -> Handler:
    """Turn errors into answers, and put the security headers on each of them."""

    async def answer(request: Request) -> Response:
        try:
            response = await handler(request)
        except _DeniedError as error:
            code = "UNAUTHORIZED" if error.status == 401 else "FORBIDDEN"
            why = f"{error}. A person needs a link, which 'rollout auth link USER' prints."
            response = _told(request, error.status, code, "Not allowed", why)
        except RefusedError as error:
            why = f"{error} Ask for a new link: 'rollout auth link USER' prints one."
            response = _told(request, 400, error.refusal, "Sign-in refused", why)
        except SignInError as error:
            response = _failure(request, error)
        for name, value in pages.SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return answer


def _failure(request: Request, error: SignInError) -> Response:
    """Answer a failure: to a browser 400, or 503 for what heals by itself; to a program its code's status."""
    status = error.http
    if _is_page(request):
        status = 503 if error.failure is Failure.UNAVAILABLE else 400
    response = _told(request, status, error.code, "Sign-in failed", error.message, error)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(round(error.retry_after_s))
    return response


def _told(
    request: Request, status: int, code: str, title: str, why: str, error: SignInError | None = None
) -> Response:
    request_id = error.request_id if error else ""
    if _is_page(request):
        response: Response = HTMLResponse(pages.failed(title, why, code, request_id), status)
    else:
        source = "auth" if error else "caller"
        retry_after_s = error.retry_after_s if error else None
        told = {"code": code, "message": why, "source": source, "request_id": request_id}
        response = JSONResponse({"error": {**told, "retry_after_s": retry_after_s}}, status)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _is_page(request: Request) -> bool:
    return request.url.path.endswith(("/authorize", "/callback"))


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > _MAX_BODY_BYTES:
                raise RefusedError(SignInRefusal.CALLBACK_MALFORMED)
    except ClientDisconnect:
        raise RefusedError(SignInRefusal.CALLBACK_MALFORMED) from None
    return bytes(body)


async def _form(request: Request) -> str:
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise RefusedError(SignInRefusal.CALLBACK_MALFORMED)
    return (await _body(request)).decode("utf-8", "replace")


def _once_each(text: str) -> dict[str, str]:
    """Read parameters; one that stands twice is an attempt to have two readers see two values."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        raise RefusedError(SignInRefusal.CALLBACK_MALFORMED) from None
    if len({name for name, _ in pairs}) != len(pairs):
        raise RefusedError(SignInRefusal.CALLBACK_MALFORMED)
    return dict(pairs)


def _without_query(record: logging.LogRecord) -> bool:
    """Keep links, states and codes out of the access log: their requests are logged by path alone."""
    if isinstance(record.args, tuple) and len(record.args) == 5 and "/oauth/" in str(record.args[2]):
        client, method, target, *rest = record.args
        record.args = (client, method, str(target).partition("?")[0], *rest)
    return True
