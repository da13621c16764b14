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

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

CODE_TTL_S = 600


class IssuerFault(StrEnum):
    """What can be made to go wrong; at the token endpoint unless said otherwise."""

    INVALID_GRANT = "invalid_grant"
    INTERACTION_REQUIRED = "interaction_required"
    CONSENT_REQUIRED = "consent_required"
    INVALID_CLIENT = "invalid_client"
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


CLAIMS_CHALLENGE = '{"access_token":{"capolids":{"essential":true,"values":["c1"]}}}'

_REFUSALS: dict[IssuerFault, tuple[str, str, int]] = {
    IssuerFault.INVALID_GRANT: ("invalid_grant", "bad_token", 70008),
    IssuerFault.INTERACTION_REQUIRED: ("interaction_required", "basic_action", 50076),
    IssuerFault.CONSENT_REQUIRED: ("invalid_grant", "consent_required", 65001),
    IssuerFault.INVALID_CLIENT: ("invalid_client", "", 7000215),
}


class OAuthRefusal(Exception):  # noqa: N818 (an answer, not a failure of ours)
    """The token endpoint says no: an OAuth error with Entra's extras."""

    def __init__(self, error: str, suberror: str, number: int, status: int = 400) -> None:
        super().__init__(error)
        self.status = status
        self.body: dict[str, Any] = {
            "error": error,
            "error_description": f"AADSTS{number}: the sandbox says {error}.",
            "error_codes": [number],
            "correlation_id": str(uuid.uuid4()),
            "trace_id": str(uuid.uuid4()),
        }
        if suberror:
            self.body["suberror"] = suberror
        if error == "interaction_required":
            self.body["claims"] = CLAIMS_CHALLENGE


@dataclass(frozen=True, slots=True)
class AuthorizationCode:
    """An authorization code's meaning: who consented to what, and how the exchange must prove itself."""

    account: str
    redirect_uri: str
    code_challenge: str
    nonce: str
    ends_at: float
    offline: bool = True
    """Whether a refresh token is wanted and may be given."""


@dataclass(eq=False)
class Issuer:
    """One tenant with one app. Like Entra it rotates refresh tokens at each use, and lets old ones live."""

    client_id: str
    client_secret: str = field(repr=False)
    tenant: str
    certificate: str = ""
    """PEM of the one certificate registered for the app; its secret is not taken then."""
    issuer: str = ""
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
    claims_seen: list[str] = field(default_factory=list)
    _codes: dict[str, AuthorizationCode] = field(default_factory=dict, repr=False)
    _refresh: dict[str, str] = field(default_factory=dict, repr=False)

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
        self, account: str, redirect_uri: str, code_challenge: str, nonce: str, *, offline: bool = True
    ) -> str:
        """Issue a code for an account that signed in."""
        code = self._issued(f"0.{secrets.token_urlsafe(48)}")
        self._codes[code] = AuthorizationCode(
            account, redirect_uri, code_challenge, nonce, time.time() + CODE_TTL_S, offline
        )
        return code

    def answer(self, form: Mapping[str, str], fault: IssuerFault | None) -> dict[str, Any]:
        """Answer a token request; raises OAuthRefusal."""
        if fault in _REFUSALS:
            raise OAuthRefusal(*_REFUSALS[fault], status=401 if fault is IssuerFault.INVALID_CLIENT else 400)
        if not self._is_client(form):
            raise OAuthRefusal(*_REFUSALS[IssuerFault.INVALID_CLIENT], status=401)
        if form.get("claims"):
            self.claims_seen.append(form["claims"])
        if form.get("grant_type") == "authorization_code":
            code = self._redeem(form)
            return self._tokens(code.account, code.nonce, form, fault)
        if form.get("grant_type") == "refresh_token":
            return self._refreshed(form, fault)
        raise OAuthRefusal("unsupported_grant_type", "", 70003)

    def _is_client(self, form: Mapping[str, str]) -> bool:
        """Whether the app showed its secret, or signed with the certificate that is registered for it."""
        if form.get("client_id") != self.client_id:
            return False
        if not self.certificate:
            return form.get("client_secret") == self.client_secret
        claims = _signed_claims(form.get("client_assertion", ""), self.certificate)
        audience = f"{self.issuer.removesuffix('/v2.0')}/oauth2/v2.0/token"
        ours = claims.get("aud") == audience and claims.get("exp", 0) > time.time()
        return bool(ours and claims.get("iss") == claims.get("sub") == self.client_id)

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

    def _refreshed(self, form: Mapping[str, str], fault: IssuerFault | None) -> dict[str, Any]:
        given = form.get("refresh_token", "")
        if given not in self._refresh:
            raise OAuthRefusal(*_REFUSALS[IssuerFault.INVALID_GRANT])
        return self._tokens(self._refresh[given], None, form, fault)

    def _tokens(
        self, account: str, nonce: str | None, form: Mapping[str, str], fault: IssuerFault | None
    ) -> dict[str, Any]:
        access = self._issued(f"sandbox-{secrets.token_urlsafe(48)}")
        self.access_tokens[access] = account, time.time() + self.expires_in_s
        body: dict[str, Any] = {
            "token_type": "Bearer",
            "scope": "openid profile email" + ("" if fault is IssuerFault.NO_MAIL_SCOPE else " Mail.Send"),
            "expires_in": self.expires_in_s,
            "ext_expires_in": self.expires_in_s,
            "access_token": access,
            "client_info": encode({"uid": subject_of(account), "utid": self.tenant}),
        }
        if fault is not IssuerFault.NO_REFRESH_TOKEN and (self.rotate or not form.get("refresh_token")):
            body["refresh_token"] = self._issued(f"1.{secrets.token_urlsafe(48)}")
            self._refresh[body["refresh_token"]] = account
        if fault is not IssuerFault.NO_ID_TOKEN:
            body["id_token"] = self._id_token(account, nonce, fault)
        return body

    def _id_token(self, account: str, nonce: str | None, fault: IssuerFault | None) -> str:
        now = int(time.time())
        elsewhere = "00000000-0000-0000-0000-00000000dead"
        claims: dict[str, Any] = {
            "iss": self.issuer.replace(self.tenant, elsewhere)
            if fault is IssuerFault.WRONG_ISSUER
            else self.issuer,
            "aud": elsewhere if fault is IssuerFault.WRONG_AUDIENCE else self.client_id,
            "tid": elsewhere if fault is IssuerFault.WRONG_TENANT else self.tenant,
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


def _signed_claims(assertion: str, certificate: str) -> dict[str, Any]:
    """Return what a JWT says that was signed (PS256) with this certificate; nothing for any other text."""
    head, _, rest = assertion.partition(".")
    payload, _, signature = rest.partition(".")
    key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    if not isinstance(key, RSAPublicKey):
        return {}
    signed, padding = f"{head}.{payload}".encode(), PSS(MGF1(SHA256()), PSS.DIGEST_LENGTH)
    try:
        key.verify(base64.urlsafe_b64decode(signature + "=="), signed, padding, SHA256())
        return dict(json.loads(base64.urlsafe_b64decode(payload + "==")))
    except (InvalidSignature, ValueError):
        return {}
