"""The checks of an id_token, which MSAL stopped making in 1.38: by whom it is, for whom, for which sign-in.

The signature is not checked: the token comes straight from the token endpoint over verified TLS, which
OpenID Connect Core 3.1.3.7 accepts in its place.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from adapter.signin.errors import INTERACTION_REQUIRED, SignInError, client_config
from adapter.signin.grant import Account

SKEW_S = 300
"""How far this machine's clock may be off, as Microsoft's own libraries allow."""
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


@dataclass(frozen=True, slots=True)
class Expected:
    """What a genuine id_token says."""

    issuer: str
    """Word for word as the authority's discovery document gives it."""
    client_id: str
    tenant_id: str

    @property
    def tenants(self) -> frozenset[str]:
        """The tenant as configured if that is a GUID; a domain is looked up in the issuer's path."""
        configured = self.tenant_id.lower()
        in_issuer = urlsplit(self.issuer).path.strip("/").split("/")[0].lower()
        return frozenset({configured} if _GUID.match(configured) else {configured, in_issuer})


def check(claims: Any, expected: Expected, now: float, nonce: str | None = None) -> Account:
    """Check decoded claims and tell who signed in; raises SignInError for the first that is wrong."""
    if not isinstance(claims, Mapping):
        raise client_config("The sign-in server's answer holds no id_token")
    for name, good in _verdicts(claims, expected, now).items():
        if not good:
            raise client_config(_refusal(name, claims, now), act=_ACTS[name])
    if nonce is not None and claims.get("nonce") != nonce_claim(nonce):
        raise SignInError(
            INTERACTION_REQUIRED,
            "The id_token is refused: its 'nonce' belongs to another sign-in. Start again with a fresh link.",
        )
    return Account(
        subject=str(claims.get("oid") or claims.get("sub") or ""),
        tenant=str(claims["tid"]),
        name=str(claims.get("email") or claims.get("preferred_username") or ""),
    )


def nonce_claim(nonce: str) -> str:
    """Return the nonce as the id_token carries it: MSAL sends its SHA-256, so that only we know the nonce."""
    return hashlib.sha256(nonce.encode()).hexdigest()


_ACTS = {
    "iss": "Check MS_AUTHORITY and MS_TENANT_ID: the token was issued by somebody else.",
    "aud": "Check MS_CLIENT_ID: the token was issued for another app.",
    "tid": "Check MS_TENANT_ID: the person signed in with an account of another tenant.",
    "exp": "Set the clock of this machine, as with NTP; the app registration is not at fault.",
    "nbf": "Set the clock of this machine, as with NTP; the app registration is not at fault.",
}


def _refusal(name: str, claims: Mapping[str, Any], now: float) -> str:
    """Say why a claim is refused; what looks like a wrong clock is named as one, with by how much."""
    value = claims.get(name)
    if name in {"exp", "nbf"} and isinstance(value, int | float) and math.isfinite(value):
        way = "ahead of" if name == "exp" else "behind"
        return f"This machine's clock is {abs(now - value):.0f} s {way} the sign-in server's '{name}'"
    return f"The id_token is refused: its '{name}' is not the one expected"


def _verdicts(claims: Mapping[str, Any], expected: Expected, now: float) -> dict[str, bool]:
    return {
        "iss": claims.get("iss") == expected.issuer,
        "aud": claims.get("aud") in (expected.client_id, [expected.client_id]),
        "tid": str(claims.get("tid", "")).lower() in expected.tenants,
        "exp": _number(claims.get("exp"), 0.0) > now - SKEW_S,
        "nbf": _number(claims.get("nbf"), now) <= now + SKEW_S,
    }


def _number(value: Any, absent: float) -> float:
    if value is None:
        return absent
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
