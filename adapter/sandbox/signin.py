"""A local sign-in server over real TLS: discovery, a consent page, codes with PKCE, rotating refresh tokens.

`python -m adapter.sandbox.signin --port 8443` serves it and prints what MS_AUTHORITY and MS_CA_FILE take;
`async with SandboxSignIn(folder) as server` does so in process. Faults are set while it runs:
`PUT /sandbox/fault` with {"fault": "invalid_grant", "times": 1}.
"""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from adapter.sandbox.certificates import make_certificates
from adapter.sandbox.entra.directory import SEVERAL
from adapter.sandbox.entra.refusal import OAuthRefusal
from adapter.sandbox.http import Body, Head, SandboxReply, Server
from adapter.sandbox.issuer import Issuer, IssuerFault

TENANT = "5a1db0c5-0000-4000-8000-000000000001"
CLIENT_ID = "5a1db0c5-0000-4000-8000-00000000c11e"
CLIENT_SECRET = "sandbox-client-secret"  # noqa: S105 (the one that everybody may know)
DEFAULT_ACCOUNT = "ann@corp.example"
SLOW_S = 60.0
_PAGE_HEADERS = {"content-type": "text/html; charset=utf-8", "cache-control": "no-store"}


class SandboxSignIn:
    """Entra on loopback; `authority` is what MS_AUTHORITY takes, `ca_file` what MS_CA_FILE takes."""

    def __init__(
        self,
        cert_dir: Path,
        *,
        host: str = "127.0.0.1",
        name: str = "localhost",
        port: int = 0,
        auto_consent: bool = False,
    ) -> None:
        certificates = make_certificates(cert_dir)
        self.ca_file = certificates.ca_file
        self.auto_consent = auto_consent
        """Answer at once for DEFAULT_ACCOUNT instead of showing the page."""
        self.issuer = self._new_issuer()
        self.discoveries = 0
        """How often the discovery document was asked for."""
        self._name = name
        self._server = Server(self._answer, host=host, port=port, tls=certificates.server_context())

    def _consent_path(self, authority: str) -> str:
        return f"/{authority}/oauth2/v2.0/consent"

    def _new_issuer(self) -> Issuer:
        return Issuer(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, tenant=TENANT)

    @property
    def base(self) -> str:
        """The address of the server."""
        return f"https://{self._name}:{self._server.port}"

    @property
    def authority(self) -> str:
        """What MS_AUTHORITY is set to."""
        return f"{self.base}/{TENANT}"

    def environment(self) -> dict[str, str]:
        """Return the variables that point an adapter here."""
        return {
            "MS_AUTHORITY": self.authority,
            "MS_CA_FILE": str(self.ca_file),
            "MS_TENANT_ID": TENANT,
            "MS_CLIENT_ID": CLIENT_ID,
            "MS_CLIENT_SECRET": CLIENT_SECRET,
        }

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        self.issuer.issuer = f"{self.authority}/v2.0"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.__aexit__()

    async def _answer(self, head: Head, body: Body) -> SandboxReply:
        path, _, query = head.path.partition("?")
        sent = (await body(head.length)).decode("utf-8", "replace")
        asked = dict(parse_qsl(query if head.method == "GET" else sent))
        authority, _, rest = path.removeprefix("/").partition("/")
        match head.method, f"/{rest}":
            case "GET", "/v2.0/.well-known/openid-configuration":
                answer = self._discovered(authority)
            case "GET", realm if authority == "common" and realm.startswith("/userrealm/"):
                answer = json_reply(200, self.issuer.directory.realm(unquote(realm[11:])))
            case "GET", "/oauth2/v2.0/authorize":
                answer = self._authorize(asked, authority)
            case "POST", "/oauth2/v2.0/consent":
                answer = self._consented(asked, authority)
            case "POST", "/oauth2/v2.0/token":
                answer = await self._token(asked, authority)
            case "PUT", "/fault" if authority == "sandbox":
                answer = self._set_fault(sent)
            case "GET", "/stats" if authority == "sandbox":
                stats = {"token_requests": dict(self.issuer.requests), "fault": self.issuer.fault}
                answer = json_reply(200, stats)
            case _:
                answer = json_reply(404, {"error": "not_found"})
        return answer

    def _discovered(self, authority: str) -> SandboxReply:
        """Answer the discovery document of a tenant, by its id or a domain, or of several."""
        self.discoveries += 1
        try:
            tenant = "{tenantid}" if authority in SEVERAL else self.issuer.directory.named(authority).id
        except OAuthRefusal as refusal:
            return json_reply(refusal.status, {**refusal.body, "error": "invalid_tenant"})
        endpoints = f"{self.base}/{authority}/oauth2/v2.0"
        found = {
            "issuer": self.issuer.issuer.replace(TENANT, tenant),
            "authorization_endpoint": f"{endpoints}/authorize",
            "token_endpoint": f"{endpoints}/token",
            "response_modes_supported": ["query", "form_post"],
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "subject_types_supported": ["pairwise"],
        }
        return json_reply(200, found)

    def _authorize(self, asked: Mapping[str, str], authority: str = "") -> SandboxReply:
        wrong = self._mistake(asked) or self._not_served(authority)
        if wrong:
            return _page("Sign-in request refused", f"<p>{escape(wrong)}</p>", 400)
        if self.auto_consent:
            return self._redirected(asked, DEFAULT_ACCOUNT)
        kept = "".join(
            f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
            for name, value in asked.items()
        )
        scopes = "".join(f"<li>{escape(scope)}</li>" for scope in sorted(asked.get("scope", "").split()))
        return _page(
            "Sandbox sign-in",
            f'<form method="post" action="{self._consent_path(authority)}">{kept}'
            f'<p><label>Account <input name="account" value="{DEFAULT_ACCOUNT}"></label></p>'
            f"<p>The app asks for these permissions:</p><ul>{scopes}</ul>"
            '<button name="decision" value="accept">Accept</button> '
            '<button name="decision" value="cancel">Cancel</button></form>',
        )

    def _consented(self, form: Mapping[str, str], authority: str = "") -> SandboxReply:
        if self._mistake(form):
            return _page("Sign-in request refused", "<p>The form is not complete.</p>", 400)
        wrong = self._not_served(authority, form.get("account", DEFAULT_ACCOUNT))
        if wrong:
            return _page("Sign-in refused", f"<p>{escape(wrong)}</p>", 400)
        if form.get("decision") == "accept":
            return self._redirected(form, form.get("account", DEFAULT_ACCOUNT))
        return back(form, self._declined())

    def _not_served(self, authority: str, account: str = "") -> str:
        """Say why an authority does not serve the app or this account: on a page, which ends the sign-in."""
        try:
            self.issuer.directory.check(authority, account)
        except OAuthRefusal as refusal:
            return str(refusal.body["error_description"])
        return ""

    def _declined(self) -> dict[str, str]:
        refused = {"error": "access_denied", "error_subcode": "cancel"}
        return {**refused, "error_description": "AADSTS65004: User declined to consent."}

    def _mistake(self, asked: Mapping[str, str]) -> str:
        """Say what is wrong with an authorization request, or nothing."""
        return _mistake(asked)

    def _redirected(self, asked: Mapping[str, str], account: str) -> SandboxReply:
        code = self.issuer.code_for(
            account,
            asked["redirect_uri"],
            asked["code_challenge"],
            asked.get("nonce", ""),
            scope=asked.get("scope", ""),
        )
        return back(asked, {"code": code})

    async def _token(self, form: Mapping[str, str], authority: str = "") -> SandboxReply:
        self.issuer.requests[form.get("grant_type", "")] += 1
        fault = self.issuer.take_fault()
        await asyncio.sleep(SLOW_S if fault is IssuerFault.SLOW else self.issuer.latency_s)
        if fault is IssuerFault.THROTTLED:
            answer = json_reply(429, {"error": "temporarily_unavailable"})
            return SandboxReply(429, {**answer.headers, "retry-after": "3"}, answer.body)
        if fault is IssuerFault.SERVER_ERROR:
            return json_reply(500, {"error": "server_error"})
        if fault is IssuerFault.HTML:
            return _page("Our services aren't available right now", "<p>Working to restore them.</p>")
        try:
            return json_reply(200, self.issuer.answer(form, fault, authority))
        except OAuthRefusal as refusal:
            return json_reply(refusal.status, refusal.body)

    def _set_fault(self, sent: str) -> SandboxReply:
        try:
            told = json.loads(sent)
            self.issuer.fail(told.get("fault"), int(told.get("times", -1)))
        except (ValueError, AttributeError):
            return json_reply(400, {"error": f"fault must be one of {', '.join(IssuerFault)}"})
        return json_reply(200, {"fault": self.issuer.fault})


def _mistake(asked: Mapping[str, str]) -> str:
    """Say what is wrong with an authorization request, or nothing."""
    if asked.get("client_id") != CLIENT_ID:
        return "AADSTS700016: the application is not known in this directory."
    if urlsplit(asked.get("redirect_uri", "")).hostname not in {"localhost", "127.0.0.1", "::1"}:
        return "AADSTS50011: the redirect URI is not registered."
    if asked.get("response_type") != "code" or not asked.get("state"):
        return "AADSTS900144: response_type must be code, and a state is needed."
    if asked.get("code_challenge_method") != "S256" or len(asked.get("code_challenge", "")) != 43:
        return "AADSTS9002313: PKCE with S256 is needed."
    return ""


def back(asked: Mapping[str, str], answer: Mapping[str, str]) -> SandboxReply:
    """Lead the browser back to the app, with a form or with a query, as it was asked for."""
    told = {**answer, "state": asked["state"]}
    if asked.get("response_mode") != "form_post":
        return SandboxReply(302, {"location": f"{asked['redirect_uri']}?{urlencode(told)}"})
    fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in told.items()
    )
    return _page(
        "Working...",
        f'<form method="post" action="{escape(asked["redirect_uri"])}">{fields}'
        "<noscript><button>Continue</button></noscript></form><script>document.forms[0].submit()</script>",
    )


def json_reply(status: int, value: Mapping[str, Any]) -> SandboxReply:
    """Return a value as a JSON answer."""
    return SandboxReply(status, {"content-type": "application/json"}, json.dumps(value).encode())


def _page(title: str, body: str, status: int = 200) -> SandboxReply:
    html = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title></head>'
        f"<body><h1>{escape(title)}</h1>{body}</body></html>"
    )
    return SandboxReply(status, _PAGE_HEADERS, html.encode())


def _options(kind: type[SandboxSignIn]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {kind.__module__}", description=kind.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8443, help="0 takes a free one, which is printed")
    parser.add_argument("--cert-dir", type=Path, help="where the certificates are written (a new folder)")
    parser.add_argument("--auto-consent", action="store_true", help="consent at once instead of a page")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each token answer")
    parser.add_argument("--expires-in", type=int, default=3600, help="seconds that access tokens live")
    return parser


async def _serve(kind: type[SandboxSignIn], options: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    with tempfile.TemporaryDirectory(prefix="sandbox-signin-") as scratch:
        server = kind(
            options.cert_dir or Path(scratch),
            host=options.host,
            port=options.port,
            auto_consent=options.auto_consent,
        )
        server.issuer.latency_s, server.issuer.expires_in_s = options.latency, options.expires_in
        async with server:
            lines = (f"{name}={value}\n" for name, value in server.environment().items())
            sys.stdout.write("".join(lines))
            sys.stdout.flush()
            await stopped.wait()


def serve(kind: type[SandboxSignIn]) -> None:
    """Run a sandbox as a command until SIGTERM, with the variables that lead to it on stdout."""
    asyncio.run(_serve(kind, _options(kind).parse_args()))


if __name__ == "__main__":
    serve(SandboxSignIn)
