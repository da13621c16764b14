"""The HTTP face of the actions: `POST /actions/<name>` takes a send as JSON and says what became of it."""

import json
import math
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapter.errors import FAILURES, REFUSALS, Code, MessageRefusedError, StructuredError
from adapter.message import SendResult
from adapter.sending.actions import ACTIONS, Action
from adapter.sending.runtime import Runtime, default_runtime
from adapter.settings import Settings
from adapter.web.payload import parse_send
from adapter.web.send_schemas import DENIED, SEND, SENT, failures
from controller.shared.api_tokens import CheckCaller, Denied, Right, Tokens
from controller.shared.openapi import Handler, Operation, Parameter, ResponseSpec

KEY_HEADER = "Idempotency-Key"
_OF_THE_KEY = "The same as the field `idempotency_key`; both given must be equal."
LARGE_BYTES = 48 * 1024 * 1024
"""Of the files of a mail that goes by a draft: over HTTP they lie in memory; larger ones need another way."""
ROOM_FOR_JSON = 64 * 1024
"""Beyond what the files may take."""


class SafeJson(JSONResponse):
    """JSON in ASCII: what a caller wrote may hold halves of characters, which have no bytes of their own."""

    def render(self, content: Any) -> bytes:
        """Return the value as ASCII JSON."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def routes(runtime: Runtime | None = None, *, caller: CheckCaller | None = None) -> list[Route]:
    """Return one route for each action, for a Starlette app.

    Without a runtime the environment gives one at the first request; without `caller` the tokens of
    ROLLOUT_API_TOKEN open the routes, and none does where that is not set.
    """
    settings = runtime.settings if runtime else Settings.from_environment()
    asked = caller or Tokens.parse(settings.api_token).caller
    return [_operation(action, partial(_send, action, runtime, asked)).route for action in ACTIONS.values()]


def _codes(action: Action) -> dict[str, Code]:
    return {**REFUSALS, **FAILURES, **action.provider.codes}


def _operation(action: Action, handler: Handler) -> Operation:
    return Operation(
        "POST",
        f"/actions/{action.name}",
        handler,
        f"Run the action `{action.name}`.",
        "sending",
        {200: ResponseSpec("sent", SENT), **failures(_codes(action), DENIED)},
        parameters=[
            Parameter(
                KEY_HEADER, "as idempotency_key of the body, which it may not contradict", place="header"
            )
        ],
        body=SEND,
        right=Right.SEND,
    )


async def _send(action: Action, runtime: Runtime | None, check: CheckCaller, request: Request) -> Response:
    caller = check(request.headers.get("authorization"), Right.SEND)
    if isinstance(caller, Denied):
        return _refused(caller)
    runtime = runtime or await default_runtime()
    try:
        arguments = _with_key(request, await _arguments(request, action, runtime.settings))
        if refusal := caller.refused_for(arguments["user_id"]):
            return _refused(refusal)
        result = await action.send(**arguments, runtime=runtime)
    except StructuredError as error:
        return _failed(action, error)
    return SafeJson(_sent(result))


def _refused(refusal: Denied) -> Response:
    headers = {"WWW-Authenticate": 'Bearer realm="rollout-controller"'} if refusal.status == 401 else None
    code = "UNAUTHORIZED" if refusal.status == 401 else "FORBIDDEN"
    return SafeJson(_error(code, refusal.detail, "caller"), refusal.status, headers)


async def _arguments(request: Request, action: Action, settings: Settings) -> dict[str, Any]:
    """Read the body within a bound, and parse it aside: megabytes of JSON would hold up every other send."""
    cap = settings.limits.max_body_bytes or action.provider.max_body_bytes
    if settings.limits.large_attachments and action.provider.drafts:
        cap = max(cap, LARGE_BYTES)
    most = cap * 4 // 3 + ROOM_FOR_JSON
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > most:
                raise MessageRefusedError("ATTACHMENT_TOO_LARGE", f"the body has more than {most} bytes")
    except ClientDisconnect:
        raise MessageRefusedError("INVALID_REQUEST", "the connection ended within the body") from None
    return await run_in_threadpool(_parse, bytes(body))


def _with_key(request: Request, arguments: dict[str, Any]) -> dict[str, Any]:
    """Take the key from its header, which means the same as the field; both must say the same."""
    given = set(map(_text_of, request.headers.getlist(KEY_HEADER)))
    if "idempotency_key" in arguments:
        given.add(arguments["idempotency_key"])
    if len(given) > 1:
        raise MessageRefusedError(
            "INVALID_REQUEST", f"the {KEY_HEADER} header and the field differ", "idempotency_key"
        )
    return {**arguments, "idempotency_key": given.pop() if given else None}


def _text_of(header: str) -> str:
    """Read a header as UTF-8, as the field is; the server took its bytes for Latin-1."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeDecodeError:
        return header


def _parse(body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise MessageRefusedError("INVALID_REQUEST", "the body is not JSON") from None
    return parse_send(given)


def _sent(result: SendResult) -> dict[str, Any]:
    return {
        "status": "sent",
        "request_id": result.request_id,
        "client_request_id": result.client_request_id,
        "internet_message_id": result.internet_message_id,
        "replayed": result.replayed,
        **_provider_ids(result),
    }


def _provider_ids(result: SendResult) -> dict[str, str]:
    """Return the ids that the provider gave the message; none where it gives none."""
    ids = {"message_id": result.provider_message_id, "thread_id": result.thread_id}
    return {name: value for name, value in ids.items() if value}


def _failed(action: Action, error: StructuredError) -> Response:
    codes = _codes(action)
    status = codes[error.code].http if error.code in codes else 502
    wait_s = error.retry_after_s
    headers = {} if wait_s is None else {"Retry-After": str(math.ceil(wait_s))}
    message = f"{error.field}: {error.message}" if error.field else error.message
    body = _error(error.code, message, str(error.source), wait_s, error.request_id or None)
    return SafeJson(body, status, headers)


def _error(
    code: str, message: str, source: str, retry_after_s: float | None = None, request_id: str | None = None
) -> dict[str, Any]:
    return {
        "error": {
            "code": code,
            "message": message,
            "source": source,
            "retry_after_s": retry_after_s,
            "request_id": request_id,
        }
    }
