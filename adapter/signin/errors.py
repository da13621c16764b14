"""What can go wrong with signing in: five failures, each with a code of the provider's and with what to do.

Nothing of a server's answer is passed on but short codes: descriptions may name people, bodies hold tokens.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from adapter.errors import AuthError, Code, Source, code_table


class Failure(StrEnum):
    """Why there is no token."""

    EXPIRED = "EXPIRED"
    INTERACTION_REQUIRED = "INTERACTION_REQUIRED"
    CLIENT_CONFIG = "CLIENT_CONFIG"
    UNAVAILABLE = "UNAVAILABLE"
    INSUFFICIENT_PERMS = "INSUFFICIENT_PERMS"


@dataclass(frozen=True)
class Identity:
    """Whose accounts people sign in with: the names and the words that belong to them."""

    provider: str
    title: str
    prefix: str
    """Of codes and variables."""
    guide: str
    grant: str
    """Who grants the right to send, and how: the begin of a sentence."""
    refresh_ttl_s: int
    """How long the provider keeps a refresh token that is not used."""
    sealed_as: str = ""
    """Stands before the kinds of sealed values, so that no token opens as another provider's."""
    moved_from: str = "another user"
    """Where sealed values may come from that do not open."""
    keys_back: str = "the key"
    """What opens them again."""
    options: str = ""
    """Of `rollout auth`, for what it is not by itself."""
    codes: dict[str, Code] = field(init=False)

    def __post_init__(self) -> None:
        said = {
            Failure.EXPIRED: (401, "The sign-in is no longer valid; the person signs in again."),
            Failure.INTERACTION_REQUIRED: (
                409,
                f"{self.title} wants the person: sign in, consent or confirm.",
            ),
            Failure.CLIENT_CONFIG: (502, "The app registration, a setting, a key or the clock is wrong."),
            Failure.UNAVAILABLE: (502, "Tokens cannot be had for the moment; it heals by itself."),
            Failure.INSUFFICIENT_PERMS: (502, "A permission is missing; an administrator grants it."),
        }
        codes = [Code(self.code(failure), Source.AUTH, *told) for failure, told in said.items()]
        object.__setattr__(self, "codes", code_table(*codes))

    def code(self, failure: Failure) -> str:
        """Return the code of a failure."""
        return f"{self.prefix}_AUTH_{failure}"

    @property
    def path(self) -> str:
        """Return where the routes of signing in are."""
        return f"/oauth/{self.provider}"

    def metric(self, name: str) -> str:
        """Return the name of a metric of signing in."""
        return f"{self.prefix.lower()}_token_{name}"

    @property
    def link(self) -> str:
        """Say how a person gets a link to sign in with."""
        return f"run 'rollout auth link USER{self.options}' and open the link it prints"

    def act(self, failure: Failure) -> str:
        """Say what to do about a failure, in a sentence that may stand on a page."""
        return {
            Failure.EXPIRED: f"Sign in again: {self.link}.",
            Failure.INTERACTION_REQUIRED: f"Sign in and accept what {self.title} asks: {self.link}.",
            Failure.CLIENT_CONFIG: f"Check the app registration against {self.guide}, then try again.",
            Failure.UNAVAILABLE: "Wait a moment and try again; nothing needs to be changed.",
            Failure.INSUFFICIENT_PERMS: f"{self.grant}; then {self.link}.",
        }[failure]

    def error(self, failure: Failure, why: str, *, act: str = "", **facts: Any) -> "SignInError":
        """Return the error for a failure, with what to do; `why` has no full stop."""
        return SignInError(self, failure, f"{why}. {act or self.act(failure)}", **facts)

    def unavailable(self, why: str, retry_after_s: float | None = None) -> "SignInError":
        """Return the error for what recovers by itself."""
        return self.error(Failure.UNAVAILABLE, why, retry_after_s=retry_after_s)

    def client_config(self, why: str, *, act: str = "") -> "SignInError":
        """Return the error for a wrong configuration, with what to do."""
        return self.error(Failure.CLIENT_CONFIG, why, act=act)

    def not_linked(self) -> "SignInError":
        """Return the error of a user who never signed in: the caller's, because no provider has failed."""
        why = "No mailbox is linked for this user"
        return self.error(Failure.INTERACTION_REQUIRED, why, source=Source.CALLER)


class SignInError(AuthError):
    """No token for this user: why, as one of five codes, and what to do. Never holds a token."""

    def __init__(
        self,
        identity: Identity,
        failure: Failure,
        message: str,
        *,
        retry_after_s: float | None = None,
        provider_code: str = "",
        claims: str | None = None,
        correlation_id: str = "",
        source: Source = Source.AUTH,
    ) -> None:
        super().__init__(
            identity.code(failure),
            message,
            source=source,
            provider=identity.provider,
            retry_after_s=retry_after_s,
            provider_code=provider_code,
            request_id=correlation_id,
        )
        self.failure = failure
        self.http = identity.codes[self.code].http
        self.action = identity.act(failure)
        """What a person does about it."""
        self.claims = claims
        """The claims challenge that the next sign-in must carry, when Entra gave one."""


def word(value: Any) -> str:
    """Return a short machine word, and nothing for any other text: what a server sends may be anything."""
    return value if isinstance(value, str) and _WORD.match(value) else ""


def refused(
    identity: Identity,
    reply: Mapping[str, Any],
    meaning: tuple[Failure, str],
    act: str = "",
    *,
    more: str = "",
) -> SignInError:
    """Return the error for an OAuth error answer; `more` is a code that says more than its `error`."""
    failure, why = meaning
    claims = reply.get("claims")
    parts = (word(reply.get("error")), word(reply.get("suberror") or reply.get("error_subtype")), more)
    return identity.error(
        failure,
        f"{identity.title} refused: {why}",
        act=act,
        provider_code="/".join(part for part in parts if part),
        claims=claims if isinstance(claims, str) else None,
        correlation_id=word(reply.get("correlation_id")),
    )


_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
