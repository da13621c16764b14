"""Where Redis is: the schemes of `redis_url`, and what may stand in it. Connects to nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

SENTINEL, CLUSTER = "redis+sentinel", "redis+cluster"
SCHEMES = ("redis", "rediss", "unix", SENTINEL, CLUSTER)
_DEFAULT_PORTS = {SENTINEL: 26379, CLUSTER: 6379}
_TAG = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_LOGIN_OPTIONS = ("username", "password", "db", "client_name")
_TLS_OPTIONS = ("ca_certs", "ca_path", "certfile", "keyfile", "password", "cert_reqs", "check_hostname")
_OPTIONS = {
    "redis": _LOGIN_OPTIONS,
    "unix": _LOGIN_OPTIONS,
    "rediss": (*_LOGIN_OPTIONS, *(f"ssl_{name}" for name in _TLS_OPTIONS)),
}
"""redis-py takes more from a URL. How long is waited for Redis, and how often, is not left to one."""

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class RedisTarget:
    """A master that moves, and whom to ask where it is."""

    kind: str
    """SENTINEL or CLUSTER."""
    name: str
    """The master's at the sentinels; the hash tag of all keys in a cluster."""
    asked: tuple[Address, ...]
    login: Mapping[str, Any]
    """User, password and number of the database, as redis-py takes them."""

    @property
    def prefix(self) -> str:
        """What every key begins with: in a cluster the hash tag, which puts all of them into one slot."""
        return f"{{{self.name}}}" if self.kind == CLUSTER else ""


def parse_target(url: str) -> RedisTarget | None:
    """Read `redis+sentinel://` and `redis+cluster://`, None for any other.

    Raises ValueError for what no connection can be made from; it shows nothing of the URL.
    """
    kind, _, rest = url.partition("://")
    if kind not in _DEFAULT_PORTS:
        _check(kind, url)
        return None
    # Not urlsplit: Python releases differ in whether brackets may stand anywhere but around a whole host.
    there, _, path = rest.partition("/")
    login, _, hosts = there.rpartition("@")
    username, _, password = map(unquote, login.partition(":"))
    name, _, number = path.strip("/").partition("/")
    if kind == SENTINEL and (not hosts or not name or "?" in name or not (number or "0").isdecimal()):
        raise ValueError(f"must be written as {kind}://HOST:PORT,HOST:PORT/MASTER or .../MASTER/DATABASE")
    if kind == CLUSTER and (not hosts or number or not _TAG.match(name)):
        raise ValueError(
            f"must be written as {kind}://HOST:PORT,HOST:PORT/NAME: every key begins with the hash tag "
            "{NAME}, of letters, digits, dots, hyphens and underscores"
        )
    asked = tuple(_address(host, kind) for host in hosts.split(","))
    user = {name: text for name, text in {"username": username, "password": password}.items() if text}
    return RedisTarget(kind, name, asked, user | ({"db": int(number or 0)} if kind == SENTINEL else {}))


def _check(kind: str, url: str) -> None:
    """Refuse what redis-py would pass over, or fall over only when it connects."""
    if kind not in _OPTIONS:
        return
    try:
        parts = urlsplit(url)
    except ValueError:  # whose words show what stands in the URL
        raise ValueError("is no URL; write signs of a password that mean something in one as %XX") from None
    options = parse_qs(parts.query, keep_blank_values=True)
    if not options.keys() <= set(_OPTIONS[kind]):
        raise ValueError(f"may have no other options than {', '.join(_OPTIONS[kind])}")
    numbers = [*options.get("db", []), parts.path.strip("/") if kind != "unix" else ""]
    if not all((number or "0").isdecimal() for number in numbers):
        raise ValueError("must name its database by a number, as in redis://HOST:PORT/0")


def _address(text: str, kind: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon:
        return text, _DEFAULT_PORTS[kind]
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError("must name hosts as HOST:PORT, separated by commas")
    return host.strip("[]"), int(port)
