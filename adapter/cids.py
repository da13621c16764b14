"""Which content ids an HTML body shows, found by a parser. Pure.

A search for `src="cid:` finds about a quarter of what mail clients show and takes comments for pictures.
"""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import unquote

URL_ATTRIBUTES = frozenset(
    {"src", "background", "href", "xlink:href", "poster", "data", "lowsrc", "dynsrc", "longdesc"}
)
LIST_ATTRIBUTES = frozenset({"srcset", "imagesrcset"})
NOT_SHOWN = frozenset({"script", "textarea", "title", "template", "xmp"})
"""What lies in these elements is text, or never shown."""

MAX_CONDITIONS = 4
"""Depth of conditional comments within each other."""

_HINT = re.compile(r"c[\t\r\n]*i[\t\r\n]*d|&#|\\", re.IGNORECASE)
"""Without any of these no content id can be written, and most mails need no parsing."""

_CONDITION = re.compile(r"\s*\[if[^\]]*\]>(.*?)(?:<!\[endif\]|\Z)", re.IGNORECASE | re.DOTALL)
_CSS_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_CSS_URL = re.compile(
    r"""url\(\s*(?:"([^"]*)"|'([^']*)'|([^)'"\s]*))\s*\)|@import\s+(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE
)
_CSS_ESCAPE = re.compile(r"\\(?:([0-9a-fA-F]{1,6})[ \t\r\n\f]?|(.))", re.DOTALL)
_CANDIDATES = re.compile(r"\s+|,(?=\s*cid:)", re.IGNORECASE)


def shown_cids(html: str) -> frozenset[str]:
    """Give the content ids that the HTML refers to, percent-decoded."""
    return frozenset(_shown(html, MAX_CONDITIONS)) if _HINT.search(html) else frozenset()


def _shown(html: str, depth: int) -> set[str]:
    parser = _Parser(depth)
    parser.feed(html)
    parser.close()
    return parser.found


class _Parser(HTMLParser):
    """Collects content ids; Outlook also shows what lies in comments that begin with `[if`."""

    def __init__(self, depth: int) -> None:
        super().__init__(convert_charrefs=True)
        self.found: set[str] = set()
        self._depth = depth
        self._hidden: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "style":
            self._in_style = True
        if not self._hidden and tag != "script":
            for name, value in attrs:
                self.found.update(_of_attribute(name, value or ""))
        if tag in NOT_SHOWN:
            self._hidden.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Read `<path/>`; in HTML the slash closes only what is empty anyway."""
        self.handle_starttag(tag, attrs)
        if tag not in NOT_SHOWN:
            return
        self._hidden.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag == "style":
            self._in_style = False
        if tag in self._hidden:
            while self._hidden.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._in_style and not self._hidden:
            self.found.update(_of_css(data))

    def handle_comment(self, data: str) -> None:
        condition = _CONDITION.match(data)
        if condition and self._depth and not self._hidden:
            self.found |= _shown(condition[1], self._depth - 1)

    def unknown_decl(self, data: str) -> None:
        """Pass over `<![if ...]>`, which the base class may refuse."""


def _of_attribute(name: str, value: str) -> Iterator[str]:
    if name in URL_ATTRIBUTES:
        yield from _of_url(value)
    elif name in LIST_ATTRIBUTES:
        for candidate in _CANDIDATES.split(value):
            yield from _of_url(candidate.strip(","))
    elif name == "style":
        yield from _of_css(value)


def _of_css(css: str) -> Iterator[str]:
    for groups in _CSS_URL.findall(_CSS_ESCAPE.sub(_unescaped, _CSS_COMMENT.sub("", css))):
        yield from _of_url("".join(groups))


def _unescaped(escape: re.Match[str]) -> str:
    if escape[2] is not None:
        return escape[2]
    code = int(escape[1], 16)
    return chr(code) if 0 < code < 0x110000 else "\ufffd"


def _of_url(url: str) -> Iterator[str]:
    """Read a URL as browsers do: blanks around it and line breaks within do not count."""
    plain = re.sub(r"[\t\r\n]", "", url).strip()
    if plain[:4].lower() == "cid:":
        yield unquote(plain[4:])
