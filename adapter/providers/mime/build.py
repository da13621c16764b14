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

from adapter.message import Attachment, Content, EmailAddress, InlineImage, OutgoingMessage, SendIds
from adapter.providers.body import base64_length, blocks_of, spliced
from adapter.providers.mime.headers import address_line, own_line, phrases_line, text_line

LINE_CHARACTERS = 76
BLOCK_BYTES = LINE_CHARACTERS // 4 * 3 * 1024
"""A whole number of lines."""

_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class MimeOutput:
    """A mail as RFC 5322. `skeleton` holds one mark, itself in base64, for each of the contents."""

    skeleton: bytes
    contents: tuple[tuple[bytes, Content], ...] = field(default=(), repr=False)
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
        skeleton=_headers(message, ids).encode("ascii") + body,
        contents=tuple((b64encode(mark), file.content) for mark, file in (*images, *attachments)),
    )


def _lines_length(count: int) -> int:
    encoded = base64_length(count)
    return encoded + 2 * max(0, (encoded - 1) // LINE_CHARACTERS)


def base64_lines(content: Content) -> Iterator[bytes]:
    """Yield the base64 in lines, a block at a time; all but the last block end with a line's end."""
    left = len(content)
    for block in blocks_of(content, BLOCK_BYTES):
        left -= len(block)
        lines = encodebytes(block).replace(b"\n", b"\r\n")
        yield lines if left else lines[:-2]


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

    def alternative(self, message: OutgoingMessage) -> bytes:
        bodies = [
            _text(body, kind)
            for body, kind in ((message.body_text, "plain"), (message.body_html, "html"))
            if body is not None
        ]
        if len(bodies) == 1:
            return bodies[0]
        return self._container("alternative", bodies) if bodies else _text("", "plain")

    def related(self, body: bytes, images: "list[_Marked]") -> bytes:
        parts = [_file(mark, image, "inline") for mark, image in images]
        return self._container("related", [body, *parts]) if parts else body

    def mixed(self, body: bytes, attachments: "list[_Marked]") -> bytes:
        parts = [_file(mark, file, "attachment") for mark, file in attachments]
        return self._container("mixed", [body, *parts]) if parts else body

    def _container(self, subtype: str, parts: list[bytes]) -> bytes:
        self._boundaries += 1
        boundary = f"=_{self.unique}_{self._boundaries}"
        head = f'Content-Type: multipart/{subtype}; boundary="{boundary}"\r\n\r\n'.encode()
        line = f"--{boundary}".encode()
        return head + b"".join(line + b"\r\n" + part + b"\r\n" for part in parts) + line + b"--\r\n"


_Marked = tuple[bytes, Attachment | InlineImage]

_PLAIN_TYPE = re.compile(
    r"(?!multipart/|message/)[a-z0-9.+-]{1,30}/[a-z0-9.+-]{1,40}", re.IGNORECASE
).fullmatch
_PLAIN_ID = re.compile(r"[!-~]{0,64}").fullmatch
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]{1,34}").fullmatch


def _text(body: str, subtype: str) -> bytes:
    """Write a body with the line ends that mail has."""
    canonical = _LINE_END.sub("\r\n", body).encode()
    head = f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    return head.encode() + b"".join(base64_lines(canonical)) + b"\r\n"


def _file(mark: bytes, file: Attachment | InlineImage, disposition: str) -> bytes:
    return _file_head(file, disposition) + b"\r\n" + b64encode(mark)


def _file_head(file: Attachment | InlineImage, disposition: str) -> bytes:
    """Write what a file is; what is not plain and short the standard library writes (RFC 2231), in a hundred
    times as long.
    """
    cid = f"<{file.content_id}>" if isinstance(file, InlineImage) else ""
    if _PLAIN_TYPE(file.content_type) and _PLAIN_NAME(file.name) and _PLAIN_ID(cid):
        return (
            f"Content-Type: {file.content_type}\r\nContent-Transfer-Encoding: base64\r\n"
            f'Content-Disposition: {disposition}; filename="{file.name}"\r\n'
            + (f"Content-ID: {cid}\r\n" if cid else "")
        ).encode()
    part = MIMEPart(policy=SMTP)
    maintype, subtype, params = _media_type(file.content_type)
    part.set_content(b"", maintype, subtype, disposition=disposition, filename=file.name, params=params)
    if cid:
        part["Content-ID"] = cid
    return part.as_bytes().partition(b"\r\n\r\n")[0] + b"\r\n"


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
