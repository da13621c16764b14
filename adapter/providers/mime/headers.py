"""Header lines of a mail in ASCII (RFC 5322, RFC 2047), folded. Pure.

The standard library folds too, but its versions differ in how they quote a name that holds both a comma and
an umlaut, and there a wrong quote is another recipient. These lines are short enough to be read and proved.
"""

import base64
import re
from collections.abc import Iterable, Iterator

from adapter.message import EmailAddress

PLAIN_CHARACTERS = 60
"""Longer texts are written as encoded words, which may be folded anywhere."""
WORD_BYTES = 42
"""Of UTF-8 in one encoded word, so that no line is longer than 78 characters."""

_PLAIN = re.compile(r"[ !-~]*\Z")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+\Z")


def text_line(name: str, text: str) -> str:
    """Return a header line with its text encoded."""
    return f"{name}: {_words(text)}\r\n"


def phrases_line(name: str, phrases: Iterable[str]) -> str:
    """Write a list of words or sayings, each quoted or encoded by itself."""
    written = ",\r\n ".join(_phrase(phrase) for phrase in phrases)
    return f"{name}: {written}\r\n"


def own_line(name: str, text: str) -> str:
    """Write a header of the caller's own: in ASCII as it stands, because encoded words would change a URL."""
    return f"{name}: {text if text.isascii() else _encoded(text)}\r\n"


def address_line(name: str, addresses: Iterable[EmailAddress]) -> str:
    """Write one header; an empty one is left out, because it may not be sent."""
    written = ",\r\n ".join(_address(address) for address in addresses)
    return f"{name}: {written}\r\n" if written else ""


def _address(given: EmailAddress) -> str:
    return f"{_phrase(given.name)}\r\n <{given.address}>" if given.name else f"<{given.address}>"


def _phrase(name: str) -> str:
    if not _is_plain(name):
        return _encoded(name)
    if _ATOMS.match(name):
        return name
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _words(text: str) -> str:
    return text if _is_plain(text) else _encoded(text)


def _is_plain(text: str) -> bool:
    """Whether it can stand as it is: no encoded word in it, nor blanks that unfolding would change."""
    return (
        len(text) <= PLAIN_CHARACTERS
        and _PLAIN.match(text) is not None
        and "=?" not in text
        and text == " ".join(text.split())
    )


def _encoded(text: str) -> str:
    words = (f"=?utf-8?b?{base64.b64encode(chunk).decode()}?=" for chunk in _chunks(text))
    return "\r\n ".join(words)


def _chunks(text: str) -> Iterator[bytes]:
    """Cut the UTF-8 between characters: each encoded word must be whole by itself."""
    chunk = b""
    for character in text:
        encoded = character.encode()
        if len(chunk) + len(encoded) > WORD_BYTES:
            yield chunk
            chunk = b""
        chunk += encoded
    if chunk:
        yield chunk
