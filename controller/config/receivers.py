"""Receivers: who is notified of what, from the [notify.NAME] tables, each mistake refused with its place."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

from controller.shared.config_file import ConfigError, Table
from controller.shared.value_readers import Reader, checked_text, from_file, http_url, one_of, text, texts

KINDS = ("webhook", "slack", "teams", "email")
EVENTS = (
    *("step_up", "pause", "step_back", "external_change"),
    *("resume", "set", "open", "close", "enable", "disable", "approve", "long_hold", "leader"),
)
"""What may be notified: the kinds of decision but `hold`, a hold that lasts too long, a change of leader."""
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
    """What it is notified of."""
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


def parse_receivers(table: Table) -> tuple[Receiver, ...]:
    """Make receivers of the tables below `notify`; raises ConfigError with the line of the first mistake."""
    if not isinstance(table.values, Mapping):
        raise ConfigError(f"{table.source}: notify must be tables, as in [notify.ops]")
    return tuple(
        _receiver(name, Table(f"notify.{name}", values, table.text, table.source))
        for name, values in table.values.items()
    )


def _receiver(name: str, table: Table) -> Receiver:
    given = table.read(_READERS, _SECRETS)
    if "kind" not in given:
        raise table.mistake("", f"needs a kind: one of {', '.join(KINDS)}")
    given = {key.removesuffix("_file"): value for key, value in given.items()}
    needed = ("to", "user_id") if given["kind"] == "email" else ("url",)
    if not all(given.get(key) for key in needed):
        raise table.mistake("kind", f"a receiver of kind {given['kind']} needs {' and '.join(needed)}")
    if given.get("secret") and given["kind"] != "webhook":
        raise table.mistake("secret", "only a webhook is signed; leave secret out")
    return Receiver(name=name, **given)


def _template(template: str) -> None:
    try:
        words = {word for _, word, spec, _ in Formatter().parse(template) if word is not None or spec}
    except ValueError as error:
        raise ValueError(f"cannot be read: {error}") from error
    unknown = {word or "{}" for word in words} - WORDS
    if unknown:
        raise ValueError(f"has the unknown {', '.join(sorted(unknown))}; known: {', '.join(sorted(WORDS))}")


_SECRETS = {"url", "secret"}
_READERS: dict[str, Reader[Any]] = {
    "kind": one_of(*KINDS),
    "url": http_url,
    "url_file": from_file(http_url),
    "secret": text(),
    "secret_file": from_file(text()),
    "on": texts(*EVENTS),
    "features": texts(),
    "template": checked_text(_template),
    "link": http_url,
    "to": texts(),
    "user_id": text(),
}
