"""A local Gmail that takes messages.send over real HTTP, in one post or in an upload session.

`python -m adapter.sandbox.gmail --port 8091` serves it; `async with GmailSandbox() as gmail` does so within a
process.
"""

import base64
import json
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, urlsplit

from adapter.sandbox.answers import HTML
from adapter.sandbox.faults import Faults
from adapter.sandbox.http import Body, Head, Reset, SandboxReply
from adapter.sandbox.mail_server import MailSandbox, serve
from adapter.sandbox.rules import BrokenRule, Mail, read_rfc822

MAX_MAIL_BYTES = 35 * 1024 * 1024
REASONS: dict[int, tuple[str, str]] = {
    400: ("invalidArgument", "INVALID_ARGUMENT"),
    401: ("authError", "UNAUTHENTICATED"),
    403: ("forbidden", "PERMISSION_DENIED"),
    404: ("notFound", "NOT_FOUND"),
    413: ("uploadTooLarge", ""),
    429: ("rateLimitExceeded", "RESOURCE_EXHAUSTED"),
    500: ("backendError", "INTERNAL"),
    503: ("backendError", "UNAVAILABLE"),
}
"""The reason and the status that Gmail gives with an HTTP status, where it gives one."""


@dataclass(eq=False)
class _Session:
    """An upload that has begun."""

    size: int
    mailbox: str
    content: bytearray = field(default_factory=bytearray)
    answer: SandboxReply | None = None


class GmailSandbox(MailSandbox):
    """Gmail on loopback; `url` is what GOOGLE_API_URL takes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.bounced = 0
        """Mails that were taken and bounce later."""
        self.opening_status = 0
        """What the opening of an upload session is answered with; 0 opens it."""
        self._sessions: dict[str, _Session] = {}

    def end_sessions(self) -> None:
        """Forget every upload session, as Gmail does after a week."""
        self._sessions.clear()

    async def _served(self, head: Head, path: str, body: Body) -> SandboxReply:
        query = parse_qs(urlsplit(head.path).query)
        if head.method == "PUT" and "upload_id" in query:
            return await self._uploaded(head, path, body, query["upload_id"][0])
        if head.method == "POST" and path.endswith("/messages/send"):
            if query.get("uploadType") == ["resumable"]:
                return self._opened(head, path, await body(head.length))
            return await self._send(head, path, body)
        await body(head.length)
        return error(404, "notFound", "Requested entity was not found.")

    def _opened(self, head: Head, path: str, _: bytes) -> SandboxReply:
        if self.opening_status:
            return self._fault(head, Faults(status=self.opening_status))
        mailbox = self._mailbox(head, path)
        if not mailbox:
            return _unauthorized()
        upload_id = uuid.uuid4().hex
        size = head.headers.get("x-upload-content-length", "0")
        self._sessions[upload_id] = _Session(int(size) if size.isdecimal() else 0, mailbox)
        location = f"{self.base}{path}?uploadType=resumable&upload_id={upload_id}"
        return SandboxReply(200, {"location": location, **_names()})

    async def _uploaded(self, head: Head, path: str, body: Body, upload_id: str) -> SandboxReply:
        session = self._sessions.get(upload_id)
        if session is None:
            await body(head.length)
            return error(404, "notFound", "The upload session is not known.")
        if head.headers.get("content-range", "").startswith("bytes */"):
            await body(head.length)
            return session.answer or _so_far(session)
        reply = await self._rest_of(session, head, path, body)
        if reply.status == 200:
            session.answer = reply
        return reply

    async def _rest_of(self, session: _Session, head: Head, path: str, body: Body) -> SandboxReply:
        if self.faults.reset == "in" and head.length > 1:
            self.dice.throw()
            self.posts += 1
            session.content += await body(head.length // 2)
            self.faults = Faults()
            raise Reset

        async def whole(length: int) -> bytes:
            session.content += await body(length)
            return bytes(session.content)

        return await self._send(head, path, whole)

    def _fault(self, head: Head, faults: Faults) -> SandboxReply:  # noqa: ARG002 (Graph's needs it)
        reason, _ = REASONS.get(faults.status, ("backendError", ""))
        message = faults.error_message or "The sandbox was told to answer so."
        if faults.retry_after is not None:
            message = f"User-rate limit exceeded.  Retry after {_time_of(faults.retry_after)}"
            message += f" {faults.error_message}" if faults.error_message else ""
        answer = error(faults.status, faults.error_code or reason, message)
        if faults.body == "html":
            return SandboxReply(faults.status, {**answer.headers, "content-type": "text/html"}, HTML)
        if faults.body == "empty":
            return SandboxReply(faults.status, _names())
        return SandboxReply(faults.status, answer.headers, answer.body, cut=faults.body == "half")

    def _read(self, head: Head, content: bytes) -> Mail:
        if head.headers.get("content-type", "").startswith("application/json"):
            content = base64.urlsafe_b64decode(json.loads(content)["raw"] + "==")
        return read_rfc822(content, heads_only=self.heads_only)

    def _take(self, head: Head, content: bytes, mailbox: str, faults: Faults) -> SandboxReply:
        if not mailbox:
            return _unauthorized()
        if len(content) > MAX_MAIL_BYTES:
            return error(413, "uploadTooLarge", "The mail is larger than 35 MB.")
        try:
            self._keep(head, content, mailbox)
        except (BrokenRule, ValueError, KeyError, TypeError):
            return error(400, "invalidArgument", "Recipient address required")
        self.bounced += bool(faults.bounce_share)
        message_id = uuid.uuid4().hex[:16]
        body = json.dumps({"id": message_id, "threadId": message_id, "labelIds": ["SENT"]}).encode()
        return SandboxReply(200, {**_names(), "content-type": "application/json"}, body)

    def stats(self) -> dict[str, Any]:
        """Return counts of what arrived and was answered."""
        return {**super().stats(), "bounced": self.bounced}


def error(status: int, reason: str, message: str) -> SandboxReply:
    """Return an error as Google's JSON has it."""
    listed = [{"domain": "global", "reason": reason, "message": message}]
    usual, named = REASONS.get(status, ("", ""))
    told = {"code": status, "message": message, "errors": listed, "status": named if reason == usual else ""}
    body = json.dumps({"error": {name: value for name, value in told.items() if value}}).encode()
    return SandboxReply(status, {**_names(), "content-type": "application/json"}, body)


def _unauthorized() -> SandboxReply:
    return error(401, "authError", "Invalid Credentials")


def _so_far(session: _Session) -> SandboxReply:
    range_ = {"range": f"bytes=0-{len(session.content) - 1}"} if session.content else {}
    return SandboxReply(308, {**range_, **_names()})


def _names() -> dict[str, str]:
    return {"x-guploader-uploadid": uuid.uuid4().hex, "date": formatdate(usegmt=True)}


def _time_of(retry_after: str | float) -> str:
    """Write the time that a number of seconds leads to; any other text stays as it is."""
    if isinstance(retry_after, str):
        return retry_after
    ends_at = datetime.fromtimestamp(time.time() + retry_after, UTC)
    return ends_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


if __name__ == "__main__":
    serve(GmailSandbox, 8091)
