"""No secret is told: not in the log, the answers, the metrics, the records or the process list."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from kit.waiting import wait_until
from worlds.live import Daemon, World

API_TOKEN = "s3cret-of-the-api"
SECRETS = {
    "ROLLOUT_REDIS_URL": "redis://default:s3cret-of-redis@127.0.0.1:{port}/0",
    "ROLLOUT_API_TOKEN": f"ann:{API_TOKEN}",
    "ROLLOUT_PROMETHEUS_TOKEN": "s3cret-of-prometheus",
    "ROLLOUT_TOKEN_KEYS": Fernet.generate_key().decode(),
    "MS_CLIENT_SECRET": "s3cret-of-the-app",
}
PATHS = (
    "/",
    "/metrics",
    "/readyz",
    "/openapi.json",
    "/api/v1/features",
    "/api/v1/features/microsoft/decisions",
)

CHANGES = {
    "/api/v1/features/microsoft/enable": b'{"reason": "x"}',
    "/api/v1/features/microsoft/pause": b'{"reason": "x"}',
    "/api/v1/features/microsoft/nothing": b'{"reason": "x"}',
    "/actions/outlook.send": b'{"user_id": "u", "to": []}',
    "/oauth/microsoft/revoke": b'{"user_id": "u"}',
}


def ask(daemon: Daemon, path: str, token: str = "", body: bytes | None = None) -> str:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"{daemon.url}{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()


def rollout(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "controller", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout + done.stderr


def test_no_secret_is_told_anywhere_however_things_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with World(tmp_path, senders=0) as world:
        daemon, client = world.daemons["a"], world.redis.client()
        secrets = {name: text.format(port=world.to_redis["a"].port) for name, text in SECRETS.items()}
        for name, text in secrets.items():
            (tmp_path / name).write_text(text)
            monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
        for name in ("MS_CLIENT_ID", "MS_TENANT_ID"):
            monkeypatch.setenv(name, "of-the-tests")
        monkeypatch.setenv("PROVIDER_MICROSOFT_ENABLED", "true")
        monkeypatch.setenv("MS_GRAPH_URL", "http://127.0.0.1:1")
        monkeypatch.setenv("MS_AUTHORITY", "http://127.0.0.1:1/of-the-tests")
        config = ("--config", str(daemon.config))
        lines = (
            daemon.config.read_text()
            .replace("http://127", "http://ann:s3cret-in-the-url@127")
            .splitlines(True)
        )
        daemon.config.write_text("".join(line for line in lines if "redis_url" not in line))
        client.config_set("requirepass", "s3cret-of-redis")
        daemon.start("--json").wait_ready()
        proc = Path(f"/proc/{daemon.process.pid}")
        told = [(proc / "cmdline").read_text(), (proc / "environ").read_text()]
        for token in ("", "wrong", API_TOKEN):
            told += [ask(daemon, path, token, body) for path, body in CHANGES.items()]
        assert '"actor":"ann"' in "".join(told)
        client.auth("s3cret-of-redis")
        client.config_set("requirepass", "s3cret-that-is-another")
        world.to_redis["a"].cut()
        world.prometheus.kill()
        wait_until(lambda: daemon.said("dependency_lost"), 15)
        told += [ask(daemon, path) for path in PATHS]
        told += [rollout("doctor", *config), rollout("config", "show", *config), rollout("status", *config)]
        client.config_set("requirepass", "s3cret-of-redis")
        wait_until(lambda: daemon.said("dependency_back"), 15)
        told += [ask(daemon, path) for path in PATHS]
        told += [daemon.log.read_text(), daemon.journal.read_text()]
        client.close()
    everything = "\n".join(told)
    assert len(everything) > 10_000
    assert json.dumps("ann") in everything
    for secret in ("s3cret", secrets["ROLLOUT_TOKEN_KEYS"]):
        assert secret not in everything, everything[max(0, everything.index(secret) - 300) :][:600]
