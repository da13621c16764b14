"""What a sign-in yields: tokens as frozen values that never print themselves."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from adapter.signin.settings import ACCESS_MARGIN_S


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token for a mail provider. Times are unix seconds."""

    secret: str = field(repr=False)
    issued_at: float
    expires_at: float
    tenant: str = ""
    """The organisation of the person whose it is; empty for an account of none, and for an app's own."""

    @property
    def cached_for_s(self) -> float:
        """How long it is handed out: till five minutes before its end; a short-lived one, half its life."""
        lifetime_s = self.expires_at - self.issued_at
        return lifetime_s - ACCESS_MARGIN_S if lifetime_s > ACCESS_MARGIN_S else max(lifetime_s / 2, 1.0)

    def is_dying(self, now: float, least_s: float = 30.0) -> bool:
        """Whether it left the cache by age alone and is still good for at least `least_s` seconds."""
        return self.issued_at + self.cached_for_s <= now < self.expires_at - least_s


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What an authorization code was exchanged for, checked; nothing is stored yet."""

    access: AccessToken
    refresh_token: str = field(repr=False)
    account: "Account"
    scopes: tuple[str, ...]

    @property
    def access_token(self) -> str:
        """The access token itself."""
        return self.access.secret

    @property
    def expires_in(self) -> int:
        """Seconds that the access token lives from its issue."""
        return round(self.access.expires_at - self.access.issued_at)


@dataclass(frozen=True, slots=True)
class Account:
    """Who signed in, as the checked id_token says."""

    subject: str
    """The account's id: Entra's `oid`, else `sub`."""
    tenant: str
    """The organisation: Entra's tenant, Google's Workspace domain; empty for an account of none."""
    name: str
    """The mailbox's address, for people; decides nothing."""


@dataclass(frozen=True, slots=True)
class Grant:
    """All that is kept of a linked user."""

    refresh_token: str = field(repr=False)
    access: AccessToken
    account: Account
    scopes: tuple[str, ...]
    linked_at: float
    refreshed_at: float

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name, as JSON has them."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Grant":
        """Read what `as_json` wrote; raises KeyError or TypeError for anything else."""
        return cls(
            refresh_token=value["refresh_token"],
            access=AccessToken(**{"tenant": value["account"]["tenant"], **value["access"]}),
            account=Account(**value["account"]),
            scopes=tuple(value["scopes"]),
            linked_at=value["linked_at"],
            refreshed_at=value["refreshed_at"],
        )


@dataclass(frozen=True, slots=True)
class SignInAttempt:
    """A sign-in that has begun: where the browser goes, and what must stay on the server."""

    url: str = field(repr=False)
    state: str = field(repr=False)
    code_verifier: str = field(repr=False)
    nonce: str = field(repr=False)
    claims: str | None = field(default=None, repr=False)
    """The challenge that it has to satisfy, for the request that redeems the code."""


def lifetime_s_of(value: Any) -> float:
    """Return the seconds that a token lives, as a server says; 0 for what cannot be."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return 0.0
    return seconds if 0 < seconds < 10 * 86_400 else 0.0
