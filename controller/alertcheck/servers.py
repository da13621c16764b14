"""The servers of a live validation: Prometheus, Alertmanager, Redis and the daemon, on loopback."""

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from controller.contract import SENDER_JOB
from controller.demo.processes import Processes, answers, free_port
from controller.rules.alertmanager import Notices as Routing
from controller.rules.alertmanager import alertmanager_text
from controller.rules.model import RuleFile
from controller.rules.scale import Scale, duration
from controller.rules.text import yaml_text

_SCRAPES = """\
global:
  scrape_interval: {scrape}
  scrape_timeout: {scrape}
scrape_configs:
  - job_name: {job}
    static_configs: [{{targets: {senders}}}]
  - job_name: rollout-controller
    static_configs: [{{targets: ["127.0.0.1:{controller}"]}}]
"""
_ALERTING = """\
rule_files: ["rules/*.yml"]
alerting:
  alertmanagers:
    - static_configs: [{{targets: ["127.0.0.1:{alertmanager}"]}}]
"""


class MissingServerError(Exception):
    """A server that a live validation needs is not installed; the message says how to get it."""


def program(*names: str, package: str) -> str:
    """Find a program under one of its names; raises MissingServerError with the package that has it."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise MissingServerError(f"{names[0]} is not on PATH; install it: apt-get install {package}")
    return found


def start_alertmanager(processes: Processes, webhook: int) -> int:
    binary = program("prometheus-alertmanager", "alertmanager", package="prometheus-alertmanager")
    url, port = f"http://127.0.0.1:{webhook}/", free_port()
    config = processes.folder / "alertmanager.yml"
    # Warnings are not muted here: each alert's own notice is to be seen.
    routing = Routing(url, url, wait_s=0.5, interval_s=1, repeat_s=3600, mute_warnings=False)
    config.write_text(alertmanager_text(routing), encoding="utf-8")
    process = processes.start(
        "alertmanager",
        port,
        [
            binary,
            f"--config.file={config}",
            f"--storage.path={processes.folder / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ],
    )
    processes.wait_for(process, answers(f"http://127.0.0.1:{port}/-/ready"))
    return port


@dataclass(frozen=True, slots=True)
class Backend:
    """Where series are asked for, and where rules are."""

    query_url: str
    rules_url: str


@dataclass(frozen=True, slots=True)
class Ports:
    """The loopback ports that a backend scrapes and notifies."""

    senders: tuple[int, ...]
    controller: int
    alertmanager: int


def start_prometheus(
    processes: Processes, files: Mapping[str, RuleFile], scale: Scale, ports: Ports
) -> Backend:
    """Start Prometheus with these rules."""
    binary = program("prometheus", package="prometheus")
    _write_rules(processes.folder, files)
    config, port = processes.folder / "prometheus.yml", free_port()
    alerting = _ALERTING.format(alertmanager=ports.alertmanager)
    config.write_text(_scrape_config(scale, ports) + alerting, encoding="utf-8")
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
    return Backend(url, url)


def start_victoria(
    processes: Processes, files: Mapping[str, RuleFile], scale: Scale, ports: Ports
) -> Backend:
    """Start VictoriaMetrics, and vmalert with these rules."""
    storage = program("victoria-metrics", "victoria-metrics-prod", package="victoria-metrics")
    evaluator = program("vmalert", "vmalert-prod", package="victoria-metrics")
    _write_rules(processes.folder, files)
    config, port = processes.folder / "scrape.yml", free_port()
    config.write_text(_scrape_config(scale, ports), encoding="utf-8")
    process = processes.start(
        "victoria-metrics",
        port,
        [
            storage,
            f"-httpListenAddr=127.0.0.1:{port}",
            f"-storageDataPath={processes.folder / 'victoria'}",
            f"-promscrape.config={config}",
            # Without these, the newest samples are hidden for seconds.
            "-search.latencyOffset=0s",
            "-search.cacheTimestampOffset=0s",
            "-search.disableCache",
        ],
    )
    url, rules_port = f"http://127.0.0.1:{port}", free_port()
    processes.wait_for(process, answers(f"{url}/health"))
    process = processes.start(
        "vmalert",
        rules_port,
        [
            evaluator,
            f"-httpListenAddr=127.0.0.1:{rules_port}",
            f"-rule={processes.folder / 'rules'}/*.yml",
            f"-datasource.url={url}",
            f"-remoteWrite.url={url}",
            f"-remoteRead.url={url}",
            "-remoteWrite.flushInterval=100ms",
            f"-notifier.url=http://127.0.0.1:{ports.alertmanager}",
            f"-evaluationInterval={duration(scale.interval_s)}",
        ],
    )
    rules_url = f"http://127.0.0.1:{rules_port}"
    processes.wait_for(process, answers(f"{rules_url}/health"))
    return Backend(url, rules_url)


BACKENDS = {"prometheus": start_prometheus, "victoria": start_victoria}


def _write_rules(folder: Path, files: Mapping[str, RuleFile]) -> None:
    (folder / "rules").mkdir()
    for name, file in files.items():
        (folder / "rules" / name).write_text(yaml_text(file), encoding="utf-8")


def _scrape_config(scale: Scale, ports: Ports) -> str:
    return _SCRAPES.format(
        scrape=duration(scale.scrape_s),
        job=SENDER_JOB,
        senders=json.dumps([f"127.0.0.1:{port}" for port in ports.senders]),
        controller=ports.controller,
    )


def start_redis(processes: Processes) -> str:
    """Start a redis-server that keeps nothing; gives its URL."""
    binary, port = program("redis-server", package="redis-server"), free_port()
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = processes.start("redis", port, [*command, "--dir", str(processes.folder)])
    log = process.log

    def ready() -> bool:
        return "Ready to accept connections" in log.read_text(encoding="utf-8", errors="replace")

    processes.wait_for(process, ready)
    return f"redis://127.0.0.1:{port}/0"


def start_daemon(processes: Processes, backend: Backend, redis: str, scale: Scale, features: str) -> None:
    """Start the controller itself beside its rules; `features` are the TOML tables of the features."""
    port, config = free_port(), processes.folder / "rollout.toml"
    lengths = f"interval_s = {scale.window_s}\nwindow_s = {scale.window_s}\nscrape_s = {scale.scrape_s}\n"
    config.write_text(
        f'[controller]\nredis_url = "{redis}"\nprometheus_url = "{backend.query_url}"\n'
        f'rules_url = "{backend.rules_url}"\n'
        f'listen = "127.0.0.1:{port}"\n{lengths}\n{features}',
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "controller", "run", "--no-adapter", "--config", str(config)]
    process = processes.start("daemon", port, command)
    processes.wait_for(process, answers(f"http://127.0.0.1:{port}/healthz"))
