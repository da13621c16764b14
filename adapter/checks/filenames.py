"""File names that are safe wherever the recipient saves them. Pure."""

import re
import unicodedata

from adapter.checks.headers import BIDI

MAX_NAME_BYTES = 255
MAX_ENDING_BYTES = 32
FALLBACK = "attachment"

_HARMFUL = re.compile('[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff<>:"|?*]')
"""Control characters, halves of characters, and what Windows does not take in a name."""

_RESERVED = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|clock\$|com[0-9\u00b9\u00b2\u00b3]|lpt[0-9\u00b9\u00b2\u00b3])",
    re.IGNORECASE,
)
"""Names that are devices on Windows, whatever their ending."""


def safe_name(name: str) -> str:
    """Return the last part of a path without what could do harm; its ending is kept when it is cut."""
    normal = unicodedata.normalize("NFC", name)
    last = re.split(r"[/\\\u2044\u2215\u29f5\uff0f\uff3c]", normal)[-1]
    cleaned = _HARMFUL.sub("", BIDI.sub("", last)).strip(". \t\u00a0\u3000")
    if _RESERVED.fullmatch(cleaned.partition(".")[0].strip()):
        cleaned = f"_{cleaned}"
    return _cut(cleaned) or FALLBACK


def _cut(name: str) -> str:
    """Cut to MAX_NAME_BYTES of UTF-8, from the middle, so that the ending stays."""
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    stem, dot, ending = name.rpartition(".")
    kept = dot + ending if stem and len(ending.encode()) < MAX_ENDING_BYTES else ""
    room = MAX_NAME_BYTES - len(kept.encode())
    whole = (stem if kept else name).encode()[:room].decode(errors="ignore")
    return whole.rstrip(". ") + kept
