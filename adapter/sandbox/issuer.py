"""What the sandbox's sign-in server knows and issues: codes, tokens, and the faults that a test asks for."""

import base64
import hashlib
import json
import secrets
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from adapter.sandbox.entra.app import RegisteredApp
from adapter.sandbox.entra.directory import Directory, Tenant
from adapter.sandbox.entra.refusal import OAuthRefusal

CODE_TTL_S = 600


class IssuerFault(StrEnum):
    """What can be made to go wrong; at the token endpoint unless said otherwise."""

    INVALID_GRANT = "invalid_grant"
    INTERACTION_REQUIRED = "interaction_required"
    CONSENT_REQUIRED = "consent_required"
    INVALID_CLIENT = "invalid_client"
    WRONG_CERTIFICATE = "wrong_certificate"
    UNKNOWN_APP = "unknown_app"
    NO_SERVICE_PRINCIPAL = "no_service_principal"
    OTHER_ORGANISATION = "other_organisation"
    THROTTLED = "429"
    SERVER_ERROR = "500"
    HTML = "html"
    SLOW = "slow"
    WRONG_ISSUER = "wrong_issuer"
    WRONG_AUDIENCE = "wrong_audience"
    WRONG_TENANT = "wrong_tenant"
    WRONG_NONCE = "wrong_nonce"
    EXPIRED_ID_TOKEN = "expired_id_token"  # noqa: S105 (no token)
    NO_ID_TOKEN = "no_id_token"  # noqa: S105 (no token)
    NO_MAIL_SCOPE = "no_mail_scope"
    NO_REFRESH_TOKEN = "no_refresh_token"  # noqa: S105 (no token)


_REFUSALS: dict[IssuerFault, tuple[str, str, int]] = {
    IssuerFault.INVALID_GRANT: ("invalid_grant", "bad_token", 70008),
    IssuerFault.INTERACTION_REQUIRED: ("interaction_required", "basic_action", 50076),
    IssuerFault.CONSENT_REQUIRED: ("invalid_grant", "consent_required", 65001),
    IssuerFault.INVALID_CLIENT: ("invalid_client", "", 7000215),
    IssuerFault.WRONG_CERTIFICATE: ("invalid_client", "", 700027),
    IssuerFault.UNKNOWN_APP: ("unauthorized_client", "", 700016),
    IssuerFault.NO_SERVICE_PRINCIPAL: ("invalid_client", "", 7000229),
    IssuerFault.OTHER_ORGANISATION: ("invalid_grant", "", 90072),
}


@dataclass(frozen=True, slots=True)
class AuthorizationCode:
    """An authorization code's meaning: who consented to what, and how the exchange must prove itself."""

    account: str
    redirect_uri: str
    code_challenge: str
    nonce: str
    ends_at: float
    permissions: frozenset[str] = frozenset()
    """Of Graph, that were consented to."""
    offline: bool = True
    """Whether a refresh token is wanted and may be given."""


@dataclass(eq=False)
class Issuer:
    """One app and its tenants. Like Entra it rotates refresh tokens at each use, and lets old ones live."""

    client_id: str
    client_secret: str = field(repr=False)
    tenant: str
    """The app's own; others are in the directory."""
    issuer: str = ""
    graph: str = ""
    """The Graph of this cloud, the only resource that there are tokens for; any one where it is empty."""
    expires_in_s: int = 3600
    latency_s: float = 0.0
    """Added to each answer of the token endpoint."""
    rotate: bool = True
    fault: IssuerFault | None = None
    faults_left: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    """Token requests that arrived, by grant type."""
    secrets_given: set[str] = field(default_factory=set, repr=False)
    """Every code, verifier and token seen here, so that a test can look where they must not be."""
    access_tokens: dict[str, tuple[str, float]] = field(default_factory=dict, repr=False)
    consented: dict[str, frozenset[str]] = field(default_factory=dict)
    """Permissions of Graph by account; each token has all of them, whichever were asked for."""
    claims_seen: list[str] = field(default_factory=list)
    _codes: dict[str, AuthorizationCode] = field(default_factory=dict, repr=False)
    _refresh: dict[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.app = RegisteredApp(self.client_id, self.client_secret)
        self.directory = Directory([Tenant(self.tenant, ("corp.example",))])

    def fail(self, fault: IssuerFault | str | None, times: int = -1) -> None:
        """Make a fault from now on, or only so many times; None ends it."""
        self.fault = IssuerFault(fault) if fault else None
        self.faults_left = times

    def take_fault(self) -> IssuerFault | None:
        """Return the fault of the next answer; None for none."""
        if self.fault is None or self.faults_left == 0:
            return None
        self.faults_left -= 1
        return self.fault

    def code_for(
        self,
        account: str,
        redirect_uri: str,
        code_challenge: str,
        nonce: str,
        *,
        offline: bool = True,
        scope: str = "",
    ) -> str:
        """Issue a code for an account that signed in and consented to these scopes."""
        permissions = permissions_of(scope)
        code = self._issued(f"0.{secrets.token_urlsafe(48)}")
        self._codes[code] = AuthorizationCode(
            account, redirect_uri, code_challenge, nonce, time.time() + CODE_TTL_S, permissions, offline
        )
        return code

    def answer(
        self, form: Mapping[str, str], fault: IssuerFault | None, authority: str = ""
    ) -> dict[str, Any]:
        """Answer a token request at the address of a tenant, or of several; raises OAuthRefusal."""
        if fault in _REFUSALS:
            error, _, _ = refusal = _REFUSALS[fault]
            raise OAuthRefusal(*refusal, status=401 if error == "invalid_client" else 400)
        self.directory.check(authority)
        self.app.check(
            form, f"{self.issuer.removesuffix('/v2.0')}/oauth2/v2.0/token".replace(self.tenant, authority)
        )
        self._check_scope(form.get("scope", ""))
        if form.get("claims"):
            self.claims_seen.append(form["claims"])
        match form.get("grant_type"):
            case "authorization_code":
                code = self._redeem(form)
                self.consented[code.account] = (
                    self.consented.get(code.account, frozenset()) | code.permissions
                )
                return self._tokens(code.account, code.nonce, form, fault)
            case "refresh_token":
                return self._refreshed(form, fault, authority)
            case "client_credentials":
                return self._of_app(form, self.directory.named(authority))
        raise OAuthRefusal("unsupported_grant_type", "", 70003)

    def _check_scope(self, scopes: str) -> None:
        """Raise OAuthRefusal for a resource that this cloud does not have."""
        foreign = [one for one in scopes.split() if "://" in one and not one.startswith(self.graph)]
        if foreign:
            raise OAuthRefusal("invalid_resource", "", 500011)

    def _of_app(self, form: Mapping[str, str], tenant: Tenant) -> dict[str, Any]:
        """Return a token for the app itself, which names what an administrator granted to it."""
        if not form.get("scope", "").endswith("/.default"):
            raise OAuthRefusal("invalid_scope", "", 1002012)
        claims = encode({"tid": tenant.id, "roles": tenant.roles})
        access = self._issued(f"sandbox-{secrets.token_urlsafe(24)}.{claims}.{secrets.token_urlsafe(24)}")
        self.access_tokens[access] = self.client_id, time.time() + self.expires_in_s
        expires = {"expires_in": self.expires_in_s, "ext_expires_in": self.expires_in_s}
        return {"token_type": "Bearer", **expires, "access_token": access}

    def accepts(self, access_token: str) -> bool:
        """Whether an access token is one of ours and has not expired: what Graph would ask."""
        _, ends_at = self.access_tokens.get(access_token, ("", 0.0))
        return time.time() < ends_at

    def revoke_all(self) -> None:
        """Forget every refresh token, as an administrator's revocation of all sessions does."""
        self._refresh.clear()

    def _redeem(self, form: Mapping[str, str]) -> AuthorizationCode:
        if form.get("code_verifier"):
            self.secrets_given.add(form["code_verifier"])
        code = self._codes.pop(form.get("code", ""), None)
        if code is None or code.ends_at < time.time():
            raise OAuthRefusal("invalid_grant", "", 54005)
        if code.redirect_uri != form.get("redirect_uri"):
            raise OAuthRefusal("invalid_grant", "", 50011)
        if challenge_of(form.get("code_verifier", "")) != code.code_challenge:
            raise OAuthRefusal("invalid_grant", "", 501481)
        return code

    def _refreshed(
        self, form: Mapping[str, str], fault: IssuerFault | None, authority: str = ""
    ) -> dict[str, Any]:
        given = form.get("refresh_token", "")
        if given not in self._refresh:
            raise OAuthRefusal(*_REFUSALS[IssuerFault.INVALID_GRANT])
        self.directory.check(authority, self._refresh[given])
        if permissions_of(form.get("scope", "")) - self.consented.get(self._refresh[given], frozenset()):
            raise OAuthRefusal(*_REFUSALS[IssuerFault.CONSENT_REQUIRED])
        return self._tokens(self._refresh[given], None, form, fault)

    def _tokens(
        self, account: str, nonce: str | None, form: Mapping[str, str], fault: IssuerFault | None
    ) -> dict[str, Any]:
        access = self._issued(f"sandbox-{secrets.token_urlsafe(48)}")
        self.access_tokens[access] = account, time.time() + self.expires_in_s
        body: dict[str, Any] = {
            "token_type": "Bearer",
            "scope": " ".join(["openid", "profile", "email", *self._granted(account, fault)]),
            "expires_in": self.expires_in_s,
            "ext_expires_in": self.expires_in_s,
            "access_token": access,
            "client_info": encode({"uid": subject_of(account), "utid": self.directory.home_of(account).id}),
        }
        if fault is not IssuerFault.NO_REFRESH_TOKEN and (self.rotate or not form.get("refresh_token")):
            body["refresh_token"] = self._issued(f"1.{secrets.token_urlsafe(48)}")
            self._refresh[body["refresh_token"]] = account
        if fault is not IssuerFault.NO_ID_TOKEN:
            body["id_token"] = self._id_token(account, nonce, fault)
        return body

    def _granted(self, account: str, fault: IssuerFault | None) -> list[str]:
        withheld = {"Mail.Send"} if fault is IssuerFault.NO_MAIL_SCOPE else set()
        return sorted(self.consented.get(account, frozenset()) - withheld)

    def _id_token(self, account: str, nonce: str | None, fault: IssuerFault | None) -> str:
        now = int(time.time())
        elsewhere, home = "00000000-0000-0000-0000-00000000dead", self.directory.home_of(account).id
        claims: dict[str, Any] = {
            "iss": self.issuer.replace(self.tenant, elsewhere if fault is IssuerFault.WRONG_ISSUER else home),
            "aud": elsewhere if fault is IssuerFault.WRONG_AUDIENCE else self.client_id,
            "tid": elsewhere if fault is IssuerFault.WRONG_TENANT else home,
            "iat": now,
            "nbf": now,
            "exp": now - 7200 if fault is IssuerFault.EXPIRED_ID_TOKEN else now + 3600,
            "sub": subject_of(account),
            "oid": subject_of(account),
            "preferred_username": account,
            "email": account,
            "ver": "2.0",
        }
        if nonce is not None:
            claims["nonce"] = "0" * 64 if fault is IssuerFault.WRONG_NONCE else nonce
        return self._issued(f"{encode({'typ': 'JWT', 'alg': 'none'})}.{encode(claims)}.")

    def _issued(self, secret: str) -> str:
        self.secrets_given.add(secret)
        return secret


def permissions_of(scope: str) -> frozenset[str]:
    """Return the permissions of Graph among scopes, without the address of a cloud before them."""
    names = (one.rpartition("/")[2] for one in scope.split())
    return frozenset(name for name in names if name.startswith("Mail."))


def challenge_of(code_verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636, 4.2)."""
    digest = hashlib.sha256(code_verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def subject_of(account: str) -> str:
    """Return the fixed id of an account."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"sandbox:{account.lower()}"))


def encode(value: Mapping[str, Any]) -> str:
    """Return a value as the part of a JWT."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
