"""The demo's world: redis-server, Prometheus, the sandbox Graph, two senders and the daemon, on loopback."""

import json
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_api_client import PrometheusConnect
from urllib3.util.retry import Retry

from controller.config.settings import ControllerSettings, load_settings
from controller.contract import ACTION_ERROR_TOTAL, ACTION_EXEC_TOTAL, SENDER_JOB
from controller.rules.rule_files import rule_files
from controller.rules.scale import Scale
from controller.sandbox.processes import Process, Processes, answers, free_port
from controller.sandbox.servers import Ports, start_prometheus, start_redis
from controller.shared.redis_pool import open_redis
from controller.store.redis_store import RedisFlagStore

SENDERS = ("sender-1", "sender-2")
USERS_EACH = 5000
TICK_S = 1.0
SCRAPE_S = 0.5

_CONFIG = """\
[controller]
redis_url = "{redis_url}"
prometheus_url = "{prometheus_url}"
listen = "127.0.0.1:{port}"
interval_s = {tick_s}
window_s = {tick_s}
scrape_s = {scrape_s}
journal = "{folder}/decisions.jsonl"
log_unchanged_holds = false

[features.microsoft]
bake_s = 6
blip_s = 1
# A machine that also runs tests may be slow for a moment; that is not what this demo is about.
slo_latency_p95_ms = 2000
"""


@dataclass(slots=True)
class World:
    """Everything that runs, and the few things that the story does to it."""

    processes: Processes
    settings: ControllerSettings
    store: RedisFlagStore
    graph_url: str

    @property
    def listed(self) -> list[Process]:
        """Return every process that was started."""
        return list(self.processes.all.values())

    def set_faults(self, **faults: Any) -> None:
        """Tell the sandbox Graph what to do wrong; nothing, without arguments."""
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self.graph_url}/sandbox/faults",
            data=json.dumps(faults).encode(),
            method="PUT",
            headers={"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=5).close()  # noqa: S310 - loopback

    def measured(self) -> dict[str, float]:
        """Ask Prometheus for what people look at: sends, failed sends, rates and p95. Absent is left out."""
        api = PrometheusConnect(self.settings.prometheus_url, retry=Retry(total=0), timeout=1)
        by = f'{{job="{SENDER_JOB}",action="outlook.send"}}'
        queries = {
            "sends": f"sum({ACTION_EXEC_TOTAL}{by})",
            "failed": f"sum({ACTION_ERROR_TOTAL}{by})",
            "rate": "job:outlook_send_exec_rate:5m",
            "p95_s": "job:outlook_send_latency_p95:5m",
            "error_ratio": "job:outlook_send_errors_rate:5m",
        }
        asked = " or ".join(
            f'label_replace({query}, "what", "{name}", "", "")' for name, query in queries.items()
        )
        return {entry["metric"]["what"]: float(entry["value"][1]) for entry in api.custom_query(asked)}


def build(processes: Processes) -> World:
    """Start everything and wait until it answers. Raises StartError, MissingServerError."""
    folder = processes.folder
    prometheus_port, graph_port, port = (free_port() for _ in range(3))
    sender_ports = {name: free_port() for name in SENDERS}
    config, redis_url = folder / "rollout.toml", start_redis(processes)
    config.write_text(
        _CONFIG.format(
            redis_url=redis_url,
            prometheus_url=f"http://127.0.0.1:{prometheus_port}",
            port=port,
            tick_s=TICK_S,
            scrape_s=SCRAPE_S,
            folder=folder,
        )
    )
    settings = load_settings(config, environ={})
    scale = Scale.of(TICK_S, TICK_S, SCRAPE_S)
    files, ports = rule_files(settings.features.values(), scale), Ports((*sender_ports.values(),), port)
    start_prometheus(processes, files, scale, ports, prometheus_port)
    python = [sys.executable, "-m"]
    graph = processes.start(
        "graph",
        graph_port,
        [*python, "adapter.sandbox.graph", "--port", str(graph_port), "--faults", _WEATHER],
    )
    graph_url = f"http://127.0.0.1:{graph_port}"
    processes.wait_for(graph, answers(f"{graph_url}/sandbox/stats"))
    daemon = processes.start(
        "controller", port, [*python, "controller", "run", "--config", str(config), "--no-adapter"]
    )
    for number, (name, sender_port) in enumerate(sender_ports.items()):
        first = str(number * USERS_EACH)
        command = [*python, "adapter.sandbox.sender", "--port", str(sender_port), "--first", first]
        processes.start(name, sender_port, command, **_sender_environment(redis_url, config, graph_url))
    for name, sender_port in sender_ports.items():
        processes.wait_for(processes.all[name], answers(f"http://127.0.0.1:{sender_port}/metrics"))
    processes.wait_for(daemon, answers(f"http://127.0.0.1:{port}/healthz"))
    return World(processes, settings, RedisFlagStore(open_redis(redis_url, 1.0)), graph_url)


_WEATHER = json.dumps({"latency_s": 0.03, "seed": 1})
"""How the sandbox answers on a good day."""


def _sender_environment(redis_url: str, config: Path, graph_url: str) -> dict[str, str]:
    return {
        "ROLLOUT_REDIS_URL": redis_url,
        "ROLLOUT_CONFIG": str(config),
        "MS_GRAPH_URL": f"{graph_url}/v1.0",
        "PROVIDER_MICROSOFT_ENABLED": "true",
        "INTERNAL_DOMAINS": "internal.com",
        "INTEGRATION_TESTS_ENABLED": "true",
        "MS_INTEGRATION_TOKEN": "sandbox-demo",
    }
