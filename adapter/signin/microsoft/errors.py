"""What Entra's and MSAL's answers mean."""

import re
from collections.abc import Mapping
from typing import Any

from adapter.signin.errors import Failure, Identity, SignInError, refused, word

MICROSOFT = Identity(
    provider="microsoft",
    title="Microsoft",
    prefix="MS",
    guide="docs/MS-OAUTH-SETUP-GUIDE.md",
    grant="Ask an administrator to grant Mail.Send to the app (API permissions, Grant admin consent)",
    refresh_ttl_s=90 * 86_400,
    moved_from="another user or another MS_CLOUD",
    keys_back="the key or MS_CLOUD",
)
"""Entra drops a refresh token that was not used for 90 days."""

_NEEDS_PERSON = {
    "basic_action",
    "additional_action",
    "message_only",
    "consent_required",
    "user_password_expired",
}
"""Sub-errors of invalid_grant that only a person can satisfy (Entra's classification)."""

_BY_NUMBER: dict[int, tuple[Failure, str]] = {
    50020: (Failure.INTERACTION_REQUIRED, "the account belongs to another organisation"),
    50034: (Failure.INTERACTION_REQUIRED, "the account does not exist in this tenant, or no longer"),
    50055: (Failure.INTERACTION_REQUIRED, "the password has expired"),
    50072: (Failure.INTERACTION_REQUIRED, "the person must enrol in multi-factor authentication"),
    50074: (Failure.INTERACTION_REQUIRED, "multi-factor authentication is required"),
    50076: (Failure.INTERACTION_REQUIRED, "multi-factor authentication is required"),
    50079: (Failure.INTERACTION_REQUIRED, "the person must enrol in multi-factor authentication"),
    50158: (Failure.INTERACTION_REQUIRED, "a further check outside Microsoft is required"),
    53000: (Failure.INTERACTION_REQUIRED, "the device is not compliant"),
    53003: (Failure.INTERACTION_REQUIRED, "a conditional access policy blocks this sign-in"),
    65001: (Failure.INTERACTION_REQUIRED, "the person has not consented to the app"),
    65004: (Failure.INTERACTION_REQUIRED, "the person declined the consent"),
    50057: (Failure.EXPIRED, "the account is disabled"),
    50173: (Failure.EXPIRED, "the sign-in was revoked, as after a change of password"),
    54005: (Failure.EXPIRED, "the code was already redeemed"),
    70000: (Failure.EXPIRED, "the grant is not valid"),
    70008: (Failure.EXPIRED, "the code or the refresh token has expired"),
    700082: (Failure.EXPIRED, "the refresh token expired because it was not used"),
    530034: (Failure.INTERACTION_REQUIRED, "the account is blocked as a risk by its home organisation"),
    700084: (
        Failure.CLIENT_CONFIG,
        "the redirect URI is a single-page app's, whose sign-ins end in a day",
    ),
    650057: (Failure.CLIENT_CONFIG, "the app registration does not list the permission Mail.Send"),
    50011: (Failure.CLIENT_CONFIG, "the redirect URI is not registered for the app"),
    90002: (Failure.CLIENT_CONFIG, "the tenant does not exist"),
    501481: (Failure.CLIENT_CONFIG, "the code verifier does not match"),
    700016: (Failure.CLIENT_CONFIG, "the app is not known in this tenant"),
    7000215: (Failure.CLIENT_CONFIG, "the client secret is wrong"),
    7000222: (Failure.CLIENT_CONFIG, "the client secret has expired"),
    700027: (Failure.CLIENT_CONFIG, "the certificate is not the one registered for the app"),
    700024: (Failure.CLIENT_CONFIG, "the app's signature is not valid at this time, as by a wrong clock"),
    700030: (Failure.CLIENT_CONFIG, "the certificate is not valid"),
    70021: (Failure.CLIENT_CONFIG, "no federated credential of the app fits the token"),
    700211: (Failure.CLIENT_CONFIG, "no federated credential of the app has the token's issuer"),
    700212: (Failure.CLIENT_CONFIG, "no federated credential of the app has the token's audience"),
    700213: (Failure.CLIENT_CONFIG, "no federated credential of the app has the token's subject"),
    7000112: (Failure.CLIENT_CONFIG, "the app is disabled"),
    7000218: (Failure.CLIENT_CONFIG, "the request shows no secret and no certificate"),
    7000229: (Failure.INSUFFICIENT_PERMS, "the app was never consented to in this tenant"),
    500011: (Failure.CLIENT_CONFIG, "this cloud does not have the Graph that was asked for"),
    50194: (Failure.CLIENT_CONFIG, "the app is registered for one tenant alone"),
    50059: (Failure.CLIENT_CONFIG, "no tenant was named"),
    900382: (Failure.CLIENT_CONFIG, "the app belongs to another cloud"),
    90072: (
        Failure.INTERACTION_REQUIRED,
        "the account belongs to another organisation and is no guest of this one",
    ),
    9002313: (Failure.CLIENT_CONFIG, "the request was malformed"),
    50105: (Failure.INSUFFICIENT_PERMS, "the person is not assigned to the app"),
    90093: (Failure.INSUFFICIENT_PERMS, "the consent needs an administrator"),
    90094: (Failure.INSUFFICIENT_PERMS, "the consent needs an administrator"),
    90095: (Failure.INSUFFICIENT_PERMS, "the consent needs an administrator"),
    50196: (Failure.UNAVAILABLE, "Microsoft saw a loop of requests and pauses this client"),
    90033: (Failure.UNAVAILABLE, "Microsoft's sign-in has a transient fault"),
}
"""AADSTS numbers, which say more than the OAuth error they come with."""

_ACTS: dict[int, str] = {
    50020: "Sign in with an account of this organisation, or have yours invited as a guest: "
    f"{MICROSOFT.link}.",
    50034: f"Sign in with an account that this organisation has: {MICROSOFT.link}.",
    530034: "An administrator of the account's home organisation has to clear the risk first. Another "
    f"account works at once: {MICROSOFT.link}.",
    90072: "Sign in with an account of this organisation, or have yours invited as a guest: "
    f"{MICROSOFT.link}.",
    90002: "Correct MS_TENANT_ID, and MS_CLOUD where the tenant is not in the global cloud.",
    700016: "Correct MS_CLIENT_ID; if the app is another tenant's, an administrator of this one consents "
    "to it first (part 1 of docs/MS-OAUTH-SETUP-GUIDE.md).",
    700024: "Set the clock of this machine, as with NTP; the app registration is not at fault.",
    700027: "Upload the certificate of MS_CLIENT_CERTIFICATE_FILE to the app (part 4 of "
    "docs/MS-OAUTH-SETUP-GUIDE.md), or point the variable at the one that is there.",
    7000215: "Set MS_CLIENT_SECRET to a secret's Value, not to its Secret ID (part 4 of "
    "docs/MS-OAUTH-SETUP-GUIDE.md).",
    7000222: "Make a new secret and set MS_CLIENT_SECRET to it (part 4 of docs/MS-OAUTH-SETUP-GUIDE.md).",
    7000229: "An administrator of the tenant consents to the app (part 2 of docs/MS-OAUTH-SETUP-GUIDE.md).",
    500011: "Correct MS_CLOUD, or MS_GRAPH_URL where it is set.",
    50194: "Set MS_TENANT_ID to that tenant, or let an operator choose accounts in any directory for the app "
    "(part 1 of docs/MS-OAUTH-SETUP-GUIDE.md).",
    900382: "Correct MS_CLOUD, or register the app in this cloud.",
    **dict.fromkeys(
        (70021, 700211, 700212, 700213),
        "An operator adds a federated credential with this issuer, subject and audience to the app (part 4 "
        "of docs/MS-OAUTH-SETUP-GUIDE.md).",
    ),
    650057: "An operator adds Microsoft Graph's delegated permission Mail.Send to the app (part 2 of "
    "docs/MS-OAUTH-SETUP-GUIDE.md) and grants consent.",
    700084: "An operator registers the redirect URI under Web instead of Single-page application (part 3 of "
    f"docs/MS-OAUTH-SETUP-GUIDE.md); then {MICROSOFT.link}.",
}
"""What to do where the number says more than its code."""

_BY_ERROR: dict[str, tuple[Failure, str]] = {
    "invalid_grant": (Failure.EXPIRED, "the code or the refresh token is no longer valid"),
    "interaction_required": (Failure.INTERACTION_REQUIRED, "Microsoft wants the person to act"),
    "login_required": (Failure.INTERACTION_REQUIRED, "Microsoft wants the person to sign in"),
    "consent_required": (Failure.INTERACTION_REQUIRED, "the person has not consented to the app"),
    "access_denied": (Failure.INTERACTION_REQUIRED, "the sign-in was cancelled or the consent declined"),
    "invalid_client": (Failure.CLIENT_CONFIG, "the client id or the client secret is wrong"),
    "unauthorized_client": (Failure.CLIENT_CONFIG, "the app may not use this kind of sign-in"),
    "invalid_request": (Failure.CLIENT_CONFIG, "the request was malformed"),
    "invalid_scope": (Failure.CLIENT_CONFIG, "a permission asked for does not exist"),
    "invalid_resource": (Failure.CLIENT_CONFIG, "Microsoft Graph is not available in this tenant"),
    "unsupported_grant_type": (Failure.CLIENT_CONFIG, "the server does not know this kind of request"),
    "temporarily_unavailable": (Failure.UNAVAILABLE, "Microsoft's sign-in is not available"),
    "server_error": (Failure.UNAVAILABLE, "Microsoft's sign-in failed"),
}

_NUMBER = re.compile(r"AADSTS([0-9]{4,8})")


def from_reply(reply: Mapping[str, Any]) -> SignInError:
    """Read an OAuth error answer: the AADSTS number first, then the sub-error, then the error."""
    number = _number(reply)
    meaning = _meaning(word(reply.get("error")), word(reply.get("suberror")), number)
    return refused(
        MICROSOFT, reply, meaning, _ACTS.get(number or 0, ""), more=f"AADSTS{number}" if number else ""
    )


def of_app(reply: Mapping[str, Any], consent_at: str) -> SignInError:
    """Read what an app was answered that signs in for itself: nobody is there who could sign in again."""
    error = from_reply(reply)
    if error.failure not in {Failure.EXPIRED, Failure.INTERACTION_REQUIRED, Failure.INSUFFICIENT_PERMS}:
        return error
    number = _number(reply)
    _, why = _meaning(word(reply.get("error")), word(reply.get("suberror")), number)
    if number == 65001:
        why = "no administrator has consented to the app"
    act = f"An administrator of the tenant opens {consent_at} and grants Mail.Send."
    if number in {50057, 53000, 53003, 530034}:
        act = "An administrator of the tenant looks up the app in Entra's sign-in logs, and lets it through."
    more = f"AADSTS{number}" if number else ""
    return refused(MICROSOFT, reply, (Failure.INSUFFICIENT_PERMS, why), act, more=more)


def _meaning(error: str, suberror: str, number: int | None) -> tuple[Failure, str]:
    if number in _BY_NUMBER:
        return _BY_NUMBER[number]
    if suberror in _NEEDS_PERSON:
        return Failure.INTERACTION_REQUIRED, "the person has to sign in or to consent"
    return _BY_ERROR.get(error, (Failure.CLIENT_CONFIG, "the answer is not one that this version knows"))


def _number(reply: Mapping[str, Any]) -> int | None:
    listed = reply.get("error_codes")
    numbers = [n for n in listed if isinstance(n, int)] if isinstance(listed, list) else []
    if numbers:
        return numbers[0]
    found = _NUMBER.search(str(reply.get("error_description", "")))
    return int(found[1]) if found else None
