"""Bearer tokens, for both packages: who calls, what the caller may do, and for which users it may send.

The name of a token stands in the records as the actor.
"""

import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache
from hashlib import sha256

UNNAMED = "api"
"""The actor behind a token that was configured without a name."""

_NAME = "[A-Za-z][A-Za-z0-9_.@-]{0,63}"
_ENTRY = re.compile(rf"(?P<name>{_NAME})(?:/(?P<rights>[^:]*))?:(?P<secret>.*)\Z")
_NO_SECRET = re.compile(rf"{_NAME}/(?:send|operate|alert)(?:[+@].*)?\Z")
_HASHED = re.compile(r"sha256:(?P<digest>[0-9a-fA-F]{64})\Z")


class Right(StrEnum):
    """What a token may open: sending and sign-in, operating features, Alertmanager's webhook."""

    SEND = "send"
    OPERATE = "operate"
    ALERT = "alert"


@dataclass(frozen=True, slots=True)
class Denied:
    """Why a call is refused: 401 without a usable token, 403 where the token or the configuration says no."""

    status: int
    detail: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Who brought a token, and what it opens."""

    name: str
    rights: frozenset[Right] = frozenset(Right)
    users: tuple[str, ...] = ("*",)
    """Globs over `user_id`: the users that it may send and sign in for."""

    def refused_for(self, user_id: str) -> Denied | None:
        """Return why the caller may not act for a user; None where it may."""
        if any(fnmatchcase(user_id, pattern) for pattern in self.users):
            return None
        return Denied(403, f"token {self.name!r} may not send for this user_id; it is bound to other users")


CheckCaller = Callable[[str | None, Right], Caller | Denied]
"""Takes the Authorization header and the right that a route asks for, as `Tokens.caller` does."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens that open what changes or sends; without any, nothing is open."""

    known: tuple[tuple[bytes, Caller], ...] = ()
    """(sha256 of the token, whose it is)."""

    @classmethod
    @lru_cache(maxsize=8)
    def parse(cls, text: str) -> "Tokens":
        """Parse ROLLOUT_API_TOKEN: one token, or several separated by commas or line breaks.

        Each is `TOKEN`, `NAME:TOKEN` or `NAME/RIGHTS:TOKEN`, with `sha256:HEX` instead of TOKEN where only
        its hash is to be kept. RIGHTS are `send`, `operate`, `alert`, joined by `+`; without them all.
        `send@GLOB` is bound to the users whose user_id the glob matches. Raises ValueError.
        """
        entries = [entry.strip() for entry in re.split("[,\n]", text) if entry.strip()]
        read = [_read(entry) for entry in entries]
        names = [caller.name for _, caller in read if caller.name != UNNAMED]
        if len(names) != len(set(names)):
            raise ValueError("two tokens have the same name")
        known = tuple(
            (digest, caller)
            for entry, (digest, caller) in zip(entries, read, strict=True)
            for digest in (digest, *_whole(entry))
        )
        if len({digest for digest, _ in known}) != len(known):
            raise ValueError("two tokens have the same secret")
        return cls(known)

    def caller(self, authorization: str | None, right: Right) -> Caller | Denied:
        """Return the caller for an Authorization header, or why a route of this right refuses the call."""
        if not self.known:
            return Denied(403, "no token is configured, so this route is closed; set ROLLOUT_API_TOKEN")
        token = bearer(authorization)
        if not token:
            return Denied(401, "a bearer token is needed: Authorization: Bearer TOKEN")
        caller = self.holder(token)
        if caller is None:
            return Denied(403, "the bearer token is not one of those configured")
        if right not in caller.rights:
            has = ", ".join(sorted(caller.rights))
            return Denied(403, f"token {caller.name!r} has no right to {right}; it has {has}")
        return caller

    def holder(self, token: str) -> Caller | None:
        """Return whose a token is; compares with every one, so that the time taken tells nothing."""
        given = sha256(token.encode("utf-8", "surrogateescape")).digest()
        found = None
        for digest, caller in self.known:
            if hmac.compare_digest(given, digest):
                found = caller
        return found


def bearer(authorization: str | None) -> str:
    """Return the bearer token of an Authorization header; empty where it has none."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def hashed(token: str) -> str:
    """Write a token as ROLLOUT_API_TOKEN may hold it instead: only its hash."""
    return f"sha256:{sha256(token.encode()).hexdigest()}"


def _read(entry: str) -> tuple[bytes, Caller]:
    """Parse one entry into the digest of its secret and its caller."""
    if entry.startswith("sha256:"):
        return _digest(entry), Caller(UNNAMED)
    if _NO_SECRET.match(entry) and ":" not in entry:
        raise ValueError("a token has a name and rights and no secret: NAME/RIGHTS:SECRET")
    match = _ENTRY.match(entry)
    if match is None:
        return _digest(entry), Caller(UNNAMED)
    name, secret = match["name"], match["secret"]
    if secret in {"", "sha256:"}:
        raise ValueError(f"token {name!r} has no secret: NAME:SECRET")
    if match["rights"] is None:
        return _digest(secret), Caller(name)
    rights, users = _rights(match["rights"], name)
    return _digest(secret), Caller(name, rights, users)


def _whole(entry: str) -> Iterable[bytes]:
    """Return the digest of an entry as it is: a plain token may hold a colon, where no rights are named."""
    match = _ENTRY.match(entry)
    plain = match is not None and match["rights"] is None and "sha256:" not in entry
    return [sha256(entry.encode()).digest()] if plain else []


def _digest(secret: str) -> bytes:
    if not secret.startswith("sha256:"):
        return sha256(secret.encode()).digest()
    match = _HASHED.match(secret)
    if match is None:
        raise ValueError("sha256: must be followed by 64 hexadecimal digits")
    return bytes.fromhex(match["digest"])


def _rights(text: str, name: str) -> tuple[frozenset[Right], tuple[str, ...]]:
    """Parse `send@GLOB+operate` into the rights and the globs of users."""
    parts = [part.partition("@") for part in text.split("+")]
    for right, bound, pattern in parts:
        if right not in set(Right) or (bound and (right != Right.SEND or not pattern)):
            raise ValueError(
                f"token {name!r}: rights are send, operate, alert or send@USERS, joined by '+' "
                "(write '?' for a '+' or ':' within USERS)"
            )
    users = tuple(pattern if bound else "*" for right, bound, pattern in parts if right == Right.SEND)
    if "*" in users and len(users) > 1:
        raise ValueError(f"token {name!r}: send is given for some users and for all")
    return frozenset(Right(right) for right, _, _ in parts), users
