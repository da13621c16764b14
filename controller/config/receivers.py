"""Receivers: who is told of what, from the [notify.NAME] tables, each mistake refused with its place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import Any
from urllib.parse import urlsplit

from controller.features import ConfigError, line_of

KINDS = ("webhook", "slack", "teams", "email")
EVENTS = (
    *("step_up", "pause", "step_back", "external_change"),
    *("resume", "set", "enable", "disable", "approve", "long_hold", "leader"),
)
"""What may be told: the kinds of decision but `hold`, a hold that lasts too long, and a change of leader."""
TEMPLATE = "{feature}: {what} at {percent} %. {detail}"
WORDS = {"feature", "what", "percent", "detail", "actor", "note", "reason", "at", "id", "link"}


@dataclass(frozen=True, slots=True)
class Receiver:
    """One place that notices go to."""

    name: str
    kind: str
    """What it takes."""
    url: str = field(default="", repr=False)
    """Where notices are posted to."""
    secret: str = field(default="", repr=False)
    """Signs a webhook's body: HMAC with SHA-256."""
    on: tuple[str, ...] = EVENTS
    """What it is told of."""
    features: tuple[str, ...] = ()
    """Only these; all of them when empty."""
    template: str = TEMPLATE
    """The sentence, with words in braces."""
    link: str = ""
    """The address of the status page, as the reader reaches it."""
    to: tuple[str, ...] = field(default=(), repr=False)
    """The addresses of an email."""
    user_id: str = field(default="", repr=False)
    """From whose mailbox an email goes out."""


class _KeyError(ValueError):
    """A mistake at one key of a table."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def parse_receivers(tables: Any, *, text: str = "", source: str = "notify") -> tuple[Receiver, ...]:
    """Make receivers of the tables below `notify`; raises ConfigError with the line of the first mistake."""
    if not isinstance(tables, Mapping):
        raise ConfigError(f"{source}: notify must be tables, as in [notify.ops]")
    found = []
    for name, table in tables.items():
        try:
            found.append(_receiver(str(name), table))
        except _KeyError as mistake:
            line = line_of(text, f"notify.{name}", mistake.key)
            raise ConfigError(f"{source}:{line}: [notify.{name}] {mistake}") from mistake
    return tuple(found)


def _receiver(name: str, table: Any) -> Receiver:
    if not isinstance(table, Mapping):
        raise _KeyError("", 'must be a table, as in [notify.ops] kind = "slack", url_file = "..."')
    for key in table:
        if key not in _READERS:
            raise _KeyError(key, f"unknown key '{key}'; known are {', '.join(sorted(_READERS))}")
    given = {}
    for key, value in table.items():
        given[key.removesuffix("_file")] = _READERS[key](key, value)
    if "kind" not in given:
        raise _KeyError("", f"needs a kind: one of {', '.join(KINDS)}")
    _check(given)
    return Receiver(name=name, **given)


def _check(given: Mapping[str, Any]) -> None:
    email = given["kind"] == "email"
    needed = ("to", "user_id") if email else ("url",)
    for key in needed:
        if not given.get(key):
            raise _KeyError("kind", f"a receiver of kind {given['kind']} needs {' and '.join(needed)}")
    if given.get("secret") and given["kind"] != "webhook":
        raise _KeyError("secret", "only a webhook is signed; leave secret out")


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _KeyError(key, f"{key} must be a text")
    return value.strip()


def _url(key: str, value: Any) -> str:
    url = _text(key, value)
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).netloc:
        raise _KeyError(key, f"{key} must be a URL that begins with https:// or http://")
    return url


def _from_file(reader: Callable[[str, Any], str]) -> Callable[[str, Any], str]:
    def read(key: str, value: Any) -> str:
        try:
            return reader(key, Path(_text(key, value)).read_text(encoding="utf-8"))
        except OSError as error:
            raise _KeyError(key, f"{key}: {value} cannot be read ({error.strerror})") from error

    return read


def _kind(key: str, value: Any) -> str:
    if value not in KINDS:
        raise _KeyError(key, f"{key} = {value!r} is not one of {', '.join(KINDS)}")
    return str(value)


def _texts(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(one, str) and one for one in value):
        raise _KeyError(key, f"{key} must be a list of texts")
    return tuple(value)


def _events(key: str, value: Any) -> tuple[str, ...]:
    for event in (events := _texts(key, value)):
        if event not in EVENTS:
            raise _KeyError(key, f"{event!r} is not one of {', '.join(EVENTS)}")
    return events


def _template(key: str, value: Any) -> str:
    template = _text(key, value)
    try:
        words = {word for _, word, spec, _ in Formatter().parse(template) if word is not None or spec}
    except ValueError as error:
        raise _KeyError(key, f"{key} cannot be read: {error}") from error
    unknown = {word or "{}" for word in words} - WORDS
    if unknown:
        raise _KeyError(
            key, f"{key}: unknown {', '.join(sorted(unknown))}; known: {', '.join(sorted(WORDS))}"
        )
    return template


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "kind": _kind,
    "url": _url,
    "url_file": _from_file(_url),
    "secret": _text,
    "secret_file": _from_file(_text),
    "on": _events,
    "features": _texts,
    "template": _template,
    "link": _url,
    "to": _texts,
    "user_id": _text,
}
