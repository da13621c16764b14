"""Whose mailboxes an app may send from where nobody signs in: only those that are listed. Pure."""

import re
from dataclasses import dataclass, replace

from adapter.errors import MessageRefusedError
from adapter.gate.domains import normal_domain
from adapter.message import OutgoingMessage

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LOCAL = re.compile(r"\*|[a-z0-9.!#$%&'*+/?^_`{|}~-]{1,64}")


@dataclass(frozen=True, slots=True)
class AppMailboxes:
    """Pairs of a user's id and a mailbox; the first of a user is the one that sends unless told otherwise.

    An empty user stands for whoever has the mailbox's address, or its object id, as id.
    """

    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> "AppMailboxes":
        """Read entries between commas: `USER=MAILBOX`, `MAILBOX` or `*@DOMAIN`. Raises ValueError."""
        entries = [entry.strip() for entry in text.split(",") if entry.strip()]
        if not entries:
            raise ValueError("names no mailbox")
        return cls(tuple(_pair(entry) for entry in entries))

    @property
    def domains(self) -> tuple[str, ...]:
        """Return the domains that are sent from, each once."""
        found = (mailbox.rpartition("@")[2] for _, mailbox in self.pairs if "@" in mailbox)
        return tuple(dict.fromkeys(found))

    def of(self, user_id: str, sender: str | None = None) -> str | None:
        """Return the mailbox that a user sends from; None where none is listed, or not the one asked for."""
        listed = [mailbox for user, mailbox in self.pairs if user == user_id and user]
        own = _normal(user_id) or ""
        if not own.startswith("*") and {("", own), ("", f"*@{own.rpartition('@')[2]}")} & {*self.pairs}:
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


def _normal(written: object) -> str | None:
    """Return an address or an object id in the one form that is compared; None for anything else."""
    text = written.strip().lower() if isinstance(written, str) else ""
    if _ID.fullmatch(text):
        return text
    local, _, domain = text.rpartition("@")
    known = normal_domain(domain) if _LOCAL.fullmatch(local) else None
    return f"{local}@{known}" if known else None
