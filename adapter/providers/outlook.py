"""Microsoft Graph's sendMail: a mail becomes one request, a reply becomes what it means. Pure.

The JSON is dumped with short marks in place of the file contents, and their base64 is spliced in while the
request is sent: no megabytes of it are looked at for characters to escape, and none lie in memory.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from adapter.errors import Code
from adapter.message import (
    MEBIBYTE,
    Attachment,
    EmailAddress,
    Form,
    InlineImage,
    Limits,
    OutgoingMessage,
    SendIds,
)
from adapter.providers import outlook_codes, outlook_errors
from adapter.providers.body import Body, base64_blocks, base64_length, base64_of_pieces, joined, spliced
from adapter.providers.mime.build import MimeOutput, build_mime
from adapter.providers.mime.reader import read_mime
from adapter.providers.outlook_drafts import (
    FILE_ATTACHMENT,
    OutlookDrafts,
    check_draft,
    draft_request,
    needs_draft,
)
from adapter.providers.outlook_options import check_forms, graph_options, needs_json, needs_mime, send_path
from adapter.providers.provider import Accepted, Refused, Reply, Request

MAX_BODY_BYTES = 4 * MEBIBYTE
"""Of the whole HTTP request body, base64 and JSON included."""


class Outlook:
    """The provider `microsoft`."""

    name = "microsoft"
    base_url = "https://graph.microsoft.com/v1.0"
    codes: Mapping[str, Code] = outlook_codes.MS_CODES
    unknown_code = outlook_codes.UNKNOWN
    unreachable_code = outlook_codes.UNREACHABLE
    auth_code = "MS_AUTH_UNAVAILABLE"
    max_body_bytes = MAX_BODY_BYTES
    drafts = OutlookDrafts()

    def prepare(self, message: OutgoingMessage, ids: SendIds, limits: Limits) -> Request:
        """Write the request; raises MessageRefusedError where its body is over the cap.

        HTML and text together need the MIME form. It carries its files as base64 in base64, so a mail that
        does not fit goes as JSON, with the HTML alone. A draft carries what is larger still, and waits.
        """
        check_forms(message)
        if needs_draft(message):
            return draft_of(message, ids, limits)
        both = message.body_html is not None and message.body_text is not None
        if needs_mime(message) or (both and not needs_json(message)):
            request = mime_request(message, ids)
            if len(request.body) <= (limits.max_body_bytes or MAX_BODY_BYTES):
                return request
            if needs_mime(message):
                limits.check_size(len(request.body), MAX_BODY_BYTES)
        request = json_request(message, ids)
        if limits.large_attachments and len(request.body) > (limits.max_body_bytes or MAX_BODY_BYTES):
            return draft_of(message, ids, limits)
        limits.check_size(len(request.body), MAX_BODY_BYTES, "; MS_LARGE_ATTACHMENTS=true sends larger ones")
        return request

    def interpret(self, reply: Reply, now: float) -> Accepted | Refused:
        """Only 202 is success; a Retry-After beside it is for the next mail, not for this one."""
        if reply.status == 202:
            return Accepted(reply.headers.get("request-id", ""))
        return outlook_errors.interpret_refusal(reply, now)


def draft_of(message: OutgoingMessage, ids: SendIds, limits: Limits) -> Request:
    """Return the request that creates a draft of a mail, which its files then follow."""
    check_draft(message)
    fields = graph_message(replace(message, attachments=(), inline_images=()), ids.internet_message_id, ())
    request = draft_request(message, fields, ids)
    limits.check_size(len(request.body), MAX_BODY_BYTES)
    return request


def json_request(message: OutgoingMessage, ids: SendIds) -> Request:
    """Return a mail as Graph's JSON form takes it."""
    marks = [f"@content-{ids.client_request_id}-{number}@" for number in range(len(message.files))]
    fields = graph_message(message, ids.internet_message_id, marks)
    skeleton = json.dumps(
        {"message": fields, "saveToSentItems": message.save_to_sent_items},
        separators=(",", ":"),
        ensure_ascii=False,
    ).encode()
    body = _with_files(skeleton, marks, message.files) if marks else Body.of(skeleton)
    return Request(send_path(message), _headers(ids, "application/json"), body, Form.JSON)


def mime_request(message: OutgoingMessage, ids: SendIds) -> Request:
    """Write the MIME form."""
    mime = build_mime(message, ids)
    body = Body(base64_length(mime.size), lambda: joined(base64_of_pieces(mime.pieces())))
    return Request(send_path(message), _headers(ids, "text/plain"), body, Form.MIME)


def _with_files(skeleton: bytes, marks: Sequence[str], files: Sequence[Attachment | InlineImage]) -> Body:
    """Put each file's base64 in the place of its mark; both come in the same order."""

    def made() -> Iterator[bytes]:
        places = (
            (mark.encode(), base64_blocks(file.content)) for mark, file in zip(marks, files, strict=True)
        )
        return joined(spliced(skeleton, places))

    encoded = sum(base64_length(len(file.content)) for file in files)
    return Body(len(skeleton) - sum(map(len, marks)) + encoded, made)


def _headers(ids: SendIds, content_type: str) -> dict[str, str]:
    return {
        "Content-Type": content_type,
        "client-request-id": ids.client_request_id,
        "return-client-request-id": "true",
    }


def graph_message(message: OutgoingMessage, message_id: str, contents: Iterable[str]) -> dict[str, Any]:
    """Write Graph's message; `contents` is the base64 of the attachments, then of the inline images."""
    fields: dict[str, Any] = {
        "subject": message.subject,
        "body": _body(message),
        "toRecipients": _recipients(message.to),
        "ccRecipients": _recipients(message.cc),
        "bccRecipients": _recipients(message.bcc),
        "replyTo": _recipients(message.reply_to),
        "attachments": [_file(file, content) for file, content in zip(message.files, contents, strict=True)],
        "internetMessageId": message_id,
        **graph_options(message),
    }
    return {name: value for name, value in fields.items() if value not in ([], "") or name == "subject"}


def _body(message: OutgoingMessage) -> dict[str, str]:
    """JSON has room for one body: the HTML, of which Exchange makes a text by itself."""
    if message.body_html is not None:
        return {"contentType": "HTML", "content": message.body_html}
    return {"contentType": "Text", "content": message.body_text or ""}


def translate_mime_to_graph(mime_output: MimeOutput | bytes) -> dict[str, Any]:
    """Return the body of a sendMail request for a mail in RFC 5322, of ours or of another builder.

    The HTML becomes the body where there is one, for Graph's JSON holds one body; files become
    fileAttachments, those with a Content-ID that lie inline with `contentId` and `isInline`. Raises
    MessageRefusedError where the mail cannot be read.
    """
    message, message_id = read_mime(mime_output)
    contents = [b"".join(base64_blocks(file.content)).decode() for file in message.files]
    return {"message": graph_message(message, message_id, contents), "saveToSentItems": True}


def _recipients(addresses: Iterable[EmailAddress]) -> list[dict[str, dict[str, str]]]:
    return [
        {"emailAddress": {"address": a.address, **({"name": a.name} if a.name else {})}} for a in addresses
    ]


def _file(file: Attachment | InlineImage, content: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "@odata.type": FILE_ATTACHMENT,
        "name": file.name,
        "contentType": file.content_type,
        "contentBytes": content,
    }
    if isinstance(file, InlineImage):
        fields |= {"contentId": file.content_id, "isInline": True}
    return fields
