"""What the tests of signing in share: a browser, and the search for secrets where none may be."""

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

import httpx
from cryptography.fernet import Fernet
from starlette.applications import Starlette

from adapter.sandbox.signin import SandboxSignIn
from adapter.signin.handshake import Handshake
from adapter.signin.microsoft.errors import MICROSOFT
from adapter.signin.settings import SignInSettings
from adapter.signin.tokens import TokenManager
from adapter.web.signin_routes import routes
from controller.shared.api_tokens import Tokens

API_TOKEN = "the-api-token-of-the-tests"
REDIRECT_URI = "http://localhost:8003/oauth/microsoft/callback"
BASE = f"http://localhost:8003{MICROSOFT.path}"
CALLBACK = f"{BASE}/callback"


def environment(sandbox: SandboxSignIn, redis_url: str, redirect_uri: str = REDIRECT_URI) -> dict[str, str]:
    """Return the variables of an adapter that signs in at the sandbox."""
    keys = {"ROLLOUT_TOKEN_KEYS": Fernet.generate_key().decode(), "MS_REDIRECT_URI": redirect_uri}
    return {**sandbox.environment(), "ROLLOUT_REDIS_URL": redis_url, **keys}


Kind = TypeVar("Kind", bound=SignInSettings)


def quick(settings: Kind) -> Kind:
    """Make the lock and the time-outs half of the usual ones: a busy machine needs the rest."""
    return replace(settings, http_timeout_s=2.0, lock_ttl_s=5.0, wait_s=15.0)


class Browser:
    """A person's browser before the service: keeps cookies, follows redirects, and notes every page."""

    def __init__(self, manager: TokenManager, ca_file: Path, pages: list[str]) -> None:
        app = httpx.ASGITransport(Starlette(routes=routes(manager, caller=Tokens.parse(API_TOKEN).caller)))
        self._pages = pages
        self.base = f"http://localhost:8003{manager.identity.path}"
        self.http = httpx.AsyncClient(
            mounts={"http://": app, "https://": None},
            verify=ssl.create_default_context(cafile=str(ca_file)),
        )

    async def get(self, url: str, **options: object) -> httpx.Response:
        return await self._noted(self.http.get(url, **options))  # type: ignore[arg-type]

    async def post(self, url: str, **options: object) -> httpx.Response:
        return await self._noted(self.http.post(url, **options))  # type: ignore[arg-type]

    async def _noted(self, asked: "object") -> httpx.Response:
        answer: httpx.Response = await asked  # type: ignore[misc]
        if answer.url.scheme == "http":
            shown = {name: value for name, value in answer.headers.items() if name != "set-cookie"}
            self._pages.append(f"{shown}\n{answer.text}")
        return answer

    async def to_consent(self, link: str) -> httpx.Response:
        """Open a link and go as far as the provider's page."""
        answer = await self.confirmed(link)
        assert answer.status_code == 303, answer.text
        return await self.get(answer.headers["location"])

    async def confirmed(self, link: str, base: str = "") -> httpx.Response:
        """Open a link and press the button of its page."""
        base = base or self.base
        page = await self.get(f"{base}/authorize", params={"link": link})
        assert page.status_code == 200, page.text
        action, fields = form_of(page.text)
        return await self.post(f"{base}/{action}", data=fields)

    async def answer_after_consent(
        self, link: str, decision: str = "accept", account: str = ""
    ) -> dict[str, str]:
        """Return what the provider sends the browser back with."""
        page = await self.to_consent(link)
        action, fields = form_of(page.text)
        fields |= {"decision": decision} | ({"account": account} if account else {})
        back = await self.post(f"{page.url.scheme}://{page.url.netloc.decode()}{action}", data=fields)
        if back.status_code == 302:
            return dict(parse_qsl(urlsplit(back.headers["location"]).query))
        return form_of(back.text)[1]

    async def sign_in(self, link: str, account: str = "") -> httpx.Response:
        """Go the whole way, to the service's last page."""
        return await self.get(
            f"{self.base}/callback", params=await self.answer_after_consent(link, account=account)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()


def form_of(page: str) -> tuple[str, dict[str, str]]:
    """Read the action and the inputs of a page's one form."""
    action = re.search(r'<form method="post" action="([^"]*)"', page)
    assert action, page
    inputs = re.findall(r'<input [^>]*name="([^"]*)"[^>]*value="([^"]*)"', page)
    return unescape(action[1]), {name: unescape(value) for name, value in inputs}


async def link_user(browser: Browser, manager: TokenManager, user_id: str) -> None:
    answer = await browser.sign_in(await Handshake(manager).link_for(user_id))
    assert answer.status_code == 200, answer.text


class Monitor:
    """Everything that clients ever send to a redis-server, as MONITOR shows it."""

    def __init__(self, port: int) -> None:
        self.seen = bytearray()
        self._connection = socket.create_connection(("127.0.0.1", port))
        self._connection.sendall(b"MONITOR\r\n")
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._connection.recv(65_536):
                self.seen += data

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        self._thread.join(5)


def leaks(secrets: set[str], places: dict[str, Callable[[], str]]) -> list[str]:
    """Name the places where a secret stands; the secrets themselves are not repeated."""
    found = []
    for place, read in places.items():
        text = read()
        found += [
            f"{place}: {secret[:6]}... ({len(secret)} characters)" for secret in secrets if secret in text
        ]
    return found
