"""The further servers of a live validation: Alertmanager, VictoriaMetrics with vmalert, and the daemon."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from controller.rules.artifacts.alertmanager import NoticeTiming as Routing
from controller.rules.artifacts.alertmanager import alertmanager_text
from controller.rules.model import RuleFile
from controller.rules.scale import Scale, duration
from controller.sandbox.processes import Processes, answers, free_port
from controller.sandbox.servers import Ports, program, scrape_config, start_prometheus, write_rules


def start_alertmanager(processes: Processes, webhook: int) -> int:
    """Start an Alertmanager that posts to `webhook` (a port) and return its port."""
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


def start_prometheus_backend(
    processes: Processes, files: Iterable[RuleFile], scale: Scale, ports: Ports
) -> Backend:
    """Start a Prometheus with these rules, and return how it is asked."""
    url = start_prometheus(processes, files, scale, ports)
    return Backend(url, url)


def start_victoria(processes: Processes, files: Iterable[RuleFile], scale: Scale, ports: Ports) -> Backend:
    """Start VictoriaMetrics, and vmalert with these rules."""
    storage = program("victoria-metrics", "victoria-metrics-prod", package="victoria-metrics")
    evaluator = program("vmalert", "vmalert-prod", package="victoria-metrics")
    write_rules(processes.folder, files)
    config, port = processes.folder / "scrape.yml", free_port()
    config.write_text(scrape_config(scale, ports), encoding="utf-8")
    process = processes.start(
        "victoria-metrics",
        port,
        [
            storage,
            f"-httpListenAddr=127.0.0.1:{port}",
            f"-storageDataPath={processes.folder / 'victoria'}",
            f"-promscrape.config={config}",
            # The file names the rules for Prometheus; here vmalert has them.
            "-promscrape.config.strictParse=false",
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


BACKENDS = {"prometheus": start_prometheus_backend, "victoria": start_victoria}


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
