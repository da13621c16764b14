"""The servers of a live validation: Prometheus, Alertmanager, Redis and the daemon, on loopback."""

import json
import shutil
import sys
from collections.abc import Mapping

from controller.contract import SENDER_JOB
from controller.demo.processes import Processes, answers, free_port
from controller.rules.alertmanager import Notices as Routing
from controller.rules.alertmanager import alertmanager_text
from controller.rules.model import RuleFile
from controller.rules.scale import Scale, duration
from controller.rules.text import yaml_text

_PROMETHEUS = """\
global:
  scrape_interval: {scrape}
  scrape_timeout: {scrape}
  evaluation_interval: {interval}
rule_files: ["rules/*.yml"]
alerting:
  alertmanagers:
    - static_configs: [{{targets: ["127.0.0.1:{alertmanager}"]}}]
scrape_configs:
  - job_name: {job}
    static_configs: [{{targets: {senders}}}]
  - job_name: rollout-controller
    static_configs: [{{targets: ["127.0.0.1:{controller}"]}}]
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


def start_prometheus(
    processes: Processes,
    files: Mapping[str, RuleFile],
    scale: Scale,
    *,
    senders: list[int],
    controller: int,
    alertmanager: int,
) -> str:
    """Start Prometheus with these rules; gives its URL."""
    binary = program("prometheus", package="prometheus")
    rules = processes.folder / "rules"
    rules.mkdir()
    for name, file in files.items():
        (rules / name).write_text(yaml_text(file), encoding="utf-8")
    config, port = processes.folder / "prometheus.yml", free_port()
    config.write_text(
        _PROMETHEUS.format(
            scrape=duration(scale.scrape_s),
            interval=duration(scale.interval_s),
            alertmanager=alertmanager,
            job=SENDER_JOB,
            senders=json.dumps([f"127.0.0.1:{sender}" for sender in senders]),
            controller=controller,
        ),
        encoding="utf-8",
    )
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


def start_daemon(processes: Processes, prometheus: str, redis: str, scale: Scale, features: str) -> None:
    """Start the controller itself beside its rules; `features` are the TOML tables of the features."""
    port, config = free_port(), processes.folder / "rollout.toml"
    lengths = f"interval_s = {scale.window_s}\nwindow_s = {scale.window_s}\nscrape_s = {scale.scrape_s}\n"
    config.write_text(
        f'[controller]\nredis_url = "{redis}"\nprometheus_url = "{prometheus}"\n'
        f'listen = "127.0.0.1:{port}"\n{lengths}\n{features}',
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "controller", "run", "--no-adapter", "--config", str(config)]
    process = processes.start("daemon", port, command)
    processes.wait_for(process, answers(f"http://127.0.0.1:{port}/healthz"))
