"""A sender by itself, as its own process."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.servers import RedisServer, free_port
from kit.waiting import wait_until

Sender = tuple[str, "subprocess.Popen[bytes]", Path]


@pytest.fixture
def sender(redis_server: RedisServer, tmp_path: Path) -> Iterator[Sender]:
    port, token, told = free_port(), tmp_path / "ROLLOUT_API_TOKEN", tmp_path / "notify"
    token.write_text("host:sha256:" + "0" * 64)
    environment = {
        **os.environ,
        "ROLLOUT_REDIS_URL": redis_server.url,
        "ROLLOUT_SENDER_LISTEN": f"127.0.0.1:{port}",
        "CREDENTIALS_DIRECTORY": str(tmp_path),
        "NOTIFY_SOCKET": str(told),
        "PROVIDER_MICROSOFT_ENABLED": "true",
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(told))
        systemd.settimeout(20)
        process = subprocess.Popen([sys.executable, "-m", "controller", "serve"], env=environment)
        try:
            assert systemd.recv(100) == b"READY=1"
            wait_until(lambda: read(f"http://127.0.0.1:{port}/healthz") == "ok\n", 5)
            yield f"http://127.0.0.1:{port}", process, told
        finally:
            process.kill()
            process.wait(5)


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


def test_it_exports_its_gate_and_every_metric_before_the_first_send(
    sender: Sender,
) -> None:
    text = read(f"{sender[0]}/metrics")
    for name in (
        'rollout_gate_revision{feature="microsoft"}',
        'action_exec_total{action="outlook.send",provider="microsoft",status="error"} 0.0',
        'action_error_total{action="outlook.send",provider="microsoft"} 0.0',
    ):
        assert name in text


def test_it_sends_for_nobody_without_a_token(sender: Sender) -> None:
    for headers, status in (({}, 401), ({"Authorization": "Bearer wrong"}, 403)):
        request = urllib.request.Request(f"{sender[0]}/actions/outlook.send", b"{}", headers, method="POST")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=5)
        assert refused.value.code == status
        refused.value.close()


@pytest.mark.parametrize("frozen", [False, True], ids=["well", "redis frozen"])
def test_sigterm_ends_it_well(sender: Sender, redis_server: RedisServer, *, frozen: bool) -> None:
    if frozen:
        redis_server.freeze()
    sender[1].send_signal(signal.SIGTERM)
    assert sender[1].wait(10) == 0
