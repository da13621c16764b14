"""Graph's drafts: a mail that is too large for one post, or waits for its time. Pure.

A draft is looked at under the id that it has while it is one: sent, it moves, and that id is gone. So each of
these requests can be made again, and the answers say what became of the mail.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from adapter.errors import MessageRefusedError
from adapter.message import Attachment, Form, InlineImage, OutgoingMessage, SendIds
from adapter.providers.body import Body, base64_blocks, base64_length, joined, spliced
from adapter.providers.outlook_errors import errors_of
from adapter.providers.outlook_options import mailbox_path, needs_mime
from adapter.providers.outlook_upload import UPLOAD_HOSTS, OutlookUpload, object_of
from adapter.providers.provider import DraftPlace, MaySend, Reply, Request

MAX_FILE_BYTES = 150 * 1024 * 1024
LEAST_UPLOAD_BYTES = 3_000_000
"""Graph opens no session for a smaller file: it goes in a post of its own."""
BYTES_A_SECOND = 512 * 1024
"""The pace that every mailbox may keep: Graph takes 150 MB in five minutes."""
FILE_ATTACHMENT = "#microsoft.graph.fileAttachment"
MARK = "String {6f1f0a53-6d2b-4f0b-9c53-0d0b6d1f7a21} Name RolloutSend"
"""The property by which a draft is found whose creation was not answered."""
DEFERRED = "SystemTime 0x3FEF"
"""PidTagDeferredSendTime."""
DEFERRALS = (DEFERRED, "SystemTime 0x000F")
"""With PidTagDeferredDeliveryTime: what a draft waits for, once it is sent."""
WRITE, SEND = "Mail.ReadWrite", "Mail.Send"
MAX_CREATED_BYTES = 32 * 1024 * 1024
"""Graph answers with the whole mail, its text perhaps escaped: at the most six bytes for one of a request."""
MAX_NAMES_BYTES = 1024 * 1024
"""Of 250 files, each with its id."""
_MARKED_CONTENT = "@content@"


def needs_draft(message: OutgoingMessage) -> bool:
    """Whether only a draft can carry it, whatever its size: sendMail delivers a deferred mail at once."""
    return message.send_at is not None


def check_draft(message: OutgoingMessage) -> None:
    """Raise MessageRefusedError for what a draft has no place for."""
    why = "this mail goes by a draft (for send_at, or its size)"
    if not message.save_to_sent_items:
        raise MessageRefusedError(
            "INVALID_REQUEST", f"{why}, and Graph keeps every sent draft", "save_to_sent_items"
        )
    if needs_mime(message):
        raise MessageRefusedError(
            "INVALID_HEADER", f"{why}, which takes at most 5 headers, all of X-", "headers"
        )
    for number, file in enumerate(message.files):
        if len(file.content) > MAX_FILE_BYTES:
            field = "attachments" if number < len(message.attachments) else "inline_images"
            raise MessageRefusedError(
                "ATTACHMENT_TOO_LARGE", f"a file has at most {MAX_FILE_BYTES} bytes", field
            )


@dataclass(frozen=True, slots=True)
class OutlookDraft:
    """One mail that goes by a draft."""

    place: DraftPlace
    ids: SendIds
    files: Sequence[Attachment | InlineImage] = field(repr=False)
    is_deferred: bool

    @property
    def internet_message_id(self) -> str:
        """The Message-ID of the mail."""
        return self.ids.internet_message_id

    @property
    def more_s(self) -> float:
        """The seconds that its files may take."""
        return sum(len(file.content) for file in self.files) / BYTES_A_SECOND

    def created(self, reply: Reply) -> str | None:
        """Return the id of the draft that a reply created."""
        return _id_of(object_of(reply)) if reply.status == 201 else None

    def attach(self, draft_id: str, file: Attachment | InlineImage) -> Request:
        """Return the request that attaches a file, or opens the session that does."""
        path = f"{self._path(draft_id)}/attachments"
        if len(file.content) < LEAST_UPLOAD_BYTES:
            return self._json(path, _attachment(file))
        item = {"attachmentType": "file", "size": len(file.content), **_kind(file)}
        body = Body.of(_dumped({"AttachmentItem": item}))
        return self._json(f"{path}/createUploadSession", body, OutlookUpload(file.content))

    def is_attached(self, reply: Reply) -> bool:
        """Whether the reply says that the file is attached."""
        return reply.status == 201

    def names(self, draft_id: str) -> Request:
        """Return the request for the names of what is attached."""
        asked = _get(f"{self._path(draft_id)}/attachments?$select=name&$top=250")
        return replace(asked, max_reply_bytes=MAX_NAMES_BYTES)

    def named(self, reply: Reply) -> Sequence[str] | None:
        """Return those names."""
        listed = _listed(reply)
        return None if listed is None else [str(one.get("name")) for one in listed]

    def send(self, draft_id: str) -> Request:
        """Return the request that sends the draft."""
        return Request(
            f"{self._path(draft_id)}/send",
            self._headers(),
            Body.of(b""),
            right=_shared(SEND, self.place.mailbox),
        )

    def _path(self, draft_id: str) -> str:
        return _path(DraftPlace(self.place.mailbox, "", draft_id))

    def _headers(self) -> dict[str, str]:
        return {"client-request-id": self.ids.client_request_id, "return-client-request-id": "true"}

    def _json(self, path: str, body: Body, upload: OutlookUpload | None = None) -> Request:
        headers = {"Content-Type": "application/json", **self._headers()}
        right = _shared(WRITE, self.place.mailbox)
        return Request(path, headers, body, may_send=MaySend.NEVER, upload=upload, right=right)


def draft_request(message: OutgoingMessage, fields: Mapping[str, Any], ids: SendIds) -> Request:
    """Return the request that creates the draft of a mail; its files follow. `fields` are Graph's."""
    properties = [{"id": MARK, "value": ids.client_request_id}]
    if message.send_at:
        properties += [{"id": name, "value": message.send_at} for name in DEFERRALS]
    place = DraftPlace(mailbox_path(message.sender), ids.client_request_id)
    draft = OutlookDraft(place, ids, message.files, message.send_at is not None)
    return Request(
        f"{place.mailbox}/messages",
        {
            "Content-Type": "application/json",
            "client-request-id": ids.client_request_id,
            "return-client-request-id": "true",
        },
        Body.of(_dumped({**fields, "singleValueExtendedProperties": properties})),
        Form.JSON,
        may_send=MaySend.NEVER,
        draft=draft,
        max_reply_bytes=MAX_CREATED_BYTES,
        right=_shared(WRITE, place.mailbox),
    )


class OutlookDrafts:
    """How Graph's drafts are found, looked at and removed."""

    upload_hosts = UPLOAD_HOSTS

    def mailbox(self, sender: str | None) -> str:
        """Return the path of the mailbox of a sender, or of the user's own."""
        return mailbox_path(sender)

    def find(self, place: DraftPlace) -> Request:
        """Return the request for the drafts that bear the mark."""
        marked = f"singleValueExtendedProperties/Any(ep: ep/id eq '{MARK}' and ep/value eq '{place.mark}')"
        where = quote(marked, safe="/(:)'")
        return _get(f"{place.mailbox}/mailFolders/drafts/messages?$select=id&$filter={where}")

    def found(self, reply: Reply) -> Sequence[str] | None:
        """Return their ids."""
        listed = _listed(reply)
        return None if listed is None else [found for one in listed if (found := _id_of(one))]

    def look(self, place: DraftPlace) -> Request:
        """Return the request that asks for a draft and for the time that it waits for."""
        wanted = quote(f"singleValueExtendedProperties($filter=id eq '{DEFERRED}')", safe="($)=")
        return _get(f"{_path(place)}?$select=isDraft&$expand={wanted}")

    def is_there(self, reply: Reply) -> bool | None:
        """Whether it is a draft still."""
        if reply.status == 200 and isinstance(is_draft := object_of(reply).get("isDraft"), bool):
            return is_draft
        return False if _is_gone(reply) else None

    def is_deferred(self, reply: Reply) -> bool:
        """Whether the draft of a reply waits for its time."""
        return reply.status == 200 and bool(object_of(reply).get("singleValueExtendedProperties"))

    def remove(self, place: DraftPlace) -> Request:
        """Return the request that removes a draft."""
        return Request(_path(place), {}, Body.of(b""), method="DELETE", may_send=MaySend.NEVER, right=WRITE)

    def is_removed(self, reply: Reply) -> bool | None:
        """Whether it was removed, False where it was not there."""
        return True if reply.status == 204 else False if _is_gone(reply) else None


def _is_gone(reply: Reply) -> bool:
    """Whether Exchange says that there is no such item; a 404 of another kind says nothing about it."""
    return reply.status == 404 and any(
        name.lower() == "erroritemnotfound" for name, _ in errors_of(reply.body)
    )


def _path(place: DraftPlace) -> str:
    return f"{place.mailbox}/messages/{quote(place.draft_id, safe='=')}"


def _get(path: str) -> Request:
    return Request(path, {}, Body.of(b""), method="GET", may_send=MaySend.NEVER, right=WRITE)


def _listed(reply: Reply) -> Sequence[Mapping[str, Any]] | None:
    listed = object_of(reply).get("value")
    if reply.status != 200 or not isinstance(listed, list):
        return None
    return [one for one in listed if isinstance(one, dict)]


def _id_of(value: Mapping[str, Any]) -> str | None:
    found = value.get("id")
    return found if isinstance(found, str) and 0 < len(found) <= 1000 and found.isprintable() else None


def _kind(file: Attachment | InlineImage) -> dict[str, Any]:
    shown = {"contentId": file.content_id, "isInline": True} if isinstance(file, InlineImage) else {}
    return {"name": file.name, "contentType": file.content_type, **shown}


def _attachment(file: Attachment | InlineImage) -> Body:
    """Write a small file as Graph's fileAttachment, its base64 spliced in while it is sent.

    The mark of its place comes before all that a caller wrote.
    """
    fields = {"@odata.type": FILE_ATTACHMENT, "contentBytes": _MARKED_CONTENT, **_kind(file)}
    skeleton, mark = _dumped(fields), _MARKED_CONTENT.encode()
    size = len(skeleton) - len(mark) + base64_length(len(file.content))
    return Body(size, lambda: joined(spliced(skeleton, [(mark, base64_blocks(file.content))])))


def _shared(right: str, mailbox: str) -> str:
    """Name the right at the user's own mailbox, or at another one."""
    if mailbox == "/me":
        return right
    return f"{right}.Shared and Full Access there, or for an app the application permission {right}"


def _dumped(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
