"""Whose mailboxes an app may send from where nobody signs in: only those that are listed. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from adapter.errors import MessageRefusedError
from adapter.gate.domains import normal_domain
from adapter.message import OutgoingMessage

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LOCAL = re.compile(r"\*|[a-z0-9.!#$%&'*+/?^_`{|}~-]{1,64}")


@dataclass(frozen=True, slots=True)
class AppMailboxes:
    """Who may send from which mailboxes, all in one spelling."""

    by_user: Mapping[str, tuple[str, ...]]
    """By a user's id; the first one sends unless told otherwise."""
    own: frozenset[str]
    """Addresses, object ids and `*@DOMAIN`: whoever has such an id sends from the mailbox of that name."""

    @classmethod
    def parse(cls, text: str) -> "AppMailboxes":
        """Read entries between commas: `USER=MAILBOX`, `MAILBOX` or `*@DOMAIN`. Raises ValueError."""
        pairs = [_pair(entry.strip()) for entry in text.split(",") if entry.strip()]
        if not pairs:
            raise ValueError("names no mailbox")
        by_user: dict[str, tuple[str, ...]] = {}
        for user, mailbox in pairs:
            by_user[user] = (*by_user.get(user, ()), mailbox)
        return cls(by_user, frozenset(by_user.pop("", ())))

    @property
    def listed(self) -> tuple[str, ...]:
        """Return all addresses, object ids and `*@DOMAIN`."""
        return (*(one for mailboxes in self.by_user.values() for one in mailboxes), *sorted(self.own))

    @property
    def domains(self) -> tuple[str, ...]:
        """Return the domains that are sent from, each once."""
        return tuple(dict.fromkeys(one.rpartition("@")[2] for one in self.listed if "@" in one))

    def has(self, mailbox: str) -> bool:
        """Whether anybody may send from a mailbox."""
        own = _normal(mailbox) or ""
        return not own.startswith("*") and not {own, _whole_domain(own)}.isdisjoint(self.listed)

    def of(self, user_id: str, sender: str | None = None) -> str | None:
        """Return the mailbox that a user sends from; None where none is listed, or not the one asked for."""
        listed = list(self.by_user.get(user_id, ()))
        own = _normal(user_id) or ""
        if not own.startswith("*") and {own, _whole_domain(own)} & self.own:
            listed.append(own)
        wanted = listed[:1] if sender is None else [one for one in listed if one == _normal(sender)]
        return wanted[0] if wanted else None


def placed(message: OutgoingMessage, user_id: str, listed: AppMailboxes | None) -> OutgoingMessage:
    """Return the message with the mailbox that sends it; raises MessageRefusedError for one not listed."""
    if listed is None:
        return message
    mailbox = listed.of(user_id, message.sender)
    if mailbox is None:
        raise MessageRefusedError(
            "MAILBOX_NOT_ALLOWED",
            "MS_APP_MAILBOXES does not let this user send from "
            + ("this mailbox" if message.sender else "any mailbox"),
            "sender" if message.sender else "user_id",
        )
    return replace(message, sender=mailbox)


def _pair(entry: str) -> tuple[str, str]:
    user, _, written = entry.rpartition("=")
    mailbox = _normal(written)
    if mailbox is None or (mailbox.startswith("*@") and user):
        raise ValueError(
            f"has {entry!r}; write ann@corp.example, USER=ann@corp.example or *@corp.example, with commas"
        )
    return user.strip(), mailbox


def _whole_domain(mailbox: str) -> str:
    return f"*@{mailbox.rpartition('@')[2]}"


def _normal(written: object) -> str | None:
    """Return an address or an object id in the one form that is compared; None for anything else."""
    text = written.strip().lower() if isinstance(written, str) else ""
    if _ID.fullmatch(text):
        return text
    local, _, domain = text.rpartition("@")
    known = normal_domain(domain) if _LOCAL.fullmatch(local) else None
    return f"{local}@{known}" if known else None
