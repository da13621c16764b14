"""Gmail's requests and answers: what is sent, what each reason means, and what is refused."""

import json
from typing import Any

import pytest
from kit.sending import ANN

from adapter.checks.message_checks import check
from adapter.errors import MessageRefusedError, Source
from adapter.message import Attachment, EmailAddress, Form, Limits, OutgoingMessage, SendIds
from adapter.providers.closed_list import STATUSES
from adapter.providers.gmail import MAX_MAIL_BYTES, ONE_POST_BYTES, Gmail
from adapter.providers.gmail_codes import GOOGLE_CODES, MAY_BE_SENT, NOT_SENT
from adapter.providers.mime.build import build_mime
from adapter.providers.provider import Accepted, MaySend, Refused, Reply, Request, RetryAction

GMAIL = Gmail()
IDS = SendIds("id-1", "<m@x>")
UNKNOWN = ("GOOGLE_SEND_UNKNOWN", RetryAction.UNKNOWN)
THROTTLED = ("GOOGLE_API_THROTTLED_429", RetryAction.WAIT)
NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def mail(**given: Any) -> OutgoingMessage:
    return check(
        OutgoingMessage(**{"to": (ANN,), "subject": "Hi", "body_html": "<p>Hi</p>", **given}), Limits()
    )


def file_of(size: int) -> Attachment:
    return Attachment("a.bin", "application/octet-stream", b"x" * size)


def answered(http: int, reason: str = "", message: str = "", **more: Any) -> Refused:
    error: dict[str, Any] = {"code": http, "message": message, **more}
    if reason:
        error["errors"] = [{"domain": "global", "reason": reason, "message": message}]
    outcome = GMAIL.interpret(Reply(http, {}, json.dumps({"error": error}).encode()), NOW)
    assert isinstance(outcome, Refused)
    return outcome


def meaning(*given: Any, **more: Any) -> tuple[str, RetryAction]:
    refused = answered(*given, **more)
    return refused.code, refused.then


def test_a_small_mail_is_one_post_of_its_own_bytes() -> None:
    message = mail(bcc=(EmailAddress("eve@corp.example"),), attachments=(file_of(5000),))
    request = GMAIL.prepare(message, IDS, Limits())
    assert (request.method, request.path, request.form) == (
        "POST",
        "/upload/gmail/v1/users/me/messages/send?uploadType=media",
        Form.MIME,
    )
    assert dict(request.headers) == {"Content-Type": "message/rfc822"}
    assert bytes(request.body) == bytes(build_mime(message, IDS))
    assert len(request.body) == len(bytes(request.body))
    assert b"Bcc: <eve@corp.example>" in bytes(request.body)


def upload_of(size: int) -> Request:
    return GMAIL.prepare(mail(attachments=(file_of(size),)), IDS, Limits())


def test_a_large_mail_opens_a_session_that_sends_nothing() -> None:
    request = upload_of(4 * 1024 * 1024)
    assert (request.path[-9:], request.may_send, len(request.body)) == ("resumable", MaySend.NEVER, 0)
    assert request.upload
    whole = request.upload.rest("/s?upload_id=1", 0)
    assert (whole.method, whole.may_send) == ("PUT", MaySend.AT_LAST_BYTE)
    assert request.headers["X-Upload-Content-Length"] == str(len(whole.body))
    assert len(whole.body) > ONE_POST_BYTES


@pytest.mark.parametrize("start", [1, 70_000, 5_000_000])
def test_an_upload_goes_on_from_any_byte(start: int) -> None:
    upload = upload_of(4 * 1024 * 1024).upload
    assert upload
    whole, rest = upload.rest("/s", 0), upload.rest("/s", start)
    assert bytes(rest.body) == bytes(whole.body)[start:]
    size = len(whole.body)
    assert (len(rest.body), rest.headers["Content-Range"]) == (
        size - start,
        f"bytes {start}-{size - 1}/{size}",
    )
    assert upload.question("/s").headers["Content-Range"] == f"bytes */{size}"


@pytest.mark.parametrize(
    ("status", "location", "path"),
    [
        (200, "https://gmail.googleapis.com/upload/x?upload_id=1", "/upload/x?upload_id=1"),
        (200, "https://evil.example/upload/x?upload_id=1", "/upload/x?upload_id=1"),
        (200, "//evil.example/x", "/x"),
        (200, "https://a.example//evil.example/x", None),
        (200, "x", None),
        (200, "", None),
        (200, "/a\nb", "/ab"),
        (201, "https://gmail.googleapis.com/upload/x", None),
        (503, "https://gmail.googleapis.com/upload/x", None),
    ],
)
def test_of_a_session_only_the_path_is_taken(status: int, location: str, path: str | None) -> None:
    upload = upload_of(4 * 1024 * 1024).upload
    assert upload
    assert upload.opened(Reply(status, {"location": location})) == path


@pytest.mark.parametrize(
    ("status", "range_", "received"),
    [
        (308, "bytes=0-99", 100),
        (308, "", 0),
        (308, "bytes=5-9", 0),
        (308, "bytes=0-x", 0),
        (200, "bytes=0-9", None),
    ],
)
def test_how_far_a_mail_came_is_read_or_is_nothing(status: int, range_: str, received: int | None) -> None:
    upload = upload_of(4 * 1024 * 1024).upload
    assert upload
    assert upload.received(Reply(status, {"range": range_})) == received


def test_the_cap_is_gmails_unless_the_settings_have_one() -> None:
    with pytest.raises(MessageRefusedError) as refusal:
        upload_of(MAX_MAIL_BYTES * 3 // 4)
    assert (refusal.value.code, refusal.value.field) == ("ATTACHMENT_TOO_LARGE", "attachments")
    with pytest.raises(MessageRefusedError):
        GMAIL.prepare(mail(), IDS, Limits(max_body_bytes=100))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sender", "ops@corp.example"),
        ("save_to_sent_items", False),
        ("delivery_receipt", True),
        ("read_receipt", True),
    ],
)
def test_what_gmail_has_not_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(MessageRefusedError) as refusal:
        GMAIL.prepare(mail(**{field: value}), IDS, Limits())
    assert refusal.value.field == field


def test_an_alias_a_receipt_headers_and_importance_stand_in_the_mail() -> None:
    message = mail(
        from_address=EmailAddress("team@corp.example"),
        read_receipt=True,
        importance="high",
        headers=(("List-Unsubscribe", "<https://corp.example/u>"),),
    )
    written = bytes(GMAIL.prepare(message, IDS, Limits()).body).decode()
    for line in (
        "From: <team@corp.example>",
        "Disposition-Notification-To: <team@corp.example>",
        "Importance: high",
        "List-Unsubscribe: <https://corp.example/u>",
    ):
        assert f"{line}\r\n" in written


def test_a_200_with_an_id_is_a_sent_mail_and_any_other_is_unknown() -> None:
    body = b'{"id": "18c2", "threadId": "18c1", "labelIds": ["SENT"]}'
    accepted = GMAIL.interpret(Reply(200, {"x-guploader-uploadid": "u"}, body), NOW)
    assert accepted == Accepted("u", "18c2", "18c1")
    for status, other in ((200, b"{}"), (200, b'{"id": 7}'), (200, b"<html>"), (201, body), (202, body)):
        outcome = GMAIL.interpret(Reply(status, {}, other), NOW)
        assert isinstance(outcome, Refused)
        assert (outcome.code, outcome.then) == UNKNOWN


NAMED = [(name, line) for line in NOT_SENT for name in line.names.split()]


@pytest.mark.parametrize(("name", "line"), NAMED, ids=[name for name, _ in NAMED])
def test_a_reason_of_the_list_counts_with_a_refusing_status_alone(name: str, line: Any) -> None:
    for status in range(400, 600):
        expected = (line.code, line.then) if status in STATUSES else UNKNOWN
        assert meaning(status, name) == expected
        assert meaning(status, status=name) == expected
        assert meaning(status, details=[{"reason": name}]) == expected


@pytest.mark.parametrize("reason", sorted(MAY_BE_SENT))
@pytest.mark.parametrize("status", [400, 403, 429, 500, 503])
def test_a_reason_that_says_work_had_begun_leaves_it_unknown(status: int, reason: str) -> None:
    assert meaning(status, reason) == UNKNOWN
    assert meaning(status, "rateLimitExceeded", status=reason.upper()) == UNKNOWN


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize("reason", ["userRateLimitExceeded", "rateLimitExceeded"])
def test_the_same_quota_is_the_same_whether_it_comes_with_403_or_429(status: int, reason: str) -> None:
    assert meaning(status, reason, "User-rate limit exceeded.") == THROTTLED
    told = answered(status, reason, "User-rate limit exceeded.  Retry after 2027-01-15T08:00:30.250Z")
    assert told.retry_after_s == 30.0
    daily = answered(
        status, reason, "User-rate limit exceeded. Retry after 2027-01-15T09:00:00Z (Mail sending)"
    )
    assert (daily.code, daily.then, daily.retry_after_s) == (
        "GOOGLE_QUOTA_EXCEEDED",
        RetryAction.FAIL,
        3600.0,
    )


def test_only_a_users_own_quota_is_the_callers() -> None:
    assert GOOGLE_CODES["GOOGLE_QUOTA_EXCEEDED"].source is Source.CALLER
    for reason in ("dailyLimitExceeded", "quotaExceeded"):
        code, then = meaning(403, reason)
        assert (GOOGLE_CODES[code].source, then) == (Source.PROVIDER, RetryAction.FAIL)


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Retry after 2027-01-15T08:00:10Z", 10.0),
        ("Retry after 2027-01-15T09:00:10+01:00", 10.0),
        ("retry AFTER 2027-01-15t08:00:10.999999z now", 10.0),
        ("Retry after 2027-01-15T07:00:00Z", 0.0),
        ("Retry after 2999-01-15T08:00:10Z", 86_400.0),
        ("Retry after 2027-13-45T99:00:10Z", None),
        ("Retry after 2027-02-31T08:00:10Z", None),
        ("Retry after 9999-12-31T23:59:59-23:59", 86_400.0),
        ("Retry after soon", None),
        ("x" * 600 + "Retry after 2027-01-15T08:00:10Z", None),
        ("", None),
    ],
)
def test_the_time_to_wait_stands_in_the_message(message: str, seconds: float | None) -> None:
    assert answered(429, "rateLimitExceeded", message).retry_after_s == seconds


def test_a_header_goes_before_the_message_and_the_servers_clock_before_ours() -> None:
    body = json.dumps({"error": {"message": "Retry after 2027-01-15T08:00:10Z"}}).encode()
    for headers, seconds in (
        ({"retry-after": "7"}, 7.0),
        ({"date": "Fri, 15 Jan 2027 08:00:08 GMT"}, 2.0),
    ):
        outcome = GMAIL.interpret(Reply(429, headers, body), NOW)
        assert isinstance(outcome, Refused)
        assert outcome.retry_after_s == seconds


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("Recipient address required", "INVALID_RECIPIENT"),
        ("Invalid To header", "INVALID_RECIPIENT"),
        ("Invalid Bcc header", "INVALID_RECIPIENT"),
        ("Invalid Subject header", "GOOGLE_INVALID_REQUEST"),
        ("Invalid value for ByteString", "GOOGLE_INVALID_REQUEST"),
    ],
)
def test_a_bad_recipient_is_told_from_a_request_that_is_our_fault(message: str, code: str) -> None:
    assert meaning(400, "invalidArgument", message) == (code, RetryAction.FAIL)


@pytest.mark.parametrize("status", [400, 403, 404, 429])
def test_a_message_alone_decides_nothing(status: int) -> None:
    told = meaning(status, "neverHeardOf", "Recipient address required (Mail sending)")
    assert told in {
        UNKNOWN,
        THROTTLED,
        ("GOOGLE_AUTH_INSUFFICIENT_PERMS", RetryAction.FAIL),
        ("GOOGLE_QUOTA_EXCEEDED", RetryAction.FAIL),
    }
