"""Mailboxes as people and mails write them (RFC 5322, 3.4), read strictly or refused with the text. Pure.

The standard library guesses where a text is outside the grammar, and its versions guess differently: with it
`bob@old.example <bob@corp.example>` reached bob@old.example, and the second of two mailboxes was dropped.
The time is linear in the length, and nothing nests in the reader.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from adapter.checks.encoded_words import decode_words
from adapter.errors import MessageRefusedError
from adapter.message import EmailAddress

SHOWN_CHARACTERS = 80
"""Of a text that is refused; longer ones are cut."""

_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n]+)"""
    r"""|(?P<quoted>"(?:[^"\\]|\\.)*")"""
    r"""|(?P<comment>\()"""
    r"""|(?P<special>[<>@,:;.])"""
    r"""|(?P<atom>[^\x00-\x20\x7f()<>@,:;.\[\]"\\]+)""",
    re.DOTALL,
)
_IN_COMMENT = re.compile(r"[^()\\]+|\\.|[()]", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class _Token(NamedTuple):
    kind: str
    text: str

    def is_special(self, character: str) -> bool:
        return self.kind == "special" and self.text == character


def parse_mailbox(text: str, field: str) -> EmailAddress:
    """Return the one mailbox of `a@b.com`, `Ann <a@b.com>` or `"Doe, Ann" <a@b.com>`.

    Raises MessageRefusedError where the text is anything else, two mailboxes or a group included.
    """
    found = parse_mailbox_list(text, field)
    if len(found) != 1 or any(
        token.kind == "special" and token.text in ",:;" for token in _tokens(text, field)
    ):
        raise _refused(f"names {len(found)} mailboxes; give exactly one, each in its own place", text, field)
    return found[0]


def parse_mailbox_list(text: str, field: str) -> tuple[EmailAddress, ...]:
    """Return every mailbox of a header such as To, those in groups too. Raises MessageRefusedError."""
    return tuple(_mailbox(part, text, field) for part in _parts(list(_tokens(text, field)), text, field))


def _refused(problem: str, text: str, field: str) -> MessageRefusedError:
    shown = "".join(character if character.isprintable() else "?" for character in text[:SHOWN_CHARACTERS])
    return MessageRefusedError(
        "INVALID_RECIPIENT", f"{shown!r}{'...' if len(text) > SHOWN_CHARACTERS else ''} {problem}", field
    )


def _tokens(text: str, field: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _refused(f"cannot be read from position {at}: write Name <user@domain>", text, field)
        kind, at = str(match.lastgroup), match.end()
        if kind == "comment":
            end = _comment_end(text, at)
            if end is None:
                raise _refused("has a comment without an end", text, field)
            yield _Token(kind, text[at : end - 1])
            at = end
        else:
            yield _Token(kind, match[0])


def _comment_end(text: str, at: int) -> int | None:
    depth = 1
    while match := _IN_COMMENT.match(text, at):
        at = match.end()
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            return at
    return None


def _parts(tokens: list[_Token], text: str, field: str) -> Iterator[list[_Token]]:
    """Cut the list at its commas and take groups apart; an empty element names nobody."""
    part: list[_Token] = []
    in_group = in_angle = False
    for token in tokens:
        in_angle = token.is_special("<") or (in_angle and not token.is_special(">"))
        ends = not in_angle and token.kind == "special" and token.text in ",:;"
        if not ends:
            part.append(token)
            continue
        if token.text == ":":
            if in_group or not _is_phrase(part):
                raise _refused("has a colon that begins no group", text, field)
            in_group = True
        elif token.text == ";" and not in_group:
            raise _refused("has a semicolon; mailboxes are separated by commas", text, field)
        else:
            in_group = in_group and token.text != ";"
            yield from [part] if _says_something(part) else []
        part = []
    if in_group:
        raise _refused("has a group without its semicolon", text, field)
    yield from [part] if _says_something(part) else []


def _says_something(part: list[_Token]) -> bool:
    return any(token.kind not in {"blank", "comment"} for token in part)


def _is_phrase(part: list[_Token]) -> bool:
    """Whether these tokens may be a name: words, and the dots that old mails have in names."""
    return all(token.kind != "special" or token.text == "." for token in part) and any(
        token.kind in {"atom", "quoted"} for token in part
    )


def _mailbox(part: list[_Token], text: str, field: str) -> EmailAddress:
    opening = next((n for n, token in enumerate(part) if token.is_special("<")), None)
    if opening is None:
        comments = [token.text for token in part if token.kind == "comment" and "(" not in token.text]
        return EmailAddress(_address(part, text, field), _decoded(" ".join(comments)))
    closing = next((n for n, token in enumerate(part) if token.is_special(">")), None)
    if closing is None or closing < opening or _says_something(part[closing + 1 :]):
        raise _refused("has angle brackets that do not end the mailbox", text, field)
    if _says_something(part[:opening]) and not _is_phrase(part[:opening]):
        raise _refused("has a name that must stand in quotes, or two addresses", text, field)
    return EmailAddress(_address(part[opening + 1 : closing], text, field), _name(part[:opening]))


def _address(part: list[_Token], text: str, field: str) -> str:
    """Join `local@domain`. What they may hold is checked later, for every mail in the same way."""
    while part and part[0].kind in {"blank", "comment"}:
        part = part[1:]
    while part and part[-1].kind in {"blank", "comment"}:
        part = part[:-1]
    ats = [n for n, token in enumerate(part) if token.is_special("@")]
    if len(ats) != 1 or not _is_dotted(part[: ats[0]], {"atom", "quoted"}):
        raise _refused("is no single address: write user@domain or Name <user@domain>", text, field)
    if not _is_dotted(part[ats[0] + 1 :], {"atom"}):
        raise _refused("has an address whose domain cannot be read", text, field)
    return "".join(token.text for token in part)


def _is_dotted(part: list[_Token], kinds: set[str]) -> bool:
    words, dots = part[::2], part[1::2]
    return (
        len(part) % 2 == 1
        and all(token.kind in kinds for token in words)
        and all(token.is_special(".") for token in dots)
    )


def _name(part: list[_Token]) -> str | None:
    return _decoded("".join(_shown(token) for token in part))


def _shown(token: _Token) -> str:
    if token.kind == "quoted":
        return _ESCAPED.sub(r"\1", token.text[1:-1])
    return " " if token.kind in {"blank", "comment"} else token.text


def _decoded(text: str) -> str | None:
    return decode_words(" ".join(text.split())) or None
