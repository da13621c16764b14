"""What Graph's errors mean: the most specific code first, then the status; plan names and Graph's own."""

import base64
import json
from typing import Any

import pytest

from adapter.providers.outlook_errors import (
    claims_challenge,
    interpret_refusal,
    map_graph_error,
    retry_after_s,
)
from adapter.providers.provider import Reply, RetryAction


def refusal(status: int, error: Any, headers: dict[str, str] | None = None) -> tuple[str, RetryAction]:
    body = json.dumps({"error": error}).encode()
    refused = interpret_refusal(Reply(status, headers or {}, body), now=0.0)
    return refused.code, refused.then


@pytest.mark.parametrize("inner", ["innerError", "innererror"])
def test_the_most_specific_known_code_wins(inner: str) -> None:
    nested = {"code": "AccessDenied", inner: {"code": "New", inner: {"code": "ErrorSendAsDenied"}}}
    unknown_within = {"code": "ErrorAccessDenied", inner: {"code": "NeverHeardOf"}}
    without_code = {"code": "ErrorQuotaExceeded", inner: {"date": "2026", "request-id": "1"}}
    assert refusal(403, nested) == ("MS_SEND_AS_DENIED", RetryAction.FAIL)
    assert refusal(400, unknown_within) == ("MS_AUTH_INSUFFICIENT_PERMS", RetryAction.FAIL)
    assert refusal(400, without_code) == ("MS_MAILBOX_FULL", RetryAction.FAIL)


def test_an_endless_nest_is_left_where_it_is() -> None:
    error: dict[str, Any] = {"code": "ErrorSendAsDenied"}
    for _ in range(100):
        error = {"code": "ErrorAccessDenied", "innerError": error}
    assert refusal(403, error)[0] == "MS_AUTH_INSUFFICIENT_PERMS"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("InvalidAuthenticationToken", "MS_AUTH_INVALID"),
        ("ExpiredAuthenticationToken", "MS_AUTH_EXPIRED"),
        ("InsufficientPermissions", "MS_AUTH_INSUFFICIENT_PERMS"),
        ("TooManyRequests", "MS_API_THROTTLED_429"),
        ("ServiceUnavailable", "MS_API_UNAVAILABLE_503"),
        ("InvalidRecipients", "INVALID_RECIPIENT"),
        ("RequestBodyTooLarge", "ATTACHMENT_TOO_LARGE"),
        ("AttachmentSizeLimitExceeded", "ATTACHMENT_TOO_LARGE"),
        ("MessageBlocked", "MS_PROVIDER_POLICY_BLOCKED"),
        ("RecipientNotFound", "RECIPIENT_NOT_FOUND"),
        ("ErrorInvalidRecipients", "INVALID_RECIPIENT"),
        ("ErrorMessageSizeExceeded", "ATTACHMENT_TOO_LARGE"),
        ("MailboxNotEnabledForRESTAPI", "MS_MAILBOX_NOT_ENABLED"),
        ("errorsendasdenied", "MS_SEND_AS_DENIED"),
    ],
)
def test_the_names_of_the_plan_and_of_graph_have_their_codes(name: str, code: str) -> None:
    error = map_graph_error(name, "as Graph said")
    assert (error.code, error.message, error.provider_code) == (code, "as Graph said", name)
    assert refusal(400, {"code": name})[0] == code


@pytest.mark.parametrize(
    "name", ["ApplicationThrottled", "TooManyRequests", "activityLimitReached", "ErrorServerBusy", "", "New"]
)
def test_whatever_the_spelling_429_is_waited_for(name: str) -> None:
    assert refusal(429, {"code": name}) == ("MS_API_THROTTLED_429", RetryAction.WAIT)


@pytest.mark.parametrize("name", ["ErrorExceededMessageLimit", "ErrorSubmissionQuotaExceeded"])
@pytest.mark.parametrize("status", [400, 403, 429])
def test_a_daily_quota_is_not_waited_for(name: str, status: int) -> None:
    assert refusal(status, {"code": name}) == ("MS_QUOTA_EXCEEDED", RetryAction.FAIL)


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_claims_are_read_from_their_base64(encode: Any) -> None:
    claims = '{"access_token":{"nbf":{"value":"?>?>~~"}}}'
    written = encode(claims.encode()).decode()
    for text in (written, written.rstrip("=")):
        header = f'Bearer realm="", error="insufficient_claims", claims="{text}"'
        assert claims_challenge(header) == claims


@pytest.mark.parametrize("text", ["", "***", "e30", "W10=", "//8=", "e3t7"])
def test_what_is_no_claims_asks_for_none(text: str) -> None:
    assert claims_challenge(f'Bearer claims="{text}"') in {None, "{}"}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 60.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT", "date": "Thu, 01 Jan 1970 00:01:30 GMT"}, 10.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, now=40.0) == seconds
