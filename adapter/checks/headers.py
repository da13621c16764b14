"""Text that becomes part of a mail's header: what must not be in it. Pure."""

import re

from adapter.errors import MessageRefusedError

FORBIDDEN = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Line breaks of every kind, other control characters but the tab, and halves of characters."""

BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Marks that change the direction of text: with them a name can be shown as another."""

_CONTENT_TYPE = re.compile(
    r"[!#$&^_.+\-0-9A-Za-z]{1,127}/[!#$&^_.+\-0-9A-Za-z]{1,127}([ \t]*;[\x20-\x7e\t]*)?\Z"
)

MAX_HEADER_CHARACTERS = 10_000
DEFAULT_CONTENT_TYPE = "application/octet-stream"


def check_header(text: object, field: str) -> str:
    """Return the text back; raises MessageRefusedError where it could end its header or hide in it."""
    if not isinstance(text, str):
        raise MessageRefusedError("INVALID_HEADER", "this is not text", field)
    if len(text) > MAX_HEADER_CHARACTERS:
        raise MessageRefusedError(
            "INVALID_HEADER", f"longer than {MAX_HEADER_CHARACTERS} characters; shorten it", field
        )
    found = FORBIDDEN.search(text)
    if found:
        raise MessageRefusedError(
            "INVALID_HEADER",
            f"holds U+{ord(found[0]):04X} at position {found.start()}; line breaks and control characters "
            "are not allowed here",
            field,
        )
    return text


def check_content_type(text: str, field: str) -> str:
    """Return a media type as it may be sent; none given means a file of any kind."""
    if not text:
        return DEFAULT_CONTENT_TYPE
    if not _CONTENT_TYPE.match(check_header(text, field)):
        raise MessageRefusedError("INVALID_HEADER", "a content type is written as in image/png", field)
    return text


def without_bidi(text: str) -> str:
    """Return a text without the characters that turn its direction."""
    return BIDI.sub("", text)


def whole_characters(text: str) -> str:
    """Replace halves of characters, which no encoding can carry."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
