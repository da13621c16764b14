"""Where Redis is: the schemes of `redis_url`, and what may be in it. Connects to nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

SENTINEL, CLUSTER = "sentinel", "cluster"
_MOVING = {f"{scheme}+{kind}": kind for scheme in ("redis", "rediss") for kind in (SENTINEL, CLUSTER)}
SCHEMES = ("redis", "rediss", "unix", *_MOVING)
_DEFAULT_PORTS = {SENTINEL: 26379, CLUSTER: 6379}
_TAG = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_LOGIN_OPTIONS = ("username", "password", "db", "client_name")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_TLS_OPTIONS = tuple(
    f"ssl_{name}"
    for name in ("ca_certs", "ca_path", "certfile", "keyfile", "password", "cert_reqs", "check_hostname")
)
_OPTIONS = {
    "redis": _LOGIN_OPTIONS,
    "unix": _LOGIN_OPTIONS,
    "rediss": (*_LOGIN_OPTIONS, *_TLS_OPTIONS),
    "redis+sentinel": _SENTINEL_OPTIONS,
    "rediss+sentinel": (*_SENTINEL_OPTIONS, *_TLS_OPTIONS),
    "redis+cluster": (),
    "rediss+cluster": _TLS_OPTIONS,
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
    login: Mapping[str, Any] = field(default_factory=dict)
    """User, password and number of the database, as redis-py takes them."""
    asked_login: Mapping[str, Any] = field(default_factory=dict)
    """User and password at those who are asked."""
    tls: Mapping[str, Any] | None = None
    """Options of TLS, as redis-py takes them, for those who are asked and for the master; None without."""

    @property
    def prefix(self) -> str:
        """What every key begins with: in a cluster the hash tag, which puts all of them into one slot."""
        return f"{{{self.name}}}" if self.kind == CLUSTER else ""


def parse_target(url: str) -> RedisTarget | None:
    """Parse `redis+sentinel://` and `redis+cluster://`, with rediss for TLS; None for any other scheme.

    Raises ValueError for what no connection can be made from; it shows nothing of the URL.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in _MOVING:
        _check(scheme, url)
        return None
    # Not urlsplit: Python releases differ in whether brackets may stand anywhere but around a whole host.
    there, _, path = rest.partition("/")
    login, _, hosts = there.rpartition("@")
    path, _, query = path.partition("?")
    name, _, number = path.strip("/").partition("/")
    kind = _MOVING[scheme]
    _check_place(scheme, hosts, name, number)
    options = _options(scheme, query)
    user = _user(*map(unquote, login.partition(":")[::2]))
    return RedisTarget(
        kind,
        name,
        asked=tuple(_address(host, kind) for host in hosts.split(",")),
        login=user | ({"db": int(number or 0)} if kind == SENTINEL else {}),
        asked_login=_user(*map(options.get, _SENTINEL_OPTIONS)) if kind == SENTINEL else user,
        tls=_tls(options) if scheme.startswith("rediss") else None,
    )


def _check_place(scheme: str, hosts: str, name: str, number: str) -> None:
    if _MOVING[scheme] == SENTINEL and (not hosts or not name or not _is_number(number)):
        raise ValueError(f"must be written as {scheme}://HOST:PORT,HOST:PORT/MASTER or .../MASTER/DATABASE")
    if _MOVING[scheme] == CLUSTER and (not hosts or number or not _TAG.match(name)):
        raise ValueError(
            f"must be written as {scheme}://HOST:PORT,HOST:PORT/NAME: every key begins with the hash tag "
            "{NAME}, of letters, digits, dots, hyphens and underscores"
        )


def _options(scheme: str, query: str) -> dict[str, str]:
    """Return the options of a URL; raises ValueError for one that redis-py would pass over."""
    options = {name: texts[-1] for name, texts in parse_qs(query, keep_blank_values=True).items()}
    if not options.keys() <= set(_OPTIONS[scheme]):
        allowed = ", ".join(_OPTIONS[scheme])
        raise ValueError(f"may have no other options than {allowed}" if allowed else "may have no options")
    return options


def _tls(options: Mapping[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {name: text for name, text in options.items() if name in _TLS_OPTIONS}
    if "ssl_check_hostname" in given:
        given["ssl_check_hostname"] = given["ssl_check_hostname"].lower() not in {"false", "no", "0"}
    return given


def _user(username: str | None, password: str | None) -> dict[str, Any]:
    return {name: text for name, text in {"username": username, "password": password}.items() if text}


def _check(scheme: str, url: str) -> None:
    """Refuse what redis-py would pass over, or fall over only when it connects."""
    if scheme not in _OPTIONS:
        return
    try:
        parts = urlsplit(url)
    except ValueError:  # whose words show what stands in the URL
        raise ValueError("is no URL; write signs of a password that mean something in one as %XX") from None
    options = _options(scheme, parts.query)
    numbers = [options.get("db", ""), parts.path.strip("/") if scheme != "unix" else ""]
    if not all(_is_number(number) for number in numbers):
        raise ValueError("must name its database by a number, as in redis://HOST:PORT/0")


def _is_number(text: str) -> bool:
    return not text or (text.isascii() and text.isdecimal())


def _address(text: str, kind: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon:
        return text, _DEFAULT_PORTS[kind]
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError("must name hosts as HOST:PORT, separated by commas")
    return host.strip("[]"), int(port)
