"""Where Redis is: the schemes of `redis_url`, and what a Sentinel URL says. Connects to nothing."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

SENTINEL = "redis+sentinel"
SCHEMES = ("redis", "rediss", "unix", SENTINEL)
DEFAULT_PORT = 26379

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Watched:
    """A master, and the sentinels that know where it is."""

    sentinels: tuple[Address, ...]
    master: str


def read_sentinel_url(url: str) -> tuple[Watched, dict[str, Any]]:
    """Give the master of a Sentinel URL, with the user, password and number of its database.

    Raises ValueError.
    """
    # Not urlsplit: Python releases differ in whether brackets may stand anywhere but around a whole host.
    there, _, path = url.removeprefix(f"{SENTINEL}://").partition("/")
    login, _, hosts = there.rpartition("@")
    username, _, password = map(unquote, login.partition(":"))
    master, _, number = path.strip("/").partition("/")
    if not hosts or not master or not (number or "0").isdecimal():
        raise ValueError(f"must be written as {SENTINEL}://HOST:PORT,HOST:PORT/MASTER or .../MASTER/DATABASE")
    sentinels = tuple(_address(host) for host in hosts.split(","))
    place = {"db": int(number or 0)}
    user = {"username": username, "password": password}
    return Watched(sentinels, master), place | {name: text for name, text in user.items() if text}


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon:
        return text, DEFAULT_PORT
    if not host or not port.isdecimal():
        raise ValueError(f"{text!r} is no HOST:PORT of a sentinel")
    return host.strip("[]"), int(port)
