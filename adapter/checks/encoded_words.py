"""Text out of bytes: encoded words of headers (RFC 2047), and the character sets that mails name. Pure.

Character sets have the meaning that the web gives their names (WHATWG Encoding): mails that say gb2312 hold
gbk, mails that say iso-8859-1 hold windows-1252.
"""

import re
from binascii import Error, a2b_base64, a2b_qp
from itertools import groupby

import webencodings

_WORD = re.compile(r"=\?([^?*\s]+)(?:\*[^?\s]*)?\?([bq])\?([^?]*)\?=", re.IGNORECASE)
_RUN = re.compile(rf"{_WORD.pattern}(?:[ \t\r\n]*{_WORD.pattern})*", re.IGNORECASE)
"""Encoded words with nothing but blanks between them: those blanks say nothing (RFC 2047, 6.2)."""


def decode_text(content: bytes, charset: str) -> str:
    """Return the text of bytes in a named character set. Raises ValueError where they are not in it.

    No name, or us-ascii, also takes UTF-8: bytes above 127 that are valid UTF-8 are nothing else in practice.
    """
    if charset.strip().lower() in {"", "us-ascii", "ascii", "utf-8", "utf8", "unknown-8bit"}:
        return content.decode("utf-8")
    encoding = webencodings.lookup(charset.strip())
    if encoding is None or encoding.name in {"replacement", "x-user-defined"}:
        raise ValueError(f"unknown character set {charset!r}")
    return str(encoding.codec_info.decode(content, "strict")[0])


def decode_words(text: str) -> str:
    """Return the text with its encoded words decoded; one that cannot be is left as it is written."""
    return _RUN.sub(_decoded_run, text) if "=?" in text else text


def _decoded_run(run: re.Match[str]) -> str:
    """Decode words of one character set together: some programs cut a character in two."""
    words = [(m[1].lower(), m[2].lower(), m[3]) for m in _WORD.finditer(run[0])]
    try:
        return "".join(
            decode_text(b"".join(_word_bytes(kind, written) for _, kind, written in group), charset)
            for charset, group in groupby(words, key=lambda word: word[0])
        )
    except (ValueError, Error):
        return run[0]


def _word_bytes(kind: str, written: str) -> bytes:
    if kind == "b":
        return a2b_base64(written + "=" * (-len(written) % 4), strict_mode=True)
    return a2b_qp(written.encode("ascii", "strict"), header=True)
