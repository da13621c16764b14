"""What Graph's errors mean: its codes first, the most specific inner one before all, then the HTTP status.

Graph's messages are not stable and are never looked at. A 5xx says nothing about the mail: it has been seen
together with a delivered one, so whatever its body says, the outcome is unknown.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from adapter.errors import REFUSALS, Code, Source, StructuredError, code_table
from adapter.providers.provider import Refused, Reply, RetryAction

UNKNOWN = "MS_SEND_UNKNOWN"
UNREACHABLE = "MS_API_UNREACHABLE"
THROTTLED = "MS_API_THROTTLED_429"
AUTH_INVALID = "MS_AUTH_INVALID"

MS_CODES: dict[str, Code] = code_table(
    REFUSALS["INVALID_RECIPIENT"],
    REFUSALS["ATTACHMENT_TOO_LARGE"],
    REFUSALS["TOO_MANY_RECIPIENTS"],
    REFUSALS["INVALID_HEADER"],
    Code(UNKNOWN, Source.PROVIDER, 504, "The mail may have been sent; it was not sent again."),
    Code(UNREACHABLE, Source.PROVIDER, 502, "No connection to Graph, so the mail was not sent."),
    Code(THROTTLED, Source.PROVIDER, 429, "Graph asks to wait; the mail was not sent."),
    Code("MS_API_UNAVAILABLE_503", Source.PROVIDER, 502, "Graph says that it is not available."),
    Code("MS_API_FAILED_DEPENDENCY_424", Source.PROVIDER, 502, "A request that this one needed had failed."),
    Code(AUTH_INVALID, Source.AUTH, 401, "Graph does not take the access token, a renewed one neither."),
    Code("MS_AUTH_EXPIRED", Source.AUTH, 401, "The sign-in is over; the user has to sign in again."),
    Code(
        "MS_AUTH_INTERACTION_REQUIRED",
        Source.AUTH,
        409,
        "The user has to sign in or to agree to something first.",
    ),
    Code("MS_AUTH_INSUFFICIENT_PERMS", Source.AUTH, 502, "The token lacks the right to send this mail."),
    Code("MS_AUTH_CLIENT_CONFIG", Source.AUTH, 502, "The app registration or its secret is wrong."),
    Code("MS_AUTH_UNAVAILABLE", Source.AUTH, 502, "Microsoft's sign-in service gave no usable answer."),
    Code("MS_PROVIDER_POLICY_BLOCKED", Source.CALLER, 502, "A policy of Microsoft blocks this mail."),
    Code("MS_SEND_AS_DENIED", Source.CALLER, 502, "The user may not send as this address."),
    Code("MS_MAILBOX_NOT_ENABLED", Source.CALLER, 502, "The user has no mailbox that Graph can reach."),
    Code("MS_MAILBOX_FULL", Source.CALLER, 502, "The user's mailbox is full."),
    Code("MS_QUOTA_EXCEEDED", Source.CALLER, 502, "The user's quota of mails is used up for now."),
    Code("RECIPIENT_NOT_FOUND", Source.CALLER, 422, "The recipient does not exist."),
    Code("MS_SENDER_NOT_FOUND", Source.CALLER, 502, "Graph does not know the sending user."),
    Code("MS_INVALID_REQUEST", Source.ADAPTER, 502, "Graph could not read our request: a fault of ours."),
)
"""Every named code of a send through Graph."""

GRAPH_NAMES: dict[str, tuple[RetryAction, str]] = {
    AUTH_INVALID: (RetryAction.REFRESH, "InvalidAuthenticationToken AuthenticationError"),
    "MS_AUTH_EXPIRED": (RetryAction.REFRESH, "ExpiredAuthenticationToken TokenExpired"),
    "MS_AUTH_INSUFFICIENT_PERMS": (
        RetryAction.FAIL,
        "InsufficientPermissions ErrorAccessDenied AccessDenied Authorization_RequestDenied",
    ),
    THROTTLED: (
        RetryAction.WAIT,
        """TooManyRequests ApplicationThrottled activityLimitReached CommandConcurrencyLimitReached
        MailboxConcurrency throttledRequest""",
    ),
    "MS_API_UNAVAILABLE_503": (RetryAction.FAIL, "ServiceUnavailable serviceNotAvailable ErrorServerBusy"),
    "INVALID_RECIPIENT": (
        RetryAction.FAIL,
        "InvalidRecipients ErrorInvalidRecipients ErrorInvalidRecipient ErrorMissingRecipients",
    ),
    "TOO_MANY_RECIPIENTS": (RetryAction.FAIL, "ErrorExceededMaxRecipientLimit ErrorTooManyRecipients"),
    "ATTACHMENT_TOO_LARGE": (
        RetryAction.FAIL,
        """RequestBodyTooLarge AttachmentSizeLimitExceeded ErrorAttachmentSizeLimitExceeded
        ErrorMessageSizeExceeded RequestEntityTooLarge ErrorRequestEntityTooLarge""",
    ),
    "MS_PROVIDER_POLICY_BLOCKED": (
        RetryAction.FAIL,
        """MessageBlocked ErrorMessageBlocked ErrorMessageSubmissionBlocked ErrorAccountSuspend
        ErrorAccountSuspended ErrorAccountSuspendShowTierUpgrade""",
    ),
    "MS_SEND_AS_DENIED": (RetryAction.FAIL, "ErrorSendAsDenied"),
    "MS_MAILBOX_NOT_ENABLED": (
        RetryAction.FAIL,
        """MailboxNotEnabledForRESTAPI MailboxNotSupportedForRESTAPI MailboxNotHostedInExchangeOnline
        ErrorMailboxNotEnabledForRESTAPI ErrorNonExistentMailbox""",
    ),
    "MS_MAILBOX_FULL": (RetryAction.FAIL, "ErrorQuotaExceeded quotaLimitReached insufficientStorage"),
    "MS_QUOTA_EXCEEDED": (RetryAction.FAIL, "ErrorExceededMessageLimit ErrorSubmissionQuotaExceeded"),
    "RECIPIENT_NOT_FOUND": (RetryAction.FAIL, "RecipientNotFound"),
    "MS_SENDER_NOT_FOUND": (
        RetryAction.FAIL,
        "ErrorInvalidUser ResourceNotFound Request_ResourceNotFound ErrorItemNotFound",
    ),
    "INVALID_HEADER": (RetryAction.FAIL, "InvalidInternetMessageHeader ErrorInvalidInternetHeaderName"),
    "MS_INVALID_REQUEST": (
        RetryAction.FAIL,
        """ErrorInvalidParameter ErrorInvalidRequest ErrorInvalidProperty ErrorSchemaValidation
        ErrorMimeContentInvalidBase64String UnableToDeserializePostBody RequestBodyRead BadRequest
        invalidRequest""",
    ),
    "MS_API_FAILED_DEPENDENCY_424": (RetryAction.FAIL, "FailedDependency"),
}

GRAPH_CODES: dict[str, tuple[str, RetryAction]] = {
    name.lower(): (code, then) for code, (then, names) in GRAPH_NAMES.items() for name in names.split()
}
"""Graph's and plan.md's names, in lower case, with our code and what may follow."""

GRAPH_STATUSES: dict[int, tuple[str, RetryAction]] = {
    401: (AUTH_INVALID, RetryAction.REFRESH),
    403: ("MS_AUTH_INSUFFICIENT_PERMS", RetryAction.FAIL),
    413: ("ATTACHMENT_TOO_LARGE", RetryAction.FAIL),
    424: ("MS_API_FAILED_DEPENDENCY_424", RetryAction.FAIL),
    429: (THROTTLED, RetryAction.WAIT),
    507: ("MS_MAILBOX_FULL", RetryAction.FAIL),
}
"""Where no code of the reply is known."""

SURE_SERVER_ERRORS = frozenset({501, 505, 507})
"""The 5xx that say that nothing was done."""

UNKNOWN_STATUS_CODES: dict[str, Code] = code_table(
    *(
        Code(
            f"MS_UNKNOWN_{status.value}",
            Source.PROVIDER,
            502,
            f"Graph answered {status.value} ({status.phrase}), for which it documents no meaning here.",
        )
        for status in HTTPStatus
        if status >= 200
        and status != 202
        and status not in GRAPH_STATUSES
        and (status < 500 or status in SURE_SERVER_ERRORS)
    )
)

ALL_CODES: dict[str, Code] = {**MS_CODES, **UNKNOWN_STATUS_CODES}

MAX_DEPTH = 8


def interpret_refusal(reply: Reply, now: float) -> Refused:
    """Say what a reply that is not 202 means."""
    names = tuple(error_codes(reply.body))
    code, then = _meaning(reply.status, names)
    return Refused(
        code=code,
        then=then,
        detail=_sentence(code, reply.status),
        request_id=reply.headers.get("request-id", ""),
        retry_after_s=retry_after_s(reply.headers, now),
        claims=claims_challenge(reply.headers.get("www-authenticate", "")),
        provider_code=names[0][:64] if names else "",
    )


def map_graph_error(error_code: str, error_message: str = "", status: int | None = None) -> StructuredError:
    """Map one of Graph's codes to an error of ours; the message is kept, as it is of use to a reader."""
    code, _ = _meaning(status or 0, (error_code,))
    source = ALL_CODES[code].source if code in ALL_CODES else Source.PROVIDER
    return StructuredError(
        code,
        error_message or _sentence(code, status or 0),
        source=source,
        provider="microsoft",
        status=status,
        provider_code=error_code,
    )


def _meaning(status: int, names: tuple[str, ...]) -> tuple[str, RetryAction]:
    if status >= 500 and status not in SURE_SERVER_ERRORS:
        return UNKNOWN, RetryAction.UNKNOWN
    for name in names:
        code, then = GRAPH_CODES.get(name.lower(), ("", RetryAction.FAIL))
        if code and not (status == 429 and code == "MS_API_UNAVAILABLE_503"):
            return code, then
    return GRAPH_STATUSES.get(status, (f"MS_UNKNOWN_{status}", RetryAction.FAIL))


def _sentence(code: str, status: int) -> str:
    return ALL_CODES[code].sentence if code in ALL_CODES else f"Graph answered {status}, which is no 202."


def error_codes(body: bytes) -> Iterator[str]:
    """Return the codes of an error body, the innermost and most specific one first; none if it is no JSON."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return iter(())
    error = answer.get("error") if isinstance(answer, dict) else None
    return reversed(list(_nested_codes(error)))


def _nested_codes(error: Any) -> Iterator[str]:
    for _ in range(MAX_DEPTH):
        if not isinstance(error, dict):
            return
        code = error.get("code")
        if isinstance(code, str) and code:
            yield code
        error = error.get("innerError") or error.get("innererror")


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Read Retry-After: seconds, or a date, which is compared with the reply's own Date where it has one."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = (
            float(text) if text.replace(".", "", 1).isdecimal() else _date_s(text) - _reply_time(headers, now)
        )
    except (ValueError, OverflowError):
        return None
    return max(0.0, seconds)


def _reply_time(headers: Mapping[str, str], now: float) -> float:
    try:
        return _date_s(headers["date"])
    except (KeyError, ValueError, OverflowError):
        return now


def _date_s(text: str) -> float:
    return parsedate_to_datetime(text).timestamp()


def claims_challenge(www_authenticate: str) -> str | None:
    """Take the claims out of a challenge, as JSON: without them a new token is refused too."""
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


def _parameters(challenge: str) -> Iterator[tuple[str, str]]:
    """Yield `name="value"` pairs; Microsoft's values hold no quotes."""
    for part in challenge.replace("Bearer ", "", 1).split(","):
        name, found, value = part.strip().partition("=")
        if found:
            yield name.strip().lower(), value.strip().strip('"')
