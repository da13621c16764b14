"""A local sign-in server in the place of Google's, over real TLS: consent, codes with PKCE, revocation.

`python -m adapter.sandbox.google_accounts --port 8444` serves it and prints the variables that lead to it;
`async with SandboxGoogle(folder) as server` does so in process. Faults are as those of the other one.
"""

from collections.abc import Mapping
from typing import Self
from urllib.parse import parse_qsl

from adapter.sandbox.google_issuer import GoogleIssuer
from adapter.sandbox.http import Body, Head, SandboxReply
from adapter.sandbox.signin import CLIENT_SECRET, SandboxSignIn, back, json_reply, serve

CLIENT_ID = "sandbox.apps.googleusercontent.com"


class SandboxGoogle(SandboxSignIn):
    """Google's accounts on loopback, for one OAuth client."""

    issuer: GoogleIssuer

    def _consent_path(self, authority: str) -> str:  # noqa: ARG002 (Google has one for all)
        return "/consent"

    def _not_served(self, authority: str, account: str = "") -> str:  # noqa: ARG002 (as above)
        return ""

    def _new_issuer(self) -> GoogleIssuer:
        return GoogleIssuer(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, tenant="")

    def environment(self) -> dict[str, str]:
        """Return the variables that point an adapter here."""
        return {
            "GOOGLE_AUTH_URL": f"{self.base}/o/oauth2/v2/auth",
            "GOOGLE_TOKEN_URL": f"{self.base}/token",
            "GOOGLE_REVOKE_URL": f"{self.base}/revoke",
            "GOOGLE_CA_FILE": str(self.ca_file),
            "GOOGLE_CLIENT_ID": CLIENT_ID,
            "GOOGLE_CLIENT_SECRET": CLIENT_SECRET,
        }

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.issuer.issuer = self.base
        return self

    async def _answer(self, head: Head, body: Body) -> SandboxReply:
        path, _, query = head.path.partition("?")
        if path.startswith("/sandbox/"):
            return await super()._answer(head, body)
        sent = (await body(head.length)).decode("utf-8", "replace")
        asked = dict(parse_qsl(query if head.method == "GET" else sent))
        match head.method, path:
            case "GET", "/o/oauth2/v2/auth":
                answer = self._authorize(asked)
            case "POST", "/consent":
                answer = self._consented(asked)
            case "POST", "/token":
                answer = await self._token(asked)
            case "POST", "/revoke":
                answer = self._revoke(asked.get("token", ""))
            case _:
                answer = json_reply(404, {"error": "not_found"})
        return answer

    def _revoke(self, token: str) -> SandboxReply:
        self.issuer.requests["revoke"] += 1
        if self.issuer.take_fault():
            return json_reply(503, {"error": "internal_failure"})
        if self.issuer.revoke(token):
            return json_reply(200, {})
        return json_reply(400, {"error": "invalid_token", "error_description": "Token expired or revoked"})

    def _redirected(self, asked: Mapping[str, str], account: str) -> SandboxReply:
        """Return with a code; without offline access and a new consent it brings no refresh token."""
        offline = asked.get("access_type") == "offline" and "consent" in asked.get("prompt", "").split()
        code = self.issuer.code_for(
            account, asked["redirect_uri"], asked["code_challenge"], asked.get("nonce", ""), offline=offline
        )
        return back(asked, {"code": code})

    def _declined(self) -> dict[str, str]:
        return {"error": "access_denied"}

    def _mistake(self, asked: Mapping[str, str]) -> str:
        """Say what is wrong with an authorization request, or nothing."""
        if asked.get("client_id") != CLIENT_ID:
            return "Error 401: invalid_client"
        if asked.get("response_type") != "code" or not asked.get("state"):
            return "Error 400: invalid_request"
        if asked.get("code_challenge_method") != "S256" or len(asked.get("code_challenge", "")) != 43:
            return "Error 400: invalid_request (code_challenge)"
        return ""


if __name__ == "__main__":
    serve(SandboxGoogle)
