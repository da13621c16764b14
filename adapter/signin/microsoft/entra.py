"""What people's sign-ins need, through MSAL: the address to sign in at, codes and refresh tokens."""

import contextlib
import json
import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from adapter.signin import idtoken
from adapter.signin.errors import Failure, SignInError
from adapter.signin.grant import Account, SignInAttempt, TokenPair
from adapter.signin.microsoft.authority import CAPABILITIES, Authority, access_token_of, asked
from adapter.signin.microsoft.errors import MICROSOFT, from_reply
from adapter.signin.microsoft.settings import MicrosoftSettings


class Entra:
    """The sign-in server as people sign in to it, for one app."""

    def __init__(self, settings: MicrosoftSettings) -> None:
        self._settings = settings
        self._authority = Authority(settings)

    def prepare(self) -> None:
        """Fetch what the first sign-in or refresh would fetch before it; a failure is left to that one."""
        with contextlib.suppress(SignInError):
            self._authority.issuer()

    def begin(self, claims: str | None = None, account: str = "") -> SignInAttempt:
        """Begin a sign-in with PKCE (S256), state and nonce, all MSAL's; raises SignInError.

        `account` is the address that Microsoft's page proposes.
        """
        flow = self._authority.app().initiate_auth_code_flow(
            list(self._settings.scopes),
            redirect_uri=self._settings.redirect_uri,
            prompt=None if account else "select_account",
            login_hint=account or None,
            response_mode="form_post",
            claims_challenge=claims,
        )
        url = flow["auth_uri"] if self.posts_back else _answer_in_query(flow["auth_uri"])
        return SignInAttempt(url, flow["state"], flow["code_verifier"], flow["nonce"], claims)

    @property
    def posts_back(self) -> bool:
        """Whether Microsoft answers with a form, which keeps the code out of URLs.

        The form comes from another site, and a browser sends our cookie with it only if that is
        `SameSite=None; Secure`; plain http on this machine cannot have such a cookie in every browser.
        """
        return urlsplit(self._settings.redirect_uri).scheme == "https"

    def exchange(
        self, code: str, code_verifier: str, nonce: str | None, claims: str | None = None
    ) -> TokenPair:
        """Redeem an authorization code and check what comes; raises SignInError."""
        app = self._authority.app()
        with warnings.catch_warnings():
            # The method that MSAL prefers checks the nonce only after it has kept the tokens.
            warnings.simplefilter("ignore", DeprecationWarning)
            reply = asked(
                app.acquire_token_by_authorization_code,
                code,
                list(self._settings.scopes),
                redirect_uri=self._settings.redirect_uri,
                data={"code_verifier": code_verifier},
                claims_challenge=claims,
            )
        return self._checked(reply, nonce)

    def refresh(self, refresh_token: str, account: Account, claims: str | None = None) -> TokenPair:
        """Get a new access token, and mostly a new refresh token; raises SignInError."""
        self.check_tenant(account.tenant)
        own = account.tenant if self._settings.is_multi_tenant else ""
        app = self._authority.app(own, account)
        reply = asked(
            app.acquire_token_by_refresh_token,
            refresh_token,
            list(self._settings.scopes_of_refresh),
            data={"claims": with_capabilities(claims)},
        )
        if isinstance(reply, Mapping) and "error" not in reply:
            reply = {"refresh_token": refresh_token, **reply}
        pair = self._checked(reply, None, known=account)
        same = (account.subject, account.tenant) == (pair.account.subject, pair.account.tenant)
        if account.subject and not same:
            raise MICROSOFT.client_config("The sign-in server answered with the token of another person")
        return pair

    def revoke(self, refresh_token: str) -> bool:  # noqa: ARG002 (there is nothing to hand it to)
        """Return False: Entra has no endpoint that revokes a token."""
        return False

    def refusal(self, answer: Mapping[str, str]) -> SignInError:
        """Return the error for an answer that brings no code."""
        return from_reply(answer)

    def close(self) -> None:
        """Close what is open."""
        self._authority.close()

    def _checked(self, reply: Any, nonce: str | None, known: Account | None = None) -> TokenPair:
        if not isinstance(reply, Mapping) or "error" in reply:
            raise from_reply(reply if isinstance(reply, Mapping) else {})
        now = time.time()
        claims = reply.get("id_token_claims")
        # A refresh may come without an id_token; then the account checked at sign-in stands.
        account = known if known and claims is None else self._account(claims, nonce, now)
        refresh_token = reply.get("refresh_token")
        scopes = _granted(reply.get("scope"), self._settings.scopes)
        if not isinstance(refresh_token, str) or not refresh_token:
            raise _missing("offline_access")
        access = replace(access_token_of(reply, now), tenant=account.tenant)
        return TokenPair(access, refresh_token, account, scopes)

    def _account(self, claims: Any, nonce: str | None, now: float) -> Account:
        tenant = str(claims.get("tid") or "") if isinstance(claims, Mapping) else ""
        issuer = self._authority.issuer().replace("{tenantid}", tenant)
        known = {tenant.lower()} if tenant and self._authority.lets_in(tenant.lower()) else set()
        expected = expected_of(issuer, self._settings.client_id, frozenset(known))
        return idtoken.check(claims, expected, now, nonce)

    def check_tenant(self, tenant: str) -> None:
        """Raise SignInError unless a tenant, by its id, is one that is let in."""
        if self._authority.lets_in(tenant.lower()):
            return
        name = "MS_ALLOWED_TENANTS" if self._settings.is_multi_tenant else "MS_TENANT_ID"
        raise MICROSOFT.client_config(
            f"The mailbox belongs to tenant {tenant}, which is no longer in {name}",
            act=f"Put the tenant back into {name}, or end the link: {REVOKE}.",
        )


def with_capabilities(claims: str | None) -> str:
    """Merge what we understand into a claims challenge; raises SignInError for one that is not JSON."""
    try:
        merged = json.loads(claims) if claims else {}
    except ValueError:
        merged = None
    if not isinstance(merged, dict) or not isinstance(merged.setdefault("access_token", {}), dict):
        raise MICROSOFT.client_config("The claims challenge is not a JSON object")
    merged["access_token"]["xms_cc"] = {"values": CAPABILITIES}
    return json.dumps(merged)


def _granted(scope: Any, asked: tuple[str, ...]) -> tuple[str, ...]:
    """Return the scopes granted; raises SignInError if mail may not be sent. No list means: as asked."""
    granted = tuple(scope.split()) if isinstance(scope, str) and scope else asked
    if "mail.send" not in {name.rpartition("/")[2].lower() for name in granted}:
        raise _missing("Mail.Send")
    return granted


def _missing(permission: str) -> SignInError:
    return MICROSOFT.error(Failure.INSUFFICIENT_PERMS, f"The permission {permission} was not granted")


def expected_of(issuer: str, client_id: str, tenants: frozenset[str]) -> idtoken.Expected:
    """Return what an id_token of these tenants says; `issuer` is as the discovery document gives it."""
    return idtoken.Expected(
        identity=MICROSOFT,
        issuers=frozenset({issuer}),
        client_id=client_id,
        organisation_claim="tid",
        organisations=tenants,
        acts=_ACTS,
        subject_claims=("oid", "sub"),
        name_of=lambda claims: str(claims.get("email") or claims.get("preferred_username") or ""),
    )


_ACTS = {
    "iss": "Check MS_AUTHORITY and MS_TENANT_ID: the token was issued by somebody else.",
    "aud": "Check MS_CLIENT_ID: the token was issued for another app.",
    "tid": "Check MS_TENANT_ID, with several tenants MS_ALLOWED_TENANTS, or sign in with an account of a "
    "tenant that is let in.",
}
REVOKE = "run 'rollout auth revoke USER'"


def _answer_in_query(url: str) -> str:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query)) | {"response_mode": "query"}
    return urlunsplit(parts._replace(query=urlencode(query)))
