"""Everything asked of Google's accounts, through oauthlib: the address to sign in at, codes, tokens.

oauthlib writes requests and makes no connection, so time-outs, sizes and trust are those of `SignInHttp`.
"""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jwt
from oauthlib.oauth2 import ServiceApplicationClient, WebApplicationClient

from adapter.signin import idtoken
from adapter.signin.errors import Failure, SignInError
from adapter.signin.google.errors import GOOGLE, from_reply, of_delegation
from adapter.signin.google.settings import SEND, DelegationSettings, GoogleSettings
from adapter.signin.grant import AccessToken, Account, SignInAttempt, TokenPair, lifetime_s_of
from adapter.signin.http import SignInHttp

VERIFIER_CHARACTERS = 64


class GoogleAccounts:
    """Google's sign-in server, for one OAuth client."""

    def __init__(self, settings: GoogleSettings) -> None:
        self._settings = settings
        self._client = WebApplicationClient(settings.client_id)
        self._http = SignInHttp(
            GOOGLE, settings.token_url, ca_file=settings.ca_file, timeout_s=settings.http_timeout_s
        )

    def prepare(self) -> None:
        """Do nothing: Google's addresses are known."""

    def begin(self, claims: str | None = None, account: str = "") -> SignInAttempt:
        """Begin a sign-in with PKCE (S256), state and nonce. `account` is the address that the page proposes.

        Google gives a refresh token only to who asks for offline access, and again only with a new consent.
        """
        state, nonce = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        verifier = self._client.create_code_verifier(VERIFIER_CHARACTERS)
        hints = {"login_hint": account, "hd": self._settings.hosted_domain}
        url = self._client.prepare_request_uri(
            self._settings.auth_url,
            redirect_uri=self._settings.redirect_uri,
            scope=list(self._settings.scopes),
            state=state,
            code_challenge=self._client.create_code_challenge(verifier, "S256"),
            code_challenge_method="S256",
            nonce=idtoken.nonce_claim(nonce),
            access_type="offline",
            prompt="consent" if account else "select_account consent",
            **{name: text for name, text in hints.items() if text},
        )
        return SignInAttempt(url, state, verifier, nonce, claims)

    def exchange(
        self,
        code: str,
        code_verifier: str,
        nonce: str | None,
        claims: str | None = None,  # noqa: ARG002 (Google has no challenges)
    ) -> TokenPair:
        """Redeem an authorization code and check what comes; raises SignInError."""
        body = self._client.prepare_request_body(
            code=code,
            redirect_uri=self._settings.redirect_uri,
            code_verifier=code_verifier,
            client_secret=self._settings.client_secret,
        )
        return self._checked(self._asked(body), nonce)

    def refresh(
        self,
        refresh_token: str,
        account: Account,
        claims: str | None = None,  # noqa: ARG002 (as above)
    ) -> TokenPair:
        """Get a new access token; Google mostly keeps the refresh token as it is. Raises SignInError."""
        body = self._client.prepare_refresh_body(
            refresh_token=refresh_token,
            client_id=self._settings.client_id,
            client_secret=self._settings.client_secret,
        )
        pair = self._checked({"refresh_token": refresh_token, **self._asked(body)}, None, known=account)
        if account.subject and pair.account.subject != account.subject:
            raise GOOGLE.client_config("The sign-in server answered with the token of another person")
        return pair

    def check_tenant(self, tenant: str) -> None:
        """Raise SignInError unless a Workspace domain is the one that is let in, if there is one."""
        if self._settings.hosted_domain in {"", tenant.lower()}:
            return
        raise GOOGLE.client_config(
            f"The mailbox belongs to {tenant or 'no domain'}, which is no longer GOOGLE_HOSTED_DOMAIN",
            act="Correct GOOGLE_HOSTED_DOMAIN, or end the link: "
            f"run 'rollout auth revoke USER{GOOGLE.options}'.",
        )

    def revoke(self, refresh_token: str) -> bool:
        """Revoke a refresh token and all access tokens made from it; says whether it is good no more."""
        url, headers, body = self._client.prepare_token_revocation_request(
            self._settings.revoke_url, refresh_token, "refresh_token"
        )
        try:
            reply = self._http.post(url, data=body, headers=headers)
        except SignInError:
            return False
        return reply.status_code == 200 or json.loads(reply.text).get("error") == "invalid_token"

    def refusal(self, answer: Mapping[str, str]) -> SignInError:
        """Return the error for an answer that brings no code."""
        return from_reply(answer)

    def close(self) -> None:
        """Close what is open."""
        self._http.close()

    def _asked(self, body: str) -> Mapping[str, Any]:
        reply: Mapping[str, Any] = json.loads(self._http.post(self._settings.token_url, data=body).text)
        if "error" in reply:
            raise from_reply(reply)
        return reply

    def _checked(
        self, reply: Mapping[str, Any], nonce: str | None, known: Account | None = None
    ) -> TokenPair:
        now = time.time()
        scopes = _granted(reply.get("scope"), self._settings.scopes)
        token = reply.get("id_token")
        # A refresh may come without an id_token; then the account checked at sign-in stands.
        account = known if known and token is None else self._account(token, nonce, now)
        refresh_token = reply.get("refresh_token")
        if not isinstance(refresh_token, str) or not refresh_token:
            raise GOOGLE.error(
                Failure.INTERACTION_REQUIRED,
                "Google gave no refresh token",
                act="Remove the app at https://myaccount.google.com/permissions, then " + GOOGLE.link + ".",
            )
        access = replace(access_token_of(reply, now), tenant=account.tenant)
        return TokenPair(access, refresh_token, account, scopes)

    def _account(self, token: Any, nonce: str | None, now: float) -> Account:
        domain = self._settings.hosted_domain
        expected = idtoken.Expected(
            identity=GOOGLE,
            issuers=self._settings.issuers,
            client_id=self._settings.client_id,
            organisation_claim="hd",
            organisations=frozenset({domain}) if domain else None,
            acts=_ACTS,
            subject_claims=("sub",),
            name_of=_verified_email,
        )
        return idtoken.check(_claims(token), expected, now, nonce)


class Delegation:
    """Google's token endpoint for a service account that signs for the mailboxes of its domain."""

    identity = GOOGLE

    def __init__(self, settings: DelegationSettings) -> None:
        self._settings = settings
        self._http = SignInHttp(GOOGLE, settings.token_url, ca_file=settings.ca_file)

    def key_of(self, user_id: str) -> str:
        """Return the mailbox, whose address is the user's id; each has a token of its own."""
        if "@" not in user_id:
            raise GOOGLE.not_linked()
        return user_id

    def access_token(
        self,
        mailbox: str,
        claims: str | None = None,  # noqa: ARG002 (as above)
    ) -> AccessToken:
        """Get a token for a mailbox; raises SignInError."""
        client = ServiceApplicationClient(
            self._settings.account.email,
            private_key=self._settings.account.key,
            subject=mailbox,
            issuer=self._settings.account.email,
            audience=self._settings.token_url,
        )
        scope = {"scope": SEND}
        body = client.prepare_request_body(extra_claims=scope, scope="", include_client_id=False)
        reply = json.loads(self._http.post(self._settings.token_url, data=body).text)
        if "error" in reply:
            raise of_delegation(reply)
        return access_token_of(reply, time.time())

    def close(self) -> None:
        """Close what is open."""
        self._http.close()


def access_token_of(reply: Mapping[str, Any], now: float) -> AccessToken:
    """Read the access token of an answer; raises SignInError where there is none."""
    secret, lifetime_s = reply.get("access_token"), lifetime_s_of(reply.get("expires_in"))
    if not isinstance(secret, str) or not secret or not lifetime_s:
        raise GOOGLE.unavailable("The sign-in server answered without a token")
    return AccessToken(secret, now, now + lifetime_s)


_ACTS = {
    "iss": "Check GOOGLE_AUTH_URL and GOOGLE_TOKEN_URL: the token was issued by somebody else.",
    "aud": "Check GOOGLE_CLIENT_ID: the token was issued for another app.",
    "hd": "Check GOOGLE_HOSTED_DOMAIN: the person signed in with an account of another domain.",
}


def _verified_email(claims: Mapping[str, Any]) -> str:
    """Return the address; empty where Google has not verified it, for then anybody may have typed it."""
    verified = claims.get("email_verified") in (True, "true")
    return str(claims.get("email") or "") if verified else ""


def _claims(token: Any) -> Any:
    """Return what an id_token says; None where it is none. The token endpoint gave it, over verified TLS."""
    try:
        return jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, TypeError, ValueError):
        return None


def _granted(scope: Any, asked: tuple[str, ...]) -> tuple[str, ...]:
    """Return the scopes granted; raises SignInError if mail may not be sent. No list means: as asked."""
    granted = tuple(scope.split()) if isinstance(scope, str) and scope else asked
    if SEND not in granted and "https://mail.google.com/" not in granted:
        raise GOOGLE.error(Failure.INSUFFICIENT_PERMS, "The permission gmail.send was not granted")
    return granted
