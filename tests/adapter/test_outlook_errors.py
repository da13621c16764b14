"""What Graph's errors mean: the most specific code first, then the status; plan names and Graph's own."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.providers.closed_list import STATUSES
from adapter.providers.outlook_codes import MAY_BE_SENT, NOT_SENT
from adapter.providers.outlook_errors import claims_challenge, interpret_refusal, map_graph_error
from adapter.providers.provider import Reply, RetryAction
from adapter.providers.retry_after import LONGEST_S, retry_after_s

UNKNOWN = ("MS_SEND_UNKNOWN", RetryAction.UNKNOWN)


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
        ("NeverHeardOf", "MS_UNKNOWN_0"),
    ],
)
def test_the_names_of_the_plan_and_of_graph_have_their_codes(name: str, code: str) -> None:
    error = map_graph_error(name, "as Graph said")
    assert (error.code, error.message, error.provider_code) == (code, "as Graph said", name)


@pytest.mark.parametrize(
    "name", ["ApplicationThrottled", "TooManyRequests", "activityLimitReached", "ErrorServerBusy", "", "New"]
)
def test_whatever_the_spelling_429_is_waited_for(name: str) -> None:
    assert refusal(429, {"code": name}) == ("MS_API_THROTTLED_429", RetryAction.WAIT)


NAMED = [(name, line) for line in NOT_SENT for name in line.names.split()]


def test_a_status_alone_is_on_the_closed_list_or_unknown() -> None:
    sure = {line.status: (line.code, line.then) for line in NOT_SENT if line.status}
    for status in range(100, 1000):
        assert refusal(status, {"code": "NeverHeardOf"}) == sure.get(status, UNKNOWN)
        assert refusal(status, None) == sure.get(status, UNKNOWN)


@pytest.mark.parametrize(("name", "line"), NAMED, ids=[name for name, _ in NAMED])
def test_a_code_of_the_list_counts_with_a_refusing_status_alone(name: str, line: Any) -> None:
    for status in range(100, 1000):
        expected = (line.code, line.then) if status in STATUSES else UNKNOWN
        assert refusal(status, {"code": name}) == expected


@pytest.mark.parametrize("name", sorted(MAY_BE_SENT))
def test_a_code_that_says_work_had_begun_takes_any_refusal_back(name: str) -> None:
    for status in range(200, 600):
        assert refusal(status, {"code": name}) == UNKNOWN
        assert refusal(status, {"code": "ErrorInvalidRequest", "innerError": {"code": name}}) == UNKNOWN


@pytest.mark.parametrize(
    "message",
    [
        "/me request is only valid with delegated authentication flow.",
        "Current authenticated context is not valid. For example,\n/me requires a signed-in user.",
    ],
)
def test_a_token_without_a_user_is_told_from_a_request_that_cannot_be_read(message: str) -> None:
    assert refusal(400, {"code": "BadRequest", "message": message}) == ("MS_AUTH_APP_ONLY", RetryAction.FAIL)
    assert map_graph_error("BadRequest", message).source == "caller"
    assert refusal(400, {"code": "BadRequest", "message": "Bad /me"})[0] == "MS_INVALID_REQUEST"


@pytest.mark.parametrize("code", ["\ud800", "a b", "x" * 65, "\n", 7, {}, None])
def test_what_is_no_word_is_not_passed_on(code: Any) -> None:
    body = json.dumps({"error": {"code": code, "message": ["/me"] * 9}}).encode()
    refused = interpret_refusal(Reply(400, {"request-id": "r" * 9999}, body), now=0.0)
    assert (refused.code, refused.provider_code, len(refused.request_id)) == ("MS_SEND_UNKNOWN", "", 128)


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
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT", "date": "yesterday"}, 60.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "5, 10"}, None),
        ({"retry-after": "\u0663"}, None),
        ({"retry-after": "9" * 400}, LONGEST_S),
        ({"retry-after": "9" * 5000 + ".5"}, LONGEST_S),
        ({"retry-after": f"Thu, 01 Jan {'9' * 30} 00:01:40 GMT"}, None),
        ({"retry-after": f"Thu, 01 Jan 1970 00:01:40 +{'9' * 30}"}, None),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, LONGEST_S),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float | None) -> None:
    refused = interpret_refusal(Reply(429, headers), now=40.0)
    assert refused.retry_after_s == seconds


@given(st.text(max_size=60) | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ .{0,9}"))
def test_whatever_a_server_writes_is_a_number_of_seconds_or_nothing(text: str) -> None:
    seconds = retry_after_s(text, now=1e9, replied=text)
    assert seconds is None or 0 <= seconds <= LONGEST_S
