"""JSON in and out over HTTP: bodies read with a bound, answers with an ETag and 304 when it is known."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from controller.web.problems import ProblemError

LARGEST_BODY_BYTES = 64 * 1024


async def read_object(request: Request, *, largest_bytes: int = LARGEST_BODY_BYTES) -> dict[str, Any]:
    """Read a JSON object; raises ProblemError 413 for a body too large, 400 for anything else."""
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > largest_bytes:
                raise ProblemError(413, f"the body is larger than {largest_bytes} bytes")
    except ClientDisconnect:
        raise ProblemError(400, "the connection ended within the body") from None
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProblemError(400, f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ProblemError(400, "the body must be a JSON object")
    return value


def answer(request: Request, value: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Return JSON with an ETag; 304 without a body when the caller has just this."""
    return tagged(request, to_json(value), "application/json", headers)


def to_json(value: Any) -> bytes:
    """Return a value as JSON, without blanks; raises ValueError for a number that JSON lacks."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def tagged(
    request: Request, body: bytes, media_type: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a body with an ETag, or 304 when the caller has it."""
    etag = f'"{sha256(body).hexdigest()[:32]}"'
    named = {"ETag": etag, "Cache-Control": "no-cache", **(headers or {})}
    if etag in _known(request):
        return Response(status_code=304, headers=named)
    return Response(body, media_type=media_type, headers=named)


def _known(request: Request) -> set[str]:
    """Read If-None-Match; a weak tag counts as its strong one, as RFC 9110 compares them for GET."""
    listed = request.headers.get("if-none-match", "").split(",")
    return {tag.strip().removeprefix("W/") for tag in listed}
