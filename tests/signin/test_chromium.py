"""The whole way in a real browser: the printed link, Microsoft's page, the linked mailbox, a mail sent."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
import uvicorn
from kit.servers import free_port
from kit.waiting import until
from playwright.async_api import BrowserContext, async_playwright, expect
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from adapter.sandbox.graph import Sandbox
from adapter.sandbox.signin import SandboxSignIn
from adapter.signin.microsoft.manager import MicrosoftTokenManager
from adapter.signin.microsoft.settings import MicrosoftSettings
from adapter.web.signin_routes import routes
from controller.contract import flag_keys
from controller.shared.api_tokens import Caller

ROLLOUT = Path(sys.executable).with_name("rollout")
WITHIN_MS = 240_000
"""A bound, not a measure: a browser on a busy machine takes its time."""

expect.set_options(timeout=WITHIN_MS)


@pytest.fixture
def env(sandbox: SandboxSignIn, redis_server: object, env: dict[str, str]) -> dict[str, str]:
    port = free_port()
    own = {
        "ROLLOUT_LISTEN": f"127.0.0.1:{port}",
        "MS_REDIRECT_URI": f"http://localhost:{port}/oauth/microsoft/callback",
        "PROVIDER_MICROSOFT_ENABLED": "true",
    }
    return {**env, **own}


@asynccontextmanager
async def service(
    settings: MicrosoftSettings, registry: CollectorRegistry, tls: dict[str, Path] | None = None
) -> AsyncIterator[None]:
    """Serve the sign-in routes with uvicorn, as the daemon does, access log and all."""
    async with MicrosoftTokenManager(settings, registry=registry) as manager:
        app = Starlette(routes=routes(manager, caller=lambda *_: Caller("tests")))
        port = urlsplit(settings.redirect_uri).port or 0
        config = uvicorn.Config(app, port=port, ws="none", lifespan="off", log_config=None, **(tls or {}))  # type: ignore[arg-type]
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        try:
            await until(lambda: server.started)
            yield
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def chromium() -> AsyncIterator[BrowserContext]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, "install Debian's chromium: .ci/setup does"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
        )
        # Whether the browser trusts the sandbox's certificate is not what is tried here; the product must.
        context = await browser.new_context(ignore_https_errors=True)
        context.set_default_timeout(WITHIN_MS)
        yield context
        await browser.close()


async def rollout(env: dict[str, str], outputs: list[str], *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        str(ROLLOUT),
        *arguments,
        env={**os.environ, **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    outputs += [out.decode(), err.decode()]
    return process.returncode or 0, out.decode() + err.decode()


def open_the_gate(client: redis.Redis) -> None:
    values = ("true", "false", "100", "false")
    client.mset(dict(zip(flag_keys("microsoft"), values, strict=True)))


async def test_a_person_links_a_mailbox_in_chromium_and_then_a_mail_leaves_with_that_token(
    sandbox: SandboxSignIn,
    env: dict[str, str],
    registry: CollectorRegistry,
    redis_client: redis.Redis,
    outputs: list[str],
    pages: list[str],
    tmp_path: Path,
) -> None:
    status, printed = await rollout(env, outputs, "auth", "link", "user-1")
    assert status == 0, printed
    complaints: list[str] = []
    async with service(MicrosoftSettings.from_environment(env), registry), chromium() as browser:
        page = await browser.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        await page.goto(printed.strip())
        await page.get_by_role("button", name="Go on to Microsoft").click()
        await expect(page.get_by_role("heading")).to_have_text("Sandbox sign-in")
        await expect(page.get_by_role("listitem").filter(has_text="Mail.Send")).to_be_visible()
        await page.get_by_role("button", name="Accept").click()
        await expect(page.get_by_role("heading")).to_have_text("Mailbox linked")
        await expect(page.get_by_text("ann@corp.example")).to_be_visible()
        pages.append(await page.content())
        await page.reload()
        await expect(page.get_by_role("heading")).to_have_text("Sign-in refused")
        pages.append(await page.content())
    assert [text for text in complaints if "Content Security Policy" in text] == []

    status, printed = await rollout(env, outputs, "auth", "status", "user-1")
    assert status == 0, printed
    assert "linked to ann@corp.example" in printed

    open_the_gate(redis_client)
    body = tmp_path / "body.txt"
    body.write_text("Hello")
    async with Sandbox(accepts=sandbox.issuer.accepts) as graph:
        mail = ("--to", "bob@corp.example", "--subject", "Hello", "--text", str(body))
        with_graph = {**env, "MS_GRAPH_URL": graph.url}
        status, printed = await rollout(with_graph, outputs, "send", "--user", "user-1", *mail)
        assert status == 0, printed
        assert len(graph.messages) == 1
        status, printed = await rollout(with_graph, outputs, "auth", "revoke", "user-1", "--json")
        assert status == 0
        assert json.loads(outputs[-2]) == {"user_id": "user-1", "revoked": True, "server_revoked": False}
        status, printed = await rollout(with_graph, outputs, "send", "--user", "user-1", *mail)
        assert status == 1
        assert "MS_AUTH_INTERACTION_REQUIRED" in printed
        assert len(graph.messages) == 1


async def test_over_https_the_form_and_its_cookie_come_back_in_chromium(
    sandbox: SandboxSignIn, env: dict[str, str], registry: CollectorRegistry, pages: list[str]
) -> None:
    """The browser sends a `SameSite=None; Secure` cookie with Microsoft's form, which is another site's."""
    base = f"https://127.0.0.1:{env['ROLLOUT_LISTEN'].rpartition(':')[2]}/oauth/microsoft"
    settings = replace(MicrosoftSettings.from_environment(env), redirect_uri=f"{base}/callback")
    folder = sandbox.ca_file.parent
    tls = {"ssl_certfile": folder / "server.pem", "ssl_keyfile": folder / "server.key"}
    async with service(settings, registry, tls), chromium() as browser:
        page = await browser.new_page()
        await page.goto(f"{base}/authorize?user_id=user-1")
        await page.get_by_role("button", name="Accept").click()
        await expect(page.get_by_role("heading")).to_have_text("Mailbox linked")
        assert "code=" not in page.url
        pages.append(await page.content())
