"""The drafts of the local Graph: written, given files in posts and upload sessions, sent at once or later.

A draft is known by its id while it is one. Sent, it moves to Sent Items, and its id with it: then it is 404.
"""

import hashlib
import json
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from adapter.sandbox.answers import error, json_answer, names
from adapter.sandbox.http import Head, SandboxReply
from adapter.sandbox.rules import BrokenRule, Mail, read_file, read_message

UNIT_BYTES = 320 * 1024
LEAST_BYTES, MOST_BYTES, MOST_RANGE_BYTES = 3_000_000, 150 * 1024 * 1024, 4 * 1024 * 1024
DEFERRED = "SystemTime 0x3FEF"
_MARKED = re.compile(r"ep/id eq '([^']+)' and ep/value eq '([^']+)'").search
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)").fullmatch
File = tuple[str, int, str]
"""Name, size in bytes, content id."""


@dataclass(eq=False)
class Session:
    """An upload that has begun."""

    item: Mapping[str, Any]
    draft: "Draft"
    received: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, content: bytes) -> None:
        """Take bytes that follow those before."""
        self.received += len(content)
        self.digest.update(content)


@dataclass(eq=False)
class Draft:
    """A mail that is not sent yet, or waits for its time."""

    draft_id: str
    mailbox: str
    mail: Mail
    properties: Mapping[str, str]
    client_request_id: str
    files: list[File] = field(default_factory=list)
    is_submitted: bool = False

    @property
    def due_at(self) -> float:
        """When it is delivered once it is sent, in unix seconds."""
        text = self.properties.get(DEFERRED)
        return datetime.fromisoformat(text).timestamp() if text else 0.0


class DraftStore:
    """Every mailbox's drafts."""

    def __init__(self, deliver: Callable[[Head, Draft], str]) -> None:
        self.drafts: dict[str, Draft] = {}
        self.sessions: dict[str, Session] = {}
        self.digests: dict[str, str] = {}
        """SHA-256 of each uploaded file, by its name."""
        self.removed = 0
        self._deliver = deliver

    def deliver_due(self, now: float) -> None:
        """Deliver what has waited for its time."""
        for draft in [one for one in self.drafts.values() if one.is_submitted and one.due_at <= now]:
            self._sent(Head("POST", "", {"client-request-id": draft.client_request_id}), draft)

    def create(self, head: Head, mailbox: str, content: bytes) -> SandboxReply:
        """Write a draft."""
        mail, properties = read_message(content)
        draft_id = f"AAMk{uuid.uuid4().hex}AAA="
        asked = head.headers.get("client-request-id", "")
        self.drafts[draft_id] = Draft(draft_id, mailbox, mail, properties, asked)
        return _json(head, 201, {**json.loads(content), "id": draft_id, "isDraft": True})

    def find(self, head: Head, mailbox: str, filter_: str) -> SandboxReply:
        """List the drafts of a mailbox that bear a property."""
        asked = _MARKED(filter_)
        if asked is None:
            return error(head, 400, "ErrorInvalidUrlQueryFilter", "The filter is not supported.")
        name, value = asked.groups()
        found = [one for one in self.drafts.values() if one.properties.get(name) == value]
        listed = [{"id": one.draft_id} for one in found if one.mailbox == mailbox]
        return _json(head, 200, {"value": listed})

    def look(self, head: Head, draft: Draft) -> SandboxReply:
        """Return a draft, and its time where it waits for one."""
        waits = {"id": DEFERRED, "value": draft.properties.get(DEFERRED)}
        extended = {"singleValueExtendedProperties": [waits]} if waits["value"] else {}
        return _json(head, 200, {"id": draft.draft_id, "isDraft": True, **extended})

    def remove(self, head: Head, draft: Draft) -> SandboxReply:
        """Move a draft to Deleted Items."""
        del self.drafts[draft.draft_id]
        self.removed += 1
        return SandboxReply(204, names(head, str(uuid.uuid4())))

    def names(self, head: Head, draft: Draft) -> SandboxReply:
        """List what is attached."""
        listed = [{"id": f"AAMk{uuid.uuid4().hex * 4}AAA=", "name": name} for name, _, _ in draft.files]
        return _json(head, 200, {"value": listed})

    def attach(self, head: Head, draft: Draft, content: bytes) -> SandboxReply:
        """Attach a small file."""
        given = _object(content)
        file = read_file(given)
        if file[1] > LEAST_BYTES * 1.05:
            return error(head, 413, "ErrorAttachmentSizeLimitExceeded", "The attachment is too large.")
        draft.files.append(file)
        return _json(head, 201, {"id": uuid.uuid4().hex, "name": file[0]})

    def open(self, head: Head, draft: Draft, content: bytes, base: str) -> SandboxReply:
        """Open the upload session of a large file."""
        item = _object(content).get("AttachmentItem", {})
        size = item.get("size", 0)
        if item.get("attachmentType") != "file" or not item.get("name") or not isinstance(size, int):
            return error(head, 400, "ErrorInvalidParameter", "The AttachmentItem is not complete.")
        if size < LEAST_BYTES:
            code = "ErrorAttachmentSizeShouldNotBeLessThanMinimumSize"
            return error(head, 400, code, "The file is too small for an upload session.")
        if size > MOST_BYTES:
            return error(head, 400, "ErrorAttachmentSizeLimitExceeded", "The file is larger than 150 MB.")
        session_id = uuid.uuid4().hex
        self.sessions[session_id] = Session(item, draft)
        url = f"{base}/upload/AttachmentSessions('{session_id}')?authtoken={uuid.uuid4().hex}"
        opened = {"uploadUrl": url, "nextExpectedRanges": ["0-"]}
        return _json(head, 201, {**opened, "expirationDateTime": "2099-01-01T00:00:00Z"})

    def expected(self, head: Head, session: Session) -> SandboxReply:
        """Say which byte comes next."""
        return _json(head, 200, {"nextExpectedRanges": [str(session.received)]})

    def check_range(self, head: Head, session: Session) -> SandboxReply | None:
        """Return the refusal of a range; None where it is the next one."""
        found = _RANGE(head.headers.get("content-range", ""))
        start, end, total = map(int, found.groups()) if found else (-1, -1, -1)
        length, is_last = end - start + 1, end + 1 == total
        if length != head.length or total != session.item["size"]:
            return error(head, 400, "ErrorInvalidRange", "The range does not fit.")
        if length > MOST_RANGE_BYTES:
            return error(head, 413, "RequestEntityTooLarge", "The range is larger than 4 MB.")
        if start != session.received:
            return error(head, 416, "InvalidRange", "Another range is expected.")
        if length % UNIT_BYTES and not is_last:
            return error(head, 400, "ErrorInvalidRange", "The range is no multiple of 320 KiB.")
        return None

    def added(self, head: Head, session_id: str, session: Session) -> SandboxReply:
        """Attach the file once it is whole, and say how far it came."""
        if session.received < session.item["size"]:
            return self.expected(head, session)
        del self.sessions[session_id]
        file = (session.item["name"], session.received, str(session.item.get("contentId", "")))
        session.draft.files.append(file)
        self.digests[file[0]] = session.digest.hexdigest()
        where = {"location": f"https://outlook.office.com/Attachments('{uuid.uuid4().hex}')"}
        return SandboxReply(201, {**names(head, str(uuid.uuid4())), **where})

    def send(self, head: Head, draft: Draft) -> SandboxReply:
        """Send a draft; one that waits for its time stays until then."""
        if draft.is_submitted:
            return error(head, 400, "ErrorInvalidOperation", "The message is submitted already.")
        if not draft.mail.recipients:
            return error(head, 400, "ErrorInvalidRecipients", "At least one recipient isn't valid.")
        if draft.due_at > time.time():
            draft.is_submitted = True
            return SandboxReply(202, names(head, str(uuid.uuid4())))
        return SandboxReply(202, names(head, self._sent(head, draft)))

    def _sent(self, head: Head, draft: Draft) -> str:
        del self.drafts[draft.draft_id]
        return self._deliver(head, draft)


def _object(content: bytes) -> dict[str, Any]:
    try:
        given = json.loads(content)
    except ValueError:
        raise BrokenRule("BadRequest", "Unable to read JSON request payload.") from None
    if not isinstance(given, dict):
        raise BrokenRule("BadRequest", "The payload is no object.")
    return given


def _json(head: Head, status: int, value: Any) -> SandboxReply:
    answer = json_answer(status, value)
    return SandboxReply(status, {**names(head, str(uuid.uuid4())), **answer.headers}, answer.body)
