"""Which names the server answers to: a browser that was lured to a stranger's name is refused.

DNS rebinding needs a name that somebody can register. So addresses, names without a dot and names below the
reserved top levels are answered by default; every other name has to be in `allowed_hosts`.
"""

import re
from collections.abc import Iterable
from ipaddress import ip_address

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]{1,5})?\Z")
_PATTERN = re.compile(r"(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\Z")
_RESERVED = (".localhost", ".local", ".internal", ".test", ".example", ".invalid", ".home.arpa")
"""Below these nobody can register a name (RFC 6761, 6762, 8375; ICANN for `internal`)."""
ANY = "*"


def read_hosts(texts: Iterable[str]) -> tuple[str, ...]:
    """Parse `rollout.example.com`, `*.corp.example.com`; `*` answers to every name. Raises ValueError."""
    hosts = tuple(text.lower() for text in texts)
    for host in hosts:
        if host != ANY and not _PATTERN.match(host):
            raise ValueError(f"has {host!r}, no name of a host as rollout.example.com or *.example.com")
    return hosts


def host_name(header: str) -> str | None:
    """Return the name in a Host header, in small letters and without the port; None for no host at all."""
    match = _HOST.match(header)
    return match["name"].lower().rstrip(".").strip("[]") if match else None


def is_served(name: str, allowed: tuple[str, ...]) -> bool:
    """Whether the server answers to a name."""
    return _is_unregistrable(name) or any(_matches(name, pattern) for pattern in allowed)


def _matches(name: str, pattern: str) -> bool:
    return pattern in {ANY, name} or (pattern.startswith("*.") and name.endswith(pattern[1:]))


def _is_unregistrable(name: str) -> bool:
    return "." not in name or name.endswith(_RESERVED) or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
