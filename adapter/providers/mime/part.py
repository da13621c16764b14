"""One part of a mail: its type, its name, its bytes, each read or refused with the part's name. Pure.

The standard library finds the parts. A mail attached to a mail is one part to it here, so that its bytes stay
as they are.
"""

import mimetypes
from binascii import Error, a2b_base64
from email import message_from_bytes
from email.message import Message
from email.policy import compat32
from email.utils import collapse_rfc2231_value
from quopri import decodestring
from typing import Any, NoReturn

from adapter.checks.encoded_words import decode_text, decode_words
from adapter.errors import MessageRefusedError

MAX_NESTING = 30
"""Multipart within multipart; the time to read a mail grows with it."""
MAX_HEADER_BYTES = 256 * 1024
"""Of one header; a thousand recipients need half of it."""
MAX_TYPE_BYTES = 8 * 1024
"""Of a `Content-...` header, whose parameters the standard library reads in quadratic time."""

_PLAIN = {"", "7bit", "8bit", "binary"}
_ENDINGS = {"message/rfc822": ".eml", "text/plain": ".txt", "text/calendar": ".ics", "image/jpeg": ".jpg"}


def refuse(problem: str) -> NoReturn:
    """Raise the refusal of a mail that cannot be carried whole."""
    raise MessageRefusedError("INVALID_HEADER", problem, "mime_output")


class Part(Message):
    """A part whose headers are UTF-8; one of type `message/...` is a leaf, its bytes as they are."""

    nesting = 0

    def get_content_type(self) -> str:
        """Return the media type, for a mail within the mail one that the parser does not look into."""
        kind = super().get_content_type()
        return "application/octet-stream" if kind.startswith("message/") else kind

    def get(self, name: str, failobj: Any = None) -> Any:
        """Return the first header of that name, unfolded. Raises MessageRefusedError."""
        return next(iter(header_texts(self, name)), failobj)

    def raw_bytes(self) -> bytes:
        """Return the bytes of a leaf as they are written; the library would decode them by the charset."""
        payload: Any = vars(self)["_payload"]
        return payload.encode("ascii", "surrogateescape") if isinstance(payload, str) else b""

    def attach(self, payload: Any) -> None:
        """Take a part in. Raises MessageRefusedError where it lies too deep."""
        payload.nesting = self.nesting + 1
        if payload.nesting > MAX_NESTING:
            refuse(f"has more than {MAX_NESTING} multiparts within each other")
        super().attach(payload)


def parse(raw: bytes) -> Part:
    """Return the mail as a tree of parts. Raises MessageRefusedError where its structure is broken."""
    mail: Part = message_from_bytes(raw, _class=Part, policy=compat32)  # type: ignore[assignment]
    for part in mail.walk():
        for defect in part.defects:
            refuse(f"{described(part)} is broken ({type(defect).__name__.removesuffix('Defect')})")
    return mail


def header_text(part: Part, name: str) -> str | None:
    """Return a header unfolded, its bytes read as UTF-8, its encoded words as they are; None where missing.

    Raises MessageRefusedError where the header is there twice or is not UTF-8.
    """
    values = header_texts(part, name)
    if len(values) > 1:
        refuse(f"has the header {name} {len(values)} times")
    return values[0] if values else None


def header_texts(part: Part, name: str) -> list[str]:
    """Return every header of that name, unfolded. Raises MessageRefusedError."""
    return [_unfolded(name, str(value)) for key, value in part.raw_items() if key.lower() == name.lower()]


def _unfolded(name: str, value: str) -> str:
    if len(value) > (MAX_TYPE_BYTES if name.lower().startswith("content-") else MAX_HEADER_BYTES):
        refuse(f"the header {name} is too long")
    try:
        text = value.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeDecodeError:
        refuse(f"the header {name} holds bytes that are not UTF-8")
    return text.replace("\r\n", "").replace("\n", "").replace("\r", "")


def type_of(part: Part) -> str:
    """Return the media type in small letters, without parameters."""
    return Message.get_content_type(part)


def full_type(part: Part) -> str:
    """Return the media type with what it says of the content, such as `charset` and `method`."""
    kept = [(key, _value(value)) for key, value in part.get_params([])[1:] if key not in {"name", "boundary"}]
    written = "".join(
        f"; {key}={_quoted(value)}" for key, value in kept if value.isascii() and value.isprintable()
    )
    return type_of(part) + written


def _quoted(value: str) -> str:
    if value and all(character.isalnum() or character in "-._+" for character in value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _value(value: str | tuple[str | None, str | None, str]) -> str:
    return collapse_rfc2231_value(value)


def is_attachment(part: Part) -> bool:
    """Whether a part is marked as an attachment."""
    return part.get_content_disposition() == "attachment"


def content_id(part: Part) -> str:
    """Return a part's content id without brackets; empty for none."""
    return (header_text(part, "Content-ID") or "").strip().removeprefix("<").removesuffix(">")


def file_name(part: Part) -> str:
    """Return the name that the part gives its file; empty where it gives none."""
    found = part.get_param("filename", None, "content-disposition") or part.get_param("name", None)
    return decode_words(_unfolded("filename", _value(found))) if found else ""


def made_up_name(part: Part, number: int) -> str:
    """Return a name for a part without one, by its number and type."""
    kind = type_of(part)
    return f"part-{number}{_ENDINGS.get(kind) or mimetypes.guess_extension(kind) or ''}"


def described(part: Part) -> str:
    """Name the part for a refusal: its type and its file's name."""
    name = file_name(part)
    return f"the part {type_of(part)}" + (f" ({decode_words(name)!r})" if name else "")


def content_of(part: Part) -> bytes:
    """Return the bytes of a leaf. Raises MessageRefusedError where their encoding is unknown or broken."""
    raw = part.raw_bytes()
    encoding = (header_text(part, "Content-Transfer-Encoding") or "").partition(";")[0].strip().lower()
    if encoding in _PLAIN:
        return raw
    if encoding == "quoted-printable":
        return decodestring(raw)
    if encoding != "base64":
        refuse(f"{described(part)} has the unknown transfer encoding {encoding!r}")
    try:
        return a2b_base64(b"".join(raw.split()), strict_mode=True)
    except Error as error:
        refuse(f"{described(part)} is not the base64 that it says ({error})")


def text_of(part: Part) -> str:
    """Return the text of a leaf. Raises MessageRefusedError where it is not in its character set."""
    charset = part.get_param("charset", "") or ""
    name = _value(charset)
    try:
        text = decode_text(content_of(part), name)
    except ValueError:
        refuse(f"{described(part)} is not in the character set {name or 'us-ascii'!r} that it says")
    return text.replace("\r\n", "\n").removeprefix("\ufeff")
