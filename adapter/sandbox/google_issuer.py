"""What the sandbox of Google's accounts knows and issues, where it is not as Entra does it."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from adapter.sandbox.entra.refusal import OAuthRefusal
from adapter.sandbox.issuer import (
    AuthorizationCode,
    Issuer,
    IssuerFault,
    challenge_of,
    encode,
    subject_of,
)

SEND = "https://www.googleapis.com/auth/gmail.send"
MOST_LIVE_TOKENS = 100
"""Of one client and account; one more ends the oldest without a word."""
TESTING_S = 7 * 86_400
DOMAIN = "corp.example"
"""The Workspace domain; accounts elsewhere have none."""


class GoogleRefusal(OAuthRefusal):
    """The token endpoint says no, as Google does."""

    def __init__(self, error: str, description: str = "", status: int = 400) -> None:
        super().__init__(error, "", 0, status)
        self.body = {"error": error, "error_description": description or "Bad Request"}


_REFUSALS = {
    IssuerFault.INVALID_GRANT: ("invalid_grant", "Token has been expired or revoked."),
    IssuerFault.INTERACTION_REQUIRED: ("invalid_rapt", "reauth related error"),
    IssuerFault.CONSENT_REQUIRED: ("admin_policy_enforced", ""),
    IssuerFault.INVALID_CLIENT: ("invalid_client", "The OAuth client was not found."),
}


@dataclass(eq=False)
class GoogleIssuer(Issuer):
    """One OAuth client. Refresh tokens stay as they are unless told to rotate."""

    rotate: bool = False
    testing: bool = False
    """The app is in Testing: refresh tokens live for seven days."""
    service_accounts: dict[str, str] = field(default_factory=dict)
    """Public keys, as PEM, of the service accounts that the domain has delegated to, by their addresses."""
    clock: float = 0.0
    """Seconds that this server's clock for refresh tokens is ahead."""
    revoked: set[str] = field(default_factory=set, repr=False)
    _live: dict[str, list[tuple[str, float]]] = field(default_factory=dict, repr=False)

    def answer(
        self,
        form: Mapping[str, str],
        fault: IssuerFault | None,
        authority: str = "",  # noqa: ARG002 (Google has one address for all)
    ) -> dict[str, Any]:
        """Answer a token request; raises OAuthRefusal."""
        if fault in _REFUSALS:
            raise GoogleRefusal(*_REFUSALS[fault], status=401 if fault is IssuerFault.INVALID_CLIENT else 400)
        if form.get("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return self._delegated(form.get("assertion", ""))
        if (form.get("client_id"), form.get("client_secret")) != (self.client_id, self.client_secret):
            raise GoogleRefusal(*_REFUSALS[IssuerFault.INVALID_CLIENT], status=401)
        if form.get("grant_type") == "authorization_code":
            code = self._redeem(form)
            return self._tokens(code.account, code.nonce, {"offline": code.offline}, fault)
        if form.get("grant_type") == "refresh_token":
            return self._refreshed(form, fault)
        raise GoogleRefusal("unsupported_grant_type")

    def revoke(self, token: str) -> bool:
        """Revoke a token, with all of its account; says whether it was one."""
        account = self._refresh.get(token)
        if account is None:
            return False
        for other, _ in self._live.pop(account, []):
            self._refresh.pop(other, None)
            self.revoked.add(other)
        self.access_tokens = {t: kept for t, kept in self.access_tokens.items() if kept[0] != account}
        return True

    def _redeem(self, form: Mapping[str, str]) -> AuthorizationCode:
        self.secrets_given.add(form.get("code_verifier", "") or form.get("code", ""))
        code = self._codes.pop(form.get("code", ""), None)
        if code is None or code.ends_at < time.time():
            raise GoogleRefusal("invalid_grant", "Malformed auth code.")
        if code.redirect_uri != form.get("redirect_uri"):
            raise GoogleRefusal("redirect_uri_mismatch")
        if challenge_of(form.get("code_verifier", "")) != code.code_challenge:
            raise GoogleRefusal("invalid_grant", "Missing code verifier.")
        return code

    def _refreshed(
        self,
        form: Mapping[str, str],
        fault: IssuerFault | None,
        authority: str = "",  # noqa: ARG002 (as above)
    ) -> dict[str, Any]:
        given = form.get("refresh_token", "")
        account = self._refresh.get(given)
        until = dict(self._live.get(account or "", ())).get(given, 0.0)
        if account is None or until < time.time() + self.clock:
            raise GoogleRefusal(*_REFUSALS[IssuerFault.INVALID_GRANT])
        return self._tokens(account, None, {"offline": self.rotate}, fault)

    def _tokens(
        self, account: str, nonce: str | None, form: Mapping[str, Any], fault: IssuerFault | None
    ) -> dict[str, Any]:
        body = self._access(account)
        granted = "openid https://www.googleapis.com/auth/userinfo.email"
        body["scope"] = granted + ("" if fault is IssuerFault.NO_MAIL_SCOPE else f" {SEND}")
        if form.get("offline") and fault is not IssuerFault.NO_REFRESH_TOKEN:
            body |= self._refresh_token_for(account)
        if fault is not IssuerFault.NO_ID_TOKEN:
            body["id_token"] = self._id_token(account, nonce, fault)
        return body

    def _access(self, account: str) -> dict[str, Any]:
        access = self._issued(f"sandbox-{uuid.uuid4().hex}")
        self.access_tokens[access] = account, time.time() + self.expires_in_s
        return {"token_type": "Bearer", "expires_in": self.expires_in_s, "access_token": access}

    def _refresh_token_for(self, account: str) -> dict[str, Any]:
        token = self._issued(f"1//{uuid.uuid4().hex}")
        lives_s = TESTING_S if self.testing else 180 * 86_400
        self._refresh[token] = account
        live = self._live.setdefault(account, [])
        live.append((token, time.time() + lives_s))
        while len(live) > MOST_LIVE_TOKENS:
            self._refresh.pop(live.pop(0)[0], None)
        told = {"refresh_token_expires_in": TESTING_S} if self.testing else {}
        return {"refresh_token": token, **told}

    def _id_token(self, account: str, nonce: str | None, fault: IssuerFault | None) -> str:
        now, domain = int(time.time()), account.rpartition("@")[2]
        elsewhere = "somebody-else.example"
        claims: dict[str, Any] = {
            "iss": f"https://{elsewhere}" if fault is IssuerFault.WRONG_ISSUER else self.issuer,
            "aud": elsewhere if fault is IssuerFault.WRONG_AUDIENCE else self.client_id,
            "iat": now,
            "exp": now - 7200 if fault is IssuerFault.EXPIRED_ID_TOKEN else now + 3600,
            "sub": subject_of(account),
            "email": account,
            "email_verified": True,
        }
        if domain == DOMAIN:
            claims["hd"] = elsewhere if fault is IssuerFault.WRONG_TENANT else domain
        if nonce is not None:
            claims["nonce"] = "0" * 64 if fault is IssuerFault.WRONG_NONCE else nonce
        return self._issued(f"{encode({'typ': 'JWT', 'alg': 'none'})}.{encode(claims)}.")

    def _delegated(self, assertion: str) -> dict[str, Any]:
        """Answer a service account: its signature, its delegation, and the mailbox that it speaks for."""
        self.secrets_given.add(assertion)
        try:
            issuer = jwt.decode(assertion, options={"verify_signature": False})["iss"]
            key = self.service_accounts.get(issuer)
            if key is None:
                raise GoogleRefusal("unauthorized_client", "Client is unauthorized.", 401)
            audience = f"{self.issuer}/token"
            claims = jwt.decode(assertion, key, algorithms=["RS256"], audience=audience)
        except (jwt.PyJWTError, KeyError):
            raise GoogleRefusal("invalid_grant", "Invalid JWT Signature.") from None
        if not str(claims.get("sub", "")).endswith(f"@{DOMAIN}"):
            raise GoogleRefusal("invalid_grant", "Invalid email or User ID")
        if claims.get("scope") != SEND:
            raise GoogleRefusal("invalid_scope")
        return self._access(str(claims["sub"]))
