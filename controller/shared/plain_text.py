"""Text from outside, made harmless: where it comes in, and where it goes out to a terminal. Pure.

A reason, a name, an alert's summary may hold half an emoji, a byte of another encoding, or codes that steer
a terminal or turn the direction of a line. Such text is kept as far as it can be read, never obeyed.
"""

import unicodedata

LONGEST_TEXT = 500
"""Characters of a reason, and of a sentence that a machine sends."""
LONGEST_NAME = 100

_JOINERS = {"\N{ZERO WIDTH JOINER}", "\N{ZERO WIDTH NON-JOINER}"}
"""They print nothing themselves, but emoji and several scripts are written with them."""
_UNREADABLE = "\N{REPLACEMENT CHARACTER}"


def read_line(text: str, what: str = "reason") -> str:
    """Return what a person gave as one clean line without blanks around it.

    Raises ValueError, with what to do, where it is empty, longer than LONGEST_TEXT or has line breaks. What
    cannot be printed is replaced and not refused: a pause must not fail because of a stray byte.
    """
    line = text.strip()
    if not line:
        raise ValueError(f"{what} must say why it is done; it is kept in the history")
    if text.splitlines() != [text]:
        raise ValueError(f"{what} must be one line, without line breaks")
    if len(line) > LONGEST_TEXT:
        raise ValueError(f"{what} has {len(line)} characters; {LONGEST_TEXT} are the most")
    return clean(line)


def fit_line(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return what a machine gave (an alert, an environment) as one clean line, cut where it is too long."""
    line = clean(" ".join(text.split()))
    return line if len(line) <= longest else f"{line[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"


def clean(text: str) -> str:
    """Return text in which every character prints: blanks become spaces, any other U+FFFD."""
    if text.isprintable():
        return text
    return "".join(char if _prints(char) else " " if char.isspace() else _UNREADABLE for char in text)


def escape_controls(text: str, keep: str = "") -> str:
    r"""Return text for a terminal: what does not print is escaped as in JSON (\u001b); `keep` stays."""
    if text.isprintable():
        return text
    return "".join(char if _prints(char) or char in keep else _escaped(char) for char in text)


def _prints(char: str) -> bool:
    return char.isprintable() or char in _JOINERS


def _escaped(char: str) -> str:
    if unicodedata.category(char) == "Zs":
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
