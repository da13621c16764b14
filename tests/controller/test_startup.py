"""Commands that are typed by hand load what they use: asked by what is imported, not by the clock."""

import subprocess
import sys

import pytest
from kit.servers import RedisServer

NOT_NEEDED = {
    "apscheduler",
    "cryptography.fernet",
    "email_validator",
    "httpx",
    "msal",
    "prometheus_api_client",
    "prometheus_client",
    "requests",
    "rich",
    "starlette",
    "structlog",
    "uvicorn",
    "yaml",
}
PROGRAM = """
import sys
from controller.cli import rollout
try:
    rollout.main(sys.argv[1:], standalone_mode=False)
finally:
    print(*sys.modules, file=sys.stderr)
"""


def loaded_by(*arguments: str) -> set[str]:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_loads_click_and_nothing_else_that_is_slow() -> None:
    assert not loaded_by("--help") & {*NOT_NEEDED, "redis", "asyncio", "adapter"}


@pytest.fixture
def at_redis(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_REDIS_URL", redis_server.url)
    monkeypatch.delenv("ROLLOUT_CONFIG", raising=False)
    with redis_server.client() as client:
        client.set("rollout:epoch", 1)  # a controller has led here


def test_status_loads_redis_and_nothing_else_that_is_slow(at_redis: None) -> None:
    loaded = loaded_by("status")
    assert "redis" in loaded
    assert not loaded & NOT_NEEDED


@pytest.mark.parametrize("command", [["history", "microsoft"], ["pause", "microsoft", "--reason", "x"]])
def test_a_command_that_reads_or_writes_the_journal_loads_the_log_beside_it(
    at_redis: None, command: list[str]
) -> None:
    assert loaded_by(*command) & NOT_NEEDED <= {"structlog", "rich"}
