"""What the answers of Google's token endpoint mean."""

from collections.abc import Mapping
from typing import Any

from adapter.signin.errors import Failure, Identity, SignInError, refused, word

GOOGLE = Identity(
    provider="google",
    title="Google",
    prefix="GOOGLE",
    guide="docs/GOOGLE-OAUTH-SETUP-GUIDE.md",
    grant="Leave 'Send email on your behalf' ticked on Google's page, or ask the Workspace administrator to "
    "allow the app",
    refresh_ttl_s=180 * 86_400,
    sealed_as="google ",
    options=" --provider google",
)
"""Google drops a refresh token that was not used for six months."""

_AGAIN = (Failure.INTERACTION_REQUIRED, "the organisation asks people to sign in again regularly")
_MEANINGS: dict[str, tuple[Failure, str]] = {
    "invalid_grant": (
        Failure.EXPIRED,
        (
            "the sign-in is over: revoked, the password changed, unused for six months, pushed out by a "
            "hundred newer ones of the account, or seven days old while the app's status is Testing"
        ),
    ),
    "invalid_rapt": _AGAIN,
    "rapt_required": _AGAIN,
    "access_denied": (Failure.INTERACTION_REQUIRED, "the sign-in was cancelled or the consent declined"),
    "interaction_required": (Failure.INTERACTION_REQUIRED, "Google wants the person to act"),
    "login_required": (Failure.INTERACTION_REQUIRED, "Google wants the person to sign in"),
    "admin_policy_enforced": (
        Failure.INSUFFICIENT_PERMS,
        "the Workspace administrator has not allowed the app",
    ),
    "org_internal": (
        Failure.INTERACTION_REQUIRED,
        "the account belongs to another organisation than the app",
    ),
    "invalid_client": (Failure.CLIENT_CONFIG, "the client id or the client secret is wrong"),
    "deleted_client": (Failure.CLIENT_CONFIG, "the OAuth client was deleted"),
    "disabled_client": (Failure.CLIENT_CONFIG, "the OAuth client is disabled"),
    "unauthorized_client": (Failure.CLIENT_CONFIG, "the client may not use this kind of sign-in"),
    "redirect_uri_mismatch": (Failure.CLIENT_CONFIG, "the redirect URI is not registered for the client"),
    "invalid_request": (Failure.CLIENT_CONFIG, "the request was malformed"),
    "invalid_scope": (Failure.CLIENT_CONFIG, "a permission asked for does not exist"),
    "unsupported_grant_type": (Failure.CLIENT_CONFIG, "the server does not know this kind of request"),
    "temporarily_unavailable": (Failure.UNAVAILABLE, "Google's sign-in is not available"),
    "server_error": (Failure.UNAVAILABLE, "Google's sign-in failed"),
    "internal_failure": (Failure.UNAVAILABLE, "Google's sign-in failed"),
    "rate_limit_exceeded": (Failure.UNAVAILABLE, "too many requests for tokens at once"),
}
_UNKNOWN = (Failure.CLIENT_CONFIG, "the answer is not one that this version knows")


def from_reply(reply: Mapping[str, Any]) -> SignInError:
    """Read an OAuth error answer: the sub-type first, then the error."""
    subtype, error = word(reply.get("error_subtype")), word(reply.get("error"))
    return refused(GOOGLE, reply, _MEANINGS.get(subtype) or _MEANINGS.get(error, _UNKNOWN))


def of_delegation(reply: Mapping[str, Any]) -> SignInError:
    """Read what a service account was answered, which means other things for some of the same words."""
    error, told = word(reply.get("error")), str(reply.get("error_description", ""))
    if error == "invalid_grant" and "JWT" not in told:
        return GOOGLE.not_linked()
    if error == "invalid_grant":
        why = "the service account's key, or the clock of this machine, is wrong"
        return refused(
            GOOGLE, reply, (Failure.CLIENT_CONFIG, why), "Put in a key that is valid; set the clock."
        )
    if error in {"unauthorized_client", "access_denied"}:
        meaning = Failure.INSUFFICIENT_PERMS, "the domain has not delegated gmail.send to the service account"
        return refused(
            GOOGLE, reply, meaning, "Its administrator does so; see part 6 of " + GOOGLE.guide + "."
        )
    return from_reply(reply)
