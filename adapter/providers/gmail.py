"""Gmail's messages.send: a mail becomes one upload in RFC 5322, a reply becomes what it means. Pure.

The mail's bytes are the request's body: the JSON form would carry every file as base64 in base64.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from adapter.errors import Code, MessageRefusedError
from adapter.message import MEBIBYTE, Form, Limits, OutgoingMessage, SendIds
from adapter.providers import gmail_codes
from adapter.providers.body import Body, joined
from adapter.providers.gmail_codes import CLOSED_LIST, GOOGLE_CODES, THROTTLED
from adapter.providers.mime.build import build_mime
from adapter.providers.provider import Accepted, MaySend, Refused, Reply, Request
from adapter.providers.retry_after import retry_after_s, retry_time_s

SEND_PATH = "/upload/gmail/v1/users/me/messages/send"
MAX_MAIL_BYTES = 35 * MEBIBYTE
"""Of the whole mail, files in base64 included."""
ONE_POST_BYTES = 5 * MEBIBYTE
"""A larger mail goes in a session, which goes on where a connection broke; Google advises so."""
RFC822 = "message/rfc822"

_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}").fullmatch
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}").fullmatch
_RECEIVED = re.compile(r"bytes=0-(\d{1,12})", re.ASCII).fullmatch
_OF_RECIPIENTS = re.compile(r"\brecipient|\binvalid (to|cc|bcc) header", re.IGNORECASE).search
LOOKED_AT = 500
"""Characters of a message."""


class Gmail:
    """The provider `google`."""

    name = "google"
    base_url = "https://gmail.googleapis.com"
    codes: Mapping[str, Code] = GOOGLE_CODES
    unknown_code = gmail_codes.UNKNOWN
    unreachable_code = gmail_codes.UNREACHABLE
    auth_code = gmail_codes.AUTH_UNAVAILABLE
    max_body_bytes = MAX_MAIL_BYTES
    drafts = None

    def prepare(self, message: OutgoingMessage, ids: SendIds, limits: Limits) -> Request:
        """Write the request; raises MessageRefusedError for what Gmail has not, or a mail over the cap."""
        _check_options(message)
        mime = build_mime(message, ids)
        limits.check_size(mime.size, self.max_body_bytes)
        body = Body(mime.size, lambda: joined(mime.pieces()))
        if mime.size <= ONE_POST_BYTES:
            return Request(f"{SEND_PATH}?uploadType=media", {"Content-Type": RFC822}, body, Form.MIME)
        return _opening(body)

    def interpret(self, reply: Reply, now: float) -> Accepted | Refused:
        """Only 200 with a message's id is success. Gmail may take a mail and bounce it later all the same."""
        answer = _object_of(reply.body)
        if reply.status == 200 and (message_id := _id(answer, "id")):
            return Accepted(_request_id(reply), message_id, _id(answer, "threadId"))
        return _refused(reply, answer, now)


@dataclass(frozen=True, slots=True)
class GmailUpload:
    """A mail that is uploaded in a session of Google's resumable protocol: nothing is sent before its end."""

    body: Body = field(repr=False)
    sends = True

    def opened(self, reply: Reply) -> str | None:
        """Return the path of the session that a reply opened. Its host is not looked at, so that no answer
        leads a mail or a token elsewhere.
        """
        parts = urlsplit(reply.headers.get("location", ""))
        is_path = parts.path.startswith("/") and not parts.path.startswith("//")
        if reply.status != 200 or not is_path or not (parts.path + parts.query).isprintable():
            return None
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    def rest(self, path: str, start: int) -> Request:
        """Return the request that carries the mail from a byte on."""
        size = len(self.body)
        headers = {"Content-Type": RFC822}
        if start:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        rest = self.body.from_byte(start)
        return Request(path, headers, rest, Form.MIME, method="PUT", may_send=MaySend.AT_LAST_BYTE)

    def question(self, path: str) -> Request:
        """Return the request that asks how far the mail came."""
        headers = {"Content-Range": f"bytes */{len(self.body)}"}
        return Request(path, headers, Body.of(b""), Form.MIME, method="PUT", may_send=MaySend.NEVER)

    def received(self, reply: Reply) -> int | None:
        """Return how many bytes the server has; None where the reply is about the mail as a whole."""
        if reply.status != 308:
            return None
        found = _RECEIVED(reply.headers.get("range", ""))
        return min(int(found[1]) + 1, len(self.body)) if found else 0


def _opening(body: Body) -> Request:
    headers = {"X-Upload-Content-Type": RFC822, "X-Upload-Content-Length": str(len(body))}
    path = f"{SEND_PATH}?uploadType=resumable"
    upload = GmailUpload(body)
    return Request(path, headers, Body.of(b""), Form.MIME, may_send=MaySend.NEVER, upload=upload)


_HAS_NOT = {
    "sender": "Gmail sends from the linked mailbox alone; from_address may name one of its aliases",
    "save_to_sent_items": "Gmail keeps every sent mail",
    "delivery_receipt": "Gmail has no delivery receipts",
    "send_at": "Gmail's interface schedules no mail",
    "read_receipt": "a receipt needs from_address, to which it goes",
}


def _check_options(message: OutgoingMessage) -> None:
    """Raise MessageRefusedError for what Gmail cannot do: nothing that is asked for is dropped."""
    asked = {
        "sender": message.sender,
        "save_to_sent_items": not message.save_to_sent_items,
        "delivery_receipt": message.delivery_receipt,
        "send_at": message.send_at,
        "read_receipt": message.read_receipt and message.receipt_address is None,
    }
    for name, is_asked in asked.items():
        if is_asked:
            raise MessageRefusedError("INVALID_HEADER", _HAS_NOT[name], name)


def _refused(reply: Reply, answer: Mapping[str, Any], now: float) -> Refused:
    error = answer.get("error")
    error = error if isinstance(error, dict) else {}
    message = _text(error.get("message"))[:LOOKED_AT]
    reasons = list(_reasons(error))
    code, then = CLOSED_LIST.meaning(reply.status, _told_apart(reply.status, reasons, message))
    replied = reply.headers.get("date", "")
    asked_for = retry_after_s(reply.headers.get("retry-after"), now, replied)
    return Refused(
        code=code,
        then=then,
        detail=GOOGLE_CODES[code].sentence,
        request_id=_request_id(reply),
        retry_after_s=retry_time_s(message, now, replied) if asked_for is None else asked_for,
        provider_code=next((reason for reason in reasons if _WORD(reason)), ""),
    )


def _told_apart(status: int, reasons: Sequence[str], message: str) -> Sequence[str]:
    """Return the reasons with a more specific one before them, where only the message has it."""
    code = CLOSED_LIST.meaning(status, reasons)[0]
    if code == THROTTLED and "(mail sending)" in message.lower():
        return ["mailSendingLimit", *reasons]
    if code == gmail_codes.INVALID_REQUEST and _OF_RECIPIENTS(message):
        return ["invalidRecipient", *reasons]
    return reasons


def _reasons(error: Mapping[str, Any]) -> Iterator[str]:
    """Yield Google's words for an error, the most specific first: the reasons, then the status."""
    for name in ("errors", "details"):
        listed = error.get(name)
        for one in listed if isinstance(listed, list) else ():
            if isinstance(one, dict) and _text(one.get("reason")):
                yield one["reason"]
    if _text(error.get("status")):
        yield error["status"]


def _object_of(body: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _id(answer: Mapping[str, Any], name: str) -> str:
    value = _text(answer.get(name))
    return value if _ID(value) else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _request_id(reply: Reply) -> str:
    """Return what Google's front end calls the upload; it promises no name of a request."""
    return reply.headers.get("x-guploader-uploadid", "")[:128]
