"""Fixtures of signing in. After every test, all that it left behind is searched for secrets."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from kit.secret_search import SEARCH, Notes
from kit.servers import RedisServer
from kit.signin import Browser, Monitor, environment, leaks, quick
from prometheus_client import CollectorRegistry, generate_latest

from adapter.sandbox.signin import CLIENT_SECRET, SandboxSignIn
from adapter.signin.microsoft.manager import MicrosoftTokenManager
from adapter.signin.microsoft.settings import MicrosoftSettings


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[SandboxSignIn]:
    """Run the sign-in server, over TLS."""
    async with SandboxSignIn(tmp_path / "certificates") as server:
        yield server


@pytest.fixture
def env(sandbox: SandboxSignIn, redis_server: RedisServer) -> dict[str, str]:
    return environment(sandbox, redis_server.url)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def manager(env: dict[str, str], registry: CollectorRegistry) -> AsyncIterator[MicrosoftTokenManager]:
    """Make a manager whose lock and time-outs are half of the usual ones."""
    settings = quick(MicrosoftSettings.from_environment(env))
    async with MicrosoftTokenManager(settings, registry=registry) as made:
        yield made


@pytest.fixture
def pages() -> list[str]:
    """Every page and answer that a browser or a program saw."""
    return []


@pytest.fixture
async def browser(
    manager: MicrosoftTokenManager, sandbox: SandboxSignIn, pages: list[str]
) -> AsyncIterator[Browser]:
    async with Browser(manager, sandbox.ca_file, pages) as made:
        yield made


@pytest.fixture
def outputs() -> list[str]:
    """What processes that a test started have printed."""
    return []


@pytest.fixture(autouse=True)
def nothing_leaks(request: pytest.FixtureRequest, outputs: list[str], pages: list[str]) -> Iterator[None]:
    """Search logs, Redis, metrics, pages and outputs of each test that uses the sandbox."""
    if "sandbox" not in request.fixturenames:
        yield
        return
    sandbox: SandboxSignIn = request.getfixturevalue("sandbox")
    server: RedisServer = request.getfixturevalue("redis_server")
    env: dict[str, str] = request.getfixturevalue("env")
    registry: CollectorRegistry = request.getfixturevalue("registry")
    notes, monitor = Notes(), Monitor(server.port)
    structlog.configure(processors=[_to(notes)])
    root = logging.getLogger()
    level = root.level
    root.addHandler(notes)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(notes)
        root.setLevel(level)
        structlog.reset_defaults()
        monitor.close()
    SEARCH.secrets |= sandbox.issuer.secrets_given
    secrets = sandbox.issuer.secrets_given | {CLIENT_SECRET, *env["ROLLOUT_TOKEN_KEYS"].split(",")}
    places: dict[str, Callable[[], str]] = {
        "the logs": lambda: "\n".join(notes.lines),
        "what Redis was sent": lambda: monitor.seen.decode("utf-8", "replace"),
        "the metrics": lambda: generate_latest(registry).decode(),
        "the pages": lambda: "\n".join(pages),
        "the outputs": lambda: "\n".join(outputs),
    }
    for place, read in places.items():
        SEARCH.note(place, read())
    assert leaks(secrets, places) == []


def _to(notes: Notes) -> Any:
    def note(_: object, method: str, event: dict[str, Any]) -> str:
        notes.lines.append(f"{method} {event!r}")
        raise structlog.DropEvent

    return note
