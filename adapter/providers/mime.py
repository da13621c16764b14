"""A mail as RFC 5322: mixed, related and alternative parts, as many as it needs, for every provider. Pure.

The parts are written with a short mark in place of each file, and the files' base64 is spliced in when the
bytes are asked for: the standard library would pass each of its lines through several functions.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message, MIMEPart
from email.policy import SMTP, compat32

from pybase64 import b64encode, encodebytes

from adapter.message import Attachment, EmailAddress, InlineImage, OutgoingMessage, SendIds
from adapter.providers.body import base64_length, spliced
from adapter.providers.mime_headers import address_line, own_line, phrases_line, text_line

LINE_CHARACTERS = 76
BLOCK_BYTES = LINE_CHARACTERS // 4 * 3 * 1024
"""A whole number of lines."""

_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class MimeOutput:
    """A mail as RFC 5322. `skeleton` holds one mark, itself in base64, for each of the contents."""

    skeleton: bytes
    contents: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    """Marks as they stand in the skeleton, in its order, and what belongs there."""

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces())

    @property
    def size(self) -> int:
        """Return the length of the whole mail without making it."""
        marks = sum(len(mark) for mark, _ in self.contents)
        return len(self.skeleton) - marks + sum(_lines_length(len(content)) for _, content in self.contents)

    def pieces(self) -> Iterator[bytes | memoryview]:
        """Yield the mail in pieces, files encoded as they are sent."""
        return spliced(self.skeleton, ((mark, base64_lines(content)) for mark, content in self.contents))


def build_mime(message: OutgoingMessage, ids: SendIds) -> MimeOutput:
    """Write the mail. Bcc stands in it: providers that take this form read the recipients from it."""
    marked = [(f"{ids.client_request_id}/{n}".encode(), file) for n, file in enumerate(message.files)]
    count = len(message.attachments)
    attachments, images = marked[:count], marked[count:]
    builder = _Builder(ids.client_request_id)
    body = builder.mixed(builder.related(builder.alternative(message), images), attachments)
    return MimeOutput(
        skeleton=_headers(message, ids).encode("ascii") + body.as_bytes(),
        contents=tuple((b64encode(mark), file.content) for mark, file in (*images, *attachments)),
    )


def _lines_length(count: int) -> int:
    encoded = base64_length(count)
    return encoded + 2 * max(0, (encoded - 1) // LINE_CHARACTERS)


def base64_lines(content: bytes) -> Iterator[bytes]:
    """Yield the base64 in lines, a block at a time; all but the last block end with a line's end."""
    view = memoryview(content)
    for start in range(0, len(content), BLOCK_BYTES):
        lines = encodebytes(view[start : start + BLOCK_BYTES]).replace(b"\n", b"\r\n")
        yield lines if start + BLOCK_BYTES < len(content) else lines[:-2]


def _headers(message: OutgoingMessage, ids: SendIds) -> str:
    lines = (
        address_line("From", [message.from_address] if message.from_address else []),
        address_line("To", message.to),
        address_line("Cc", message.cc),
        address_line("Bcc", message.bcc),
        address_line("Reply-To", message.reply_to),
        text_line("Subject", message.subject),
        f"Message-ID: {ids.internet_message_id}\r\n",
        "MIME-Version: 1.0\r\n",
        *_options(message),
    )
    return "".join(lines)


def _options(message: OutgoingMessage) -> Iterator[str]:
    """Yield the lines of what the mail asks for. Receipts go to the address that it is from."""
    if message.importance != "normal":
        yield text_line("Importance", message.importance)
    if message.categories:
        yield phrases_line("Keywords", message.categories)
    address = message.receipt_address
    if message.read_receipt and address:
        yield address_line("Disposition-Notification-To", [EmailAddress(address)])
    if message.delivery_receipt and address:
        yield address_line("Return-Receipt-To", [EmailAddress(address)])
    for name, value in message.headers:
        yield own_line(name, value)


@dataclass(slots=True)
class _Builder:
    """Makes the parts of one mail; its boundaries hold a `_`, so that no base64 can hold one of them."""

    unique: str
    _boundaries: int = 0

    def alternative(self, message: OutgoingMessage) -> MIMEPart:
        bodies = [
            _text(body, kind)
            for body, kind in ((message.body_text, "plain"), (message.body_html, "html"))
            if body is not None
        ]
        if len(bodies) == 1:
            return bodies[0]
        return self._container("alternative", bodies) if bodies else _text("", "plain")

    def related(self, body: MIMEPart, images: "list[_Marked]") -> MIMEPart:
        parts = [_file(mark, image, "inline") for mark, image in images]
        return self._container("related", [body, *parts]) if parts else body

    def mixed(self, body: MIMEPart, attachments: "list[_Marked]") -> MIMEPart:
        parts = [_file(mark, file, "attachment") for mark, file in attachments]
        return self._container("mixed", [body, *parts]) if parts else body

    def _container(self, subtype: str, parts: list[MIMEPart]) -> MIMEPart:
        self._boundaries += 1
        container = MIMEPart(policy=SMTP)
        container["Content-Type"] = f'multipart/{subtype}; boundary="=_{self.unique}_{self._boundaries}"'
        for part in parts:
            container.attach(part)
        return container


_Marked = tuple[bytes, Attachment | InlineImage]


def _text(body: str, subtype: str) -> MIMEPart:
    """Write a body with the line ends that mail has; the library's own way would add one at its end."""
    part = MIMEPart(policy=SMTP)
    canonical = _LINE_END.sub("\r\n", body).encode()
    part.set_content(canonical, "text", subtype, params={"charset": "utf-8"})
    return part


def _file(mark: bytes, file: Attachment | InlineImage, disposition: str) -> MIMEPart:
    part = MIMEPart(policy=SMTP)
    maintype, subtype, params = _media_type(file.content_type)
    part.set_content(mark, maintype, subtype, disposition=disposition, filename=file.name, params=params)
    if isinstance(file, InlineImage):
        part["Content-ID"] = f"<{file.content_id}>"
    return part


def _media_type(content_type: str) -> tuple[str, str, dict[str, str]]:
    """Split a type from its parameters, such as `method` of a meeting request.

    What is itself a mail or has parts may not be sent in base64 under its own name (RFC 2046, 5.2.1).
    """
    written = Message(policy=compat32)
    written["Content-Type"] = content_type
    maintype, _, subtype = content_type.partition(";")[0].strip().partition("/")
    if maintype.lower() in {"multipart", "message"}:
        return "application", "octet-stream", {}
    params = {
        name: str(value) for name, value in written.get_params([])[1:] if name not in {"name", "boundary"}
    }
    return maintype, subtype, params
