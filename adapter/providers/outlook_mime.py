"""A mail in RFC 5322 taken apart again, to be written as Graph's JSON. Pure."""

import re
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP

from adapter.errors import MessageRefusedError
from adapter.message import Attachment, EmailAddress, InlineImage, OutgoingMessage
from adapter.providers.mime import MimeOutput

_BETWEEN_WORDS = re.compile(r"(=\?[^?\s]+\?[bq]\?[^?\s]*\?=)\s+(?==\?[^?\s]+\?[bq]\?)", re.IGNORECASE)
"""Blanks between two encoded words, which say nothing (RFC 2047, 6.2). The library keeps them in names."""

_UNREADABLE = (AttributeError, LookupError, TypeError, ValueError)
"""What the library raises at headers and character sets that it cannot read."""


def read_mime(mime_output: MimeOutput | bytes) -> tuple[OutgoingMessage, str]:
    """Take a mail apart again; gives it and its Message-ID. Raises MessageRefusedError."""
    try:
        return _read(message_from_bytes(bytes(mime_output), policy=SMTP))
    except _UNREADABLE as error:
        raise MessageRefusedError(
            "INVALID_HEADER",
            f"a header or a character set of this mail cannot be read ({type(error).__name__})",
            "mime_output",
        ) from error


def _read(mail: EmailMessage) -> tuple[OutgoingMessage, str]:
    leaves = [part for part in mail.walk() if not part.is_multipart()]
    files = [part for part in leaves if part.get_filename() or part["Content-ID"]]
    message = OutgoingMessage(
        to=_addresses(mail, "To"),
        cc=_addresses(mail, "Cc"),
        bcc=_addresses(mail, "Bcc"),
        reply_to=_addresses(mail, "Reply-To"),
        subject=str(mail["Subject"] or ""),
        body_html=_body(leaves, files, "html"),
        body_text=_body(leaves, files, "plain"),
        attachments=tuple(_attachments(files)),
        inline_images=tuple(_images(files)),
    )
    return message, str(mail["Message-ID"] or "").strip()


def _addresses(mail: EmailMessage, name: str) -> tuple[EmailAddress, ...]:
    return tuple(
        EmailAddress(address.addr_spec, address.display_name or None)
        for header, written in mail.raw_items()
        if header.lower() == name.lower()
        for address in SMTP.header_fetch_parse(name, _BETWEEN_WORDS.sub(r"\1", written)).addresses
    )


def _body(leaves: list[EmailMessage], files: list[EmailMessage], subtype: str) -> str | None:
    for part in leaves:
        if part.get_content_type() == f"text/{subtype}" and part not in files:
            return str(part.get_content()).replace("\r\n", "\n")
    return None


def _is_inline(part: EmailMessage) -> bool:
    return bool(part["Content-ID"]) and part.get_content_disposition() != "attachment"


def _attachments(parts: list[EmailMessage]) -> Iterator[Attachment]:
    for part in parts:
        if not _is_inline(part):
            yield Attachment(part.get_filename("attachment"), part.get_content_type(), _bytes(part))


def _images(parts: list[EmailMessage]) -> Iterator[InlineImage]:
    for part in parts:
        if _is_inline(part):
            content_id = str(part["Content-ID"]).strip().strip("<>")
            name = part.get_filename("image")
            yield InlineImage(name, part.get_content_type(), _bytes(part), content_id)


def _bytes(part: EmailMessage) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""
