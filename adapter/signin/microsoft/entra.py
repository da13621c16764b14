"""Everything asked of the sign-in server, through MSAL: the address to sign in at, codes and refresh tokens.

All calls block. Each uses a fresh MSAL app with an empty token cache: what a check refuses is gone with it,
and MSAL's memory of old errors ends with the call that made it. Making one takes a third of a millisecond.
"""

import contextlib
import json
import logging
import re
import time
import warnings
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msal

from adapter.signin import idtoken
from adapter.signin.errors import Failure, SignInError
from adapter.signin.grant import AccessToken, Account, SignInAttempt, TokenPair, lifetime_s_of
from adapter.signin.http import SignInHttp
from adapter.signin.microsoft.errors import MICROSOFT, from_reply
from adapter.signin.microsoft.settings import MicrosoftSettings

CAPABILITIES = ["CP1"]
"""We understand claims challenges, so Graph may revoke a token before its time and say why."""


class _Quiet(logging.Filter):
    """MSAL's debug log shows authorization codes and code verifiers, so none of it below a warning passes."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING


for _name in ("msal.token_cache", "msal.application", "msal.oauth2cli.oauth2", "msal.oauth2cli.oidc"):
    logging.getLogger(_name).addFilter(_Quiet())


class Entra:
    """The sign-in server of one tenant, for one app."""

    def __init__(self, settings: MicrosoftSettings) -> None:
        self._settings = settings
        self._http = SignInHttp(
            MICROSOFT, settings.authority_url, ca_file=settings.ca_file, timeout_s=settings.http_timeout_s
        )

    def prepare(self) -> None:
        """Fetch what the first sign-in or refresh would fetch before it; a failure is left to that one."""
        with contextlib.suppress(SignInError):
            self._issuer()

    def begin(self, claims: str | None = None, account: str = "") -> SignInAttempt:
        """Begin a sign-in with PKCE (S256), state and nonce, all MSAL's; raises SignInError.

        `account` is the address that Microsoft's page proposes.
        """
        flow = self._app().initiate_auth_code_flow(
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
        app = self._app()
        with warnings.catch_warnings():
            # The method that MSAL prefers checks the nonce only after it has kept the tokens.
            warnings.simplefilter("ignore", DeprecationWarning)
            reply = _asked(
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
        app = self._app(account)
        reply = _asked(
            app.acquire_token_by_refresh_token,
            refresh_token,
            list(self._settings.scopes),
            data={"claims": with_capabilities(claims)},
        )
        if isinstance(reply, Mapping) and "error" not in reply:
            reply = {"refresh_token": refresh_token, **reply}
        pair = self._checked(reply, None, known=account)
        if account.subject and pair.account.subject != account.subject:
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
        self._http.close()

    def _app(self, account: Account | None = None) -> msal.ConfidentialClientApplication:
        """Make an app for one call; raises SignInError where the authority does not answer as one."""
        try:
            return msal.ConfidentialClientApplication(
                self._settings.client_id,
                client_credential=self._credential,
                authority=self._settings.authority_url,
                instance_discovery=False,
                azure_region=False,
                client_capabilities=CAPABILITIES,
                http_client=_Routed(self._http, account),
                token_cache=msal.TokenCache(),
                http_cache={},
            )
        except (ValueError, KeyError):
            pass
        raise MICROSOFT.client_config(
            f"{self._settings.authority_url} is not a sign-in server with this tenant"
        )

    @property
    def _credential(self) -> str | dict[str, str]:
        certificate = self._settings.certificate
        return certificate.credential if certificate else self._settings.client_secret

    def _issuer(self) -> str:
        url = f"{self._settings.authority_url}/v2.0/.well-known/openid-configuration"
        return str(json.loads(self._http.get(url).text).get("issuer", ""))

    def _checked(self, reply: Any, nonce: str | None, known: Account | None = None) -> TokenPair:
        if not isinstance(reply, Mapping) or "error" in reply:
            raise from_reply(reply if isinstance(reply, Mapping) else {})
        secret, lifetime_s = reply.get("access_token"), lifetime_s_of(reply.get("expires_in"))
        if not isinstance(secret, str) or not secret or not lifetime_s:
            raise MICROSOFT.unavailable("The sign-in server answered without a token")
        now = time.time()
        claims = reply.get("id_token_claims")
        # A refresh may come without an id_token; then the account checked at sign-in stands.
        account = known if known and claims is None else self._account(claims, nonce, now)
        refresh_token = reply.get("refresh_token")
        scopes = _granted(reply.get("scope"), self._settings.scopes)
        if not isinstance(refresh_token, str) or not refresh_token:
            raise _missing("offline_access")
        return TokenPair(AccessToken(secret, now, now + lifetime_s), refresh_token, account, scopes)

    def _account(self, claims: Any, nonce: str | None, now: float) -> Account:
        expected = expected_of(self._issuer(), self._settings.client_id, self._settings.tenant_id)
        return idtoken.check(claims, expected, now, nonce)


class _Routed:
    """The shared HTTP client, with the header that leads Entra to where this account's data lies."""

    def __init__(self, http: SignInHttp, account: Account | None) -> None:
        self._http = http
        known = account is not None and account.subject
        self._extra = (
            {"X-AnchorMailbox": f"Oid:{account.subject}@{account.tenant}"} if account and known else {}
        )

    def get(self, url: str, **kwargs: Any) -> Any:
        return self._http.get(url, **kwargs)

    def post(self, url: str, **kwargs: Any) -> Any:
        kwargs["headers"] = {**(kwargs.get("headers") or {}), **self._extra}
        return self._http.post(url, **kwargs)

    def close(self) -> None:
        """Leave the pool open: it outlives every app."""


def _asked(method: Any, *args: Any, **kwargs: Any) -> Any:
    """Call MSAL; what it raises besides our own errors is dropped, for it may quote the answer."""
    try:
        return method(*args, **kwargs)
    except SignInError:
        raise
    except Exception as error:  # noqa: BLE001
        name = type(error).__name__
    raise MICROSOFT.unavailable(f"The sign-in server's answer cannot be read ({name})")


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


def expected_of(issuer: str, client_id: str, tenant_id: str) -> idtoken.Expected:
    """Return what an id_token of this tenant says; `issuer` is as the discovery document gives it."""
    return idtoken.Expected(
        identity=MICROSOFT,
        issuers=frozenset({issuer}),
        client_id=client_id,
        organisation_claim="tid",
        organisations=_tenants(issuer, tenant_id),
        acts=_ACTS,
        subject_claims=("oid", "sub"),
        name_of=lambda claims: str(claims.get("email") or claims.get("preferred_username") or ""),
    )


_ACTS = {
    "iss": "Check MS_AUTHORITY and MS_TENANT_ID: the token was issued by somebody else.",
    "aud": "Check MS_CLIENT_ID: the token was issued for another app.",
    "tid": "Check MS_TENANT_ID: the person signed in with an account of another tenant.",
}
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


def _tenants(issuer: str, tenant_id: str) -> frozenset[str]:
    """Return the tenant as configured if that is a GUID; a domain is looked up in the issuer's path."""
    configured = tenant_id.lower()
    in_issuer = urlsplit(issuer).path.strip("/").split("/")[0].lower()
    return frozenset({configured} if _GUID.match(configured) else {configured, in_issuer})


def _answer_in_query(url: str) -> str:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query)) | {"response_mode": "query"}
    return urlunsplit(parts._replace(query=urlencode(query)))
