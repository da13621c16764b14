"""Who calls: bearer tokens, each with a name that stands in the records as the actor."""

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

UNNAMED = "api"
"""The actor behind a token that was configured without a name."""

_ENTRY = re.compile(r"(?:(?P<name>[A-Za-z][A-Za-z0-9_.@-]{0,63}):)?(?P<secret>.+)\Z")
_HASHED = re.compile(r"sha256:(?P<digest>[0-9a-fA-F]{64})\Z")


@dataclass(frozen=True, slots=True)
class Denied:
    """Why a call is refused: 401 without a usable token, 403 where the token or the configuration says no."""

    status: int
    detail: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens that open what changes or sends; without any, nothing is open."""

    digests: tuple[tuple[str, bytes], ...] = ()
    """(name, sha256 of the token)."""

    @classmethod
    def parse(cls, text: str) -> "Tokens":
        """Read ROLLOUT_API_TOKEN: one token, or several separated by commas.

        Each is `TOKEN`, `NAME:TOKEN`, `sha256:HEX` or `NAME:sha256:HEX`. Raises ValueError for a hash that
        is none, and for a name given twice.
        """
        entries = [entry.strip() for entry in text.split(",") if entry.strip()]
        digests = tuple(pair for entry in entries for pair in _read(entry))
        names = [entry.partition(":")[0] for entry in entries if ":" in entry]
        if len(names) != len(set(names)):
            raise ValueError("two tokens have the same name")
        return cls(digests)

    def caller(self, authorization: str | None) -> str | Denied:
        """Return the caller's name for an Authorization header, or why the call is refused."""
        if not self.digests:
            return Denied(403, "no token is configured, so this route is closed; set ROLLOUT_API_TOKEN")
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return Denied(401, "a bearer token is needed: Authorization: Bearer TOKEN")
        name = _matching(self.digests, token.strip())
        return name or Denied(403, "the bearer token is not one of those configured")


def hashed(token: str) -> str:
    """Write a token as ROLLOUT_API_TOKEN may hold it instead: only its hash."""
    return f"sha256:{sha256(token.encode()).hexdigest()}"


def _read(entry: str) -> Iterable[tuple[str, bytes]]:
    """Return the name and the digest of an entry; a plain token that holds a colon works as a whole."""
    if entry.startswith("sha256:"):
        return [(UNNAMED, _digest(entry))]
    match = _ENTRY.match(entry)
    if match is None or match["name"] is None:
        return [(UNNAMED, sha256(entry.encode()).digest())]
    if match["secret"].startswith("sha256:"):
        return [(match["name"], _digest(match["secret"]))]
    plain = (match["secret"], entry)
    return [(match["name"], sha256(text.encode()).digest()) for text in plain]


def _digest(text: str) -> bytes:
    match = _HASHED.match(text)
    if match is None:
        raise ValueError("sha256: must be followed by 64 hexadecimal digits")
    return bytes.fromhex(match["digest"])


def _matching(digests: Iterable[tuple[str, bytes]], token: str) -> str:
    """Compare with every token, whichever matches, so that the time taken tells nothing."""
    given = sha256(token.encode()).digest()
    found = ""
    for name, digest in digests:
        if hmac.compare_digest(given, digest):
            found = name
    return found
