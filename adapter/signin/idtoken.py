"""The checks of an id_token: by whom it is, for whom, for which sign-in. MSAL stopped making them in 1.38.

The signature is not checked: the token comes straight from the token endpoint over verified TLS, which
OpenID Connect Core 3.1.3.7 accepts in its place.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from adapter.signin.errors import Failure, Identity, word
from adapter.signin.grant import Account

SKEW_S = 300
"""How far this machine's clock may be off, as Microsoft's own libraries allow."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a genuine id_token says, and where an account stands in it."""

    identity: Identity
    issuers: frozenset[str]
    """Word for word."""
    client_id: str
    organisation_claim: str
    organisations: frozenset[str] | None
    """In small letters; None where a person of any or of none may sign in."""
    acts: Mapping[str, str]
    """What to do about `iss`, `aud` and the organisation's claim, where one is wrong."""
    subject_claims: tuple[str, ...]
    """The first that is there is the account's id."""
    name_of: Callable[[Mapping[str, Any]], str]
    """The address of the mailbox, as far as the token is sure of it."""


def check(claims: Any, expected: Expected, now: float, nonce: str | None = None) -> Account:
    """Check decoded claims and tell who signed in; raises SignInError for the first that is wrong."""
    identity = expected.identity
    if not isinstance(claims, Mapping):
        raise identity.client_config("The sign-in server's answer holds no id_token")
    for name, good in _verdicts(claims, expected, now).items():
        if not good:
            raise identity.client_config(
                _refusal(name, claims, expected, now), act=expected.acts.get(name, _CLOCK)
            )
    if nonce is not None and claims.get("nonce") != nonce_claim(nonce):
        raise identity.error(
            Failure.INTERACTION_REQUIRED,
            "The id_token is refused: its 'nonce' belongs to another sign-in",
            act="Start again with a fresh link.",
        )
    subjects = (claims[name] for name in expected.subject_claims if claims.get(name))
    return Account(
        subject=str(next(subjects, "")),
        tenant=str(claims.get(expected.organisation_claim) or ""),
        name=expected.name_of(claims),
    )


def nonce_claim(nonce: str) -> str:
    """Return the nonce as the id_token carries it: MSAL sends its SHA-256, so that only we know the nonce."""
    return hashlib.sha256(nonce.encode()).hexdigest()


_CLOCK = "Set the clock of this machine, as with NTP; the app registration is not at fault."


def _refusal(name: str, claims: Mapping[str, Any], expected: Expected, now: float) -> str:
    """Say why a claim is refused; what looks like a wrong clock is named as one, with by how much."""
    value = claims.get(name)
    if name == expected.organisation_claim and value:
        domain = word(expected.name_of(claims).rpartition("@")[2])
        told = " ".join(part for part in (word(value), f"({domain})" if domain else "") if part)
        return f"The id_token is refused: its '{name}' is {told}, which is not let in"
    if name in {"exp", "nbf"} and isinstance(value, int | float) and math.isfinite(value):
        way = "ahead of" if name == "exp" else "behind"
        return f"This machine's clock is {abs(now - value):.0f} s {way} the sign-in server's '{name}'"
    return f"The id_token is refused: its '{name}' is not the one expected"


def _verdicts(claims: Mapping[str, Any], expected: Expected, now: float) -> dict[str, bool]:
    return {
        "iss": claims.get("iss") in tuple(expected.issuers),
        "aud": claims.get("aud") in (expected.client_id, [expected.client_id]),
        expected.organisation_claim: expected.organisations is None
        or str(claims.get(expected.organisation_claim, "")).lower() in expected.organisations,
        "exp": _number(claims.get("exp"), 0.0) > now - SKEW_S,
        "nbf": _number(claims.get("nbf"), now) <= now + SKEW_S,
    }


def _number(value: Any, absent: float) -> float:
    if value is None:
        return absent
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
