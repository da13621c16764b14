"""Which recipients are internal: the domain of an address in one spelling, against a list. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@([^@\s]{1,253})\Z")
"""One plain address. Anything else (a list, a display name, quotes, a blank) is not taken apart here:
guessing where its domain is would be guessing who gets the mail."""

_HOST = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z"
)


def normal_domain(text: str) -> str | None:
    """Return a domain in lower-case ASCII (`xn--` where needed) without a last dot; None when it is none."""
    ascii_text = text.lower() if text.isascii() else _to_ascii(text)
    domain = ascii_text.removesuffix(".")
    return domain if _HOST.match(domain) else None


class Addressed(Protocol):
    """A value with an address, such as EmailAddress."""

    @property
    def address(self) -> str:
        """The bare address."""


Recipient = str | Addressed


def recipient_domain(recipient: Recipient) -> str | None:
    """Return the domain of one recipient in its normal form; None when the address cannot be understood."""
    address = recipient if isinstance(recipient, str) else getattr(recipient, "address", None)
    match = _ADDRESS.match(address) if isinstance(address, str) else None
    return normal_domain(match[1]) if match else None


@lru_cache(maxsize=1024)
def _to_ascii(text: str) -> str:
    """Map capitals, wide letters and the other dots of Unicode (UTS 46) and write the rest as `xn--`."""
    import idna  # noqa: PLC0415 (its tables are large, and most domains are ASCII)

    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except idna.IDNAError:
        return ""


@dataclass(frozen=True, slots=True)
class InternalDomains:
    """The domains that are ours: exact ones, and those whose sub-domains are meant."""

    exact: frozenset[str] = frozenset()
    parents: tuple[str, ...] = ()
    """With their leading dot."""

    @classmethod
    def parse(cls, entries: Iterable[str]) -> "InternalDomains":
        """Read entries: `corp.example` is that domain alone, `.corp.example` what lies below it.

        `*.corp.example` says the same as `.corp.example`.
        Raises ValueError naming the first entry that is no domain.
        """
        exact, parents = set(), []
        for entry in filter(None, (entry.strip() for entry in entries)):
            name = entry.removeprefix("*").removeprefix(".")
            domain = normal_domain(name)
            if domain is None:
                raise ValueError(
                    f"INTERNAL_DOMAINS: {entry!r} is no domain; write corp.example, or .corp.example for "
                    "all that lies below it"
                )
            if name != entry:
                parents.append(f".{domain}")
            else:
                exact.add(domain)
        return cls(frozenset(exact), tuple(parents))

    def has(self, recipient: Recipient) -> bool:
        """Whether the recipient is internal; one that cannot be understood is not."""
        domain = recipient_domain(recipient)
        return domain is not None and (domain in self.exact or domain.endswith(self.parents))


NO_DOMAINS = InternalDomains()
