"""What Graph's errors mean: its codes first, the most specific inner one before all, then the HTTP status.

Graph's messages are not stable and are not looked at, with one exception: only the message tells a token
without a user from a request that cannot be read.
"""

import base64
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from adapter.errors import Code, Source, StructuredError
from adapter.providers.outlook_codes import ALIASES, APP_ONLY, CLOSED_LIST, MS_CODES
from adapter.providers.provider import Refused, Reply, RetryAction
from adapter.providers.retry_after import retry_after_s

MAX_DEPTH = 8
LOOKED_AT = 500
"""Characters of a message."""
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}").fullmatch
_NO_USER = re.compile(r"/me\b.*(delegated|signed-in user)", re.IGNORECASE | re.DOTALL).search

Named = tuple[str, str]
"""A code of an error and the message beside it."""


def interpret_refusal(reply: Reply, now: float) -> Refused:
    """Return what a reply that is not 202 means; UNKNOWN for everything that is not on the closed list."""
    named = errors_of(reply.body)
    code, then = _meaning(reply.status, named)
    return Refused(
        code=code,
        then=then,
        detail=MS_CODES[code].sentence,
        request_id=reply.headers.get("request-id", "")[:128],
        retry_after_s=retry_after_s(
            reply.headers.get("retry-after"), now, replied=reply.headers.get("date", "")
        ),
        claims=claims_challenge(reply.headers.get("www-authenticate", "")),
        provider_code=named[0][0] if named and _WORD(named[0][0]) else "",
    )


def map_graph_error(error_code: str, error_message: str = "", status: int | None = None) -> StructuredError:
    """Return our error for a code of Graph that stands alone; the message is kept for a reader.

    A code that is not known gives `MS_UNKNOWN_<status>`.
    """
    name = error_code.lower()
    alias = APP_ONLY if _without_user((error_code, error_message)) else ALIASES.get(name)
    known = MS_CODES.get(alias or "")
    return StructuredError(
        alias or f"MS_UNKNOWN_{status or 0}",
        error_message or _sentence(known, status),
        source=known.source if known else Source.PROVIDER,
        provider="microsoft",
        status=status,
        provider_code=error_code,
    )


def _sentence(known: Code | None, status: int | None) -> str:
    return known.sentence if known else f"Graph answered {status or 'a code'} that has no name here."


def _meaning(status: int, named: Sequence[Named]) -> tuple[str, RetryAction]:
    names = [name for name, _ in named]
    line = CLOSED_LIST.line(status, map(str.lower, names))
    if line and any(map(_without_user, named)):
        return APP_ONLY, RetryAction.FAIL
    return CLOSED_LIST.meaning(status, names)


def _without_user(named: Named) -> bool:
    """Whether Graph says that /me was asked for with a token that is an app's and no user's."""
    name, message = named
    return name.lower() == "badrequest" and bool(_NO_USER(message[:LOOKED_AT]))


def errors_of(body: bytes) -> Sequence[Named]:
    """Return the errors of a body, the innermost and most specific first; none if it is no JSON."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return ()
    error = answer.get("error") if isinstance(answer, dict) else None
    return tuple(_nested(error))[::-1]


def _nested(error: Any) -> Iterator[Named]:
    for _ in range(MAX_DEPTH):
        if not isinstance(error, dict):
            return
        code, message = error.get("code"), error.get("message")
        if isinstance(code, str) and code:
            yield code, message if isinstance(message, str) else ""
        error = error.get("innerError") or error.get("innererror")


def claims_challenge(www_authenticate: str) -> str | None:
    """Return the claims of a challenge, as JSON: without them a new token is refused too."""
    for name, value in _parameters(www_authenticate):
        if name == "claims":
            return _claims(value)
    return None


def _claims(text: str) -> str | None:
    """Read claims as Microsoft writes them, in base64 of either alphabet; None where it is something else."""
    standard = text.translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        decoded = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True).decode()
        return decoded if isinstance(json.loads(decoded), dict) else None
    except (ValueError, RecursionError):
        return None


def _parameters(challenge: str) -> Iterator[Named]:
    """Yield `name="value"` pairs; Microsoft's values hold no quotes."""
    for part in challenge.replace("Bearer ", "", 1).split(","):
        name, found, value = part.strip().partition("=")
        if found:
            yield name.strip().lower(), value.strip().strip('"')
