"""What can go wrong with signing in: Entra's and MSAL's answers become five codes, each with what to do.

Nothing of an answer is passed on but short codes: descriptions may name people, and bodies may hold tokens.
"""

import re
from collections.abc import Mapping
from typing import Any

from adapter.errors import AuthError, Code, Source, code_table

EXPIRED = "MS_AUTH_EXPIRED"
INTERACTION_REQUIRED = "MS_AUTH_INTERACTION_REQUIRED"
CLIENT_CONFIG = "MS_AUTH_CLIENT_CONFIG"
UNAVAILABLE = "MS_AUTH_UNAVAILABLE"
INSUFFICIENT_PERMS = "MS_AUTH_INSUFFICIENT_PERMS"

AUTH_CODES: dict[str, Code] = code_table(
    Code(EXPIRED, Source.AUTH, 401, "The sign-in is no longer valid; the person signs in again."),
    Code(INTERACTION_REQUIRED, Source.AUTH, 409, "Microsoft wants the person: sign in, consent or confirm."),
    Code(CLIENT_CONFIG, Source.AUTH, 502, "The app registration, a setting, a key or the clock is wrong."),
    Code(UNAVAILABLE, Source.AUTH, 502, "Tokens cannot be had for the moment; it heals by itself."),
    Code(INSUFFICIENT_PERMS, Source.AUTH, 502, "A permission is missing; an administrator grants it."),
)

LINK = "run 'rollout auth link USER' and open the link it prints"

ACTIONS: dict[str, str] = {
    EXPIRED: f"Sign in again: {LINK}.",
    INTERACTION_REQUIRED: f"Sign in and accept what Microsoft asks: {LINK}.",
    CLIENT_CONFIG: "Check the app registration against docs/MS-OAUTH-SETUP-GUIDE.md, then try again.",
    UNAVAILABLE: "Wait a moment and try again; nothing needs to be changed.",
    INSUFFICIENT_PERMS: "Ask an administrator to grant Mail.Send to the app (API permissions, Grant admin "
    f"consent); then {LINK}.",
}
"""What to do about each code, in a sentence that may stand on a page."""


class SignInError(AuthError):
    """No token for this user: why, as one of five codes, and what to do. Never holds a token."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retry_after_s: float | None = None,
        provider_code: str = "",
        claims: str | None = None,
        correlation_id: str = "",
        source: Source = Source.AUTH,
    ) -> None:
        super().__init__(
            code,
            message,
            source=source,
            provider="microsoft",
            retry_after_s=retry_after_s,
            provider_code=provider_code,
            request_id=correlation_id,
        )
        self.claims = claims
        """The claims challenge that the next sign-in must carry, when Entra gave one."""

    @property
    def action(self) -> str:
        """What a person does about it."""
        return ACTIONS[self.code]


_NEEDS_PERSON = {
    "basic_action",
    "additional_action",
    "message_only",
    "consent_required",
    "user_password_expired",
}
"""Sub-errors of invalid_grant that only a person can satisfy (Entra's classification)."""

_BY_NUMBER: dict[int, tuple[str, str]] = {
    50020: (INTERACTION_REQUIRED, "the account belongs to another organisation"),
    50034: (INTERACTION_REQUIRED, "the account does not exist in this tenant, or no longer"),
    50055: (INTERACTION_REQUIRED, "the password has expired"),
    50072: (INTERACTION_REQUIRED, "the person must enrol in multi-factor authentication"),
    50074: (INTERACTION_REQUIRED, "multi-factor authentication is required"),
    50076: (INTERACTION_REQUIRED, "multi-factor authentication is required"),
    50079: (INTERACTION_REQUIRED, "the person must enrol in multi-factor authentication"),
    50158: (INTERACTION_REQUIRED, "a further check outside Microsoft is required"),
    53000: (INTERACTION_REQUIRED, "the device is not compliant"),
    53003: (INTERACTION_REQUIRED, "a conditional access policy blocks this sign-in"),
    65001: (INTERACTION_REQUIRED, "the person has not consented to the app"),
    65004: (INTERACTION_REQUIRED, "the person declined the consent"),
    50057: (EXPIRED, "the account is disabled"),
    50173: (EXPIRED, "the sign-in was revoked, as after a change of password"),
    54005: (EXPIRED, "the code was already redeemed"),
    70000: (EXPIRED, "the grant is not valid"),
    70008: (EXPIRED, "the code or the refresh token has expired"),
    700082: (EXPIRED, "the refresh token expired because it was not used"),
    530034: (INTERACTION_REQUIRED, "the account is blocked as a risk by its home organisation"),
    700084: (
        CLIENT_CONFIG,
        "the redirect URI is a single-page app's, whose sign-ins end in a day",
    ),
    650057: (CLIENT_CONFIG, "the app registration does not list the permission Mail.Send"),
    50011: (CLIENT_CONFIG, "the redirect URI is not registered for the app"),
    90002: (CLIENT_CONFIG, "the tenant does not exist"),
    501481: (CLIENT_CONFIG, "the code verifier does not match"),
    700016: (CLIENT_CONFIG, "the app is not known in this tenant"),
    7000215: (CLIENT_CONFIG, "the client secret is wrong"),
    7000222: (CLIENT_CONFIG, "the client secret has expired"),
    9002313: (CLIENT_CONFIG, "the request was malformed"),
    50105: (INSUFFICIENT_PERMS, "the person is not assigned to the app"),
    90093: (INSUFFICIENT_PERMS, "the consent needs an administrator"),
    90094: (INSUFFICIENT_PERMS, "the consent needs an administrator"),
    90095: (INSUFFICIENT_PERMS, "the consent needs an administrator"),
    50196: (UNAVAILABLE, "Microsoft saw a loop of requests and pauses this client"),
    90033: (UNAVAILABLE, "Microsoft's sign-in has a transient fault"),
}
"""AADSTS numbers, which say more than the OAuth error they come with."""

_ACTS: dict[int, str] = {
    50020: f"Sign in with an account of this organisation, or have yours invited as a guest: {LINK}.",
    50034: f"Sign in with an account that this organisation has: {LINK}.",
    530034: "An administrator of the account's home organisation has to clear the risk first. Another "
    f"account works at once: {LINK}.",
    650057: "An operator adds Microsoft Graph's delegated permission Mail.Send to the app (part 2 of "
    "docs/MS-OAUTH-SETUP-GUIDE.md) and grants consent.",
    700084: "An operator registers the redirect URI under Web instead of Single-page application (part 3 of "
    f"docs/MS-OAUTH-SETUP-GUIDE.md); then {LINK}.",
}
"""What to do where the number says more than its code."""

_BY_ERROR: dict[str, tuple[str, str]] = {
    "invalid_grant": (EXPIRED, "the code or the refresh token is no longer valid"),
    "interaction_required": (INTERACTION_REQUIRED, "Microsoft wants the person to act"),
    "login_required": (INTERACTION_REQUIRED, "Microsoft wants the person to sign in"),
    "consent_required": (INTERACTION_REQUIRED, "the person has not consented to the app"),
    "access_denied": (INTERACTION_REQUIRED, "the sign-in was cancelled or the consent declined"),
    "invalid_client": (CLIENT_CONFIG, "the client id or the client secret is wrong"),
    "unauthorized_client": (CLIENT_CONFIG, "the app may not use this kind of sign-in"),
    "invalid_request": (CLIENT_CONFIG, "the request was malformed"),
    "invalid_scope": (CLIENT_CONFIG, "a permission asked for does not exist"),
    "invalid_resource": (CLIENT_CONFIG, "Microsoft Graph is not available in this tenant"),
    "unsupported_grant_type": (CLIENT_CONFIG, "the server does not know this kind of request"),
    "temporarily_unavailable": (UNAVAILABLE, "Microsoft's sign-in is not available"),
    "server_error": (UNAVAILABLE, "Microsoft's sign-in failed"),
}

_NUMBER = re.compile(r"AADSTS([0-9]{4,8})")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")


def from_reply(reply: Mapping[str, Any]) -> SignInError:
    """Read an OAuth error answer: the AADSTS number first, then the sub-error, then the error."""
    error = _word(reply.get("error"))
    suberror = _word(reply.get("suberror"))
    number = _number(reply)
    code, why = _meaning(error, suberror, number)
    claims = reply.get("claims")
    return SignInError(
        code,
        f"Microsoft refused: {why}. {_ACTS.get(number or 0, ACTIONS[code])}",
        provider_code="/".join(
            part for part in (error, suberror, f"AADSTS{number}" if number else "") if part
        ),
        claims=claims if isinstance(claims, str) else None,
        correlation_id=_word(reply.get("correlation_id")),
    )


def _meaning(error: str, suberror: str, number: int | None) -> tuple[str, str]:
    if number in _BY_NUMBER:
        return _BY_NUMBER[number]
    if suberror in _NEEDS_PERSON:
        return INTERACTION_REQUIRED, "the person has to sign in or to consent"
    return _BY_ERROR.get(error, (CLIENT_CONFIG, "the answer is not one that this version knows"))


def _number(reply: Mapping[str, Any]) -> int | None:
    listed = reply.get("error_codes")
    numbers = [n for n in listed if isinstance(n, int)] if isinstance(listed, list) else []
    if numbers:
        return numbers[0]
    found = _NUMBER.search(str(reply.get("error_description", "")))
    return int(found[1]) if found else None


def _word(value: Any) -> str:
    """Pass a short machine word on, and nothing else: what a server sends may be anything."""
    return value if isinstance(value, str) and _WORD.match(value) else ""


def unavailable(why: str, retry_after_s: float | None = None) -> SignInError:
    """Return the error for what recovers by itself."""
    return SignInError(UNAVAILABLE, f"{why}. {ACTIONS[UNAVAILABLE]}", retry_after_s=retry_after_s)


def client_config(why: str, *, act: str = "") -> SignInError:
    """Return the error for a wrong configuration, with what to do."""
    return SignInError(CLIENT_CONFIG, f"{why}. {act or ACTIONS[CLIENT_CONFIG]}")


def not_linked() -> SignInError:
    """Return the error of a user who never signed in: the caller's, because no provider has failed."""
    return SignInError(
        INTERACTION_REQUIRED,
        f"No mailbox is linked for this user. {ACTIONS[INTERACTION_REQUIRED]}",
        source=Source.CALLER,
    )
