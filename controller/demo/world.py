"""The demo's world: redis-server, Prometheus, a local Graph and Gmail, two senders and the daemon."""

import json
import sys
import urllib.request
from collections import Counter
from collections.abc import Mapping
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

# A machine that also runs tests may be slow for a moment; that is not what this demo is about.
[features.google]
action = "gmail.send"
slo_latency_p95_ms = 2000

[features.microsoft]
bake_s = 6
blip_s = 1
slo_latency_p95_ms = 2000
reference = "google"
"""


@dataclass(slots=True)
class World:
    """Everything that runs, and the few things that the story does to it."""

    processes: Processes
    settings: ControllerSettings
    store: RedisFlagStore
    graph_url: str
    gmail_url: str

    @property
    def listed(self) -> list[Process]:
        """Return every process that was started."""
        return list(self.processes.all.values())

    def set_faults(self, *, both: bool = False, **faults: Any) -> None:
        """Tell the local Graph what to do wrong, with `both` Gmail too; nothing, without arguments."""
        for url in (self.graph_url, self.gmail_url) if both else (self.graph_url,):
            _put_faults(url, faults)

    def mails(self) -> "Mails":
        """Compare what the senders say of their mails with what arrived at both providers."""
        logs = [self.processes.folder / f"{name}.mails" for name in SENDERS]
        lines = [line for log in logs if log.exists() for line in log.read_text().splitlines()]
        by = {said["mail"]: said["by"] for said in map(json.loads, lines)}
        arrived: Counter[str] = Counter()
        for url in (self.graph_url, self.gmail_url):
            with urllib.request.urlopen(f"{url}/sandbox/subjects", timeout=5) as answer:  # noqa: S310
                arrived.update(json.load(answer))
        return Mails(
            written=len(by),
            by_fallback=sum(provider == "google" for provider in by.values()),
            lost=sum(not arrived[mail] for mail in by),
            twice=sum(copies > 1 for copies in arrived.values()),
        )

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


@dataclass(frozen=True, slots=True)
class Mails:
    """What became of the mails that the demo's users wrote."""

    written: int
    by_fallback: int
    lost: int
    twice: int


def _put_faults(url: str, faults: dict[str, Any]) -> None:
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{url}/sandbox/faults",
        data=json.dumps(faults).encode(),
        method="PUT",
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=5).close()  # noqa: S310 - loopback


def build(processes: Processes) -> World:
    """Start everything and wait until it answers. Raises StartError, MissingServerError."""
    folder = processes.folder
    prometheus_port, graph_port, gmail_port, port = (free_port() for _ in range(4))
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
    urls = {
        name: _start_sandbox(processes, name, number)
        for name, number in (("graph", graph_port), ("gmail", gmail_port))
    }
    daemon = processes.start(
        "controller", port, [*python, "controller", "run", "--config", str(config), "--no-adapter"]
    )
    for number, (name, sender_port) in enumerate(sender_ports.items()):
        first = str(number * USERS_EACH)
        log = ["--log", str(folder / f"{name}.mails")]
        command = [*python, "adapter.sandbox.sender", "--port", str(sender_port), "--first", first, *log]
        processes.start(name, sender_port, command, **_sender_environment(redis_url, config, urls))
    for name, sender_port in sender_ports.items():
        processes.wait_for(processes.all[name], answers(f"http://127.0.0.1:{sender_port}/metrics"))
    processes.wait_for(daemon, answers(f"http://127.0.0.1:{port}/healthz"))
    return World(
        processes, settings, RedisFlagStore(open_redis(redis_url, 1.0)), urls["graph"], urls["gmail"]
    )


def _start_sandbox(processes: Processes, name: str, port: int) -> str:
    """Start a local provider and return its address."""
    module = [sys.executable, "-m", f"adapter.sandbox.{name}"]
    started = processes.start(name, port, [*module, "--port", str(port), "--faults", _WEATHER])
    url = f"http://127.0.0.1:{port}"
    processes.wait_for(started, answers(f"{url}/sandbox/stats"))
    return url


_WEATHER = json.dumps({"latency_s": 0.03, "seed": 1})
"""How both sandboxes answer on a good day."""


def _sender_environment(redis_url: str, config: Path, urls: Mapping[str, str]) -> dict[str, str]:
    return {
        "ROLLOUT_REDIS_URL": redis_url,
        "ROLLOUT_CONFIG": str(config),
        "MS_GRAPH_URL": f"{urls['graph']}/v1.0",
        "GOOGLE_API_URL": urls["gmail"],
        "PROVIDER_GOOGLE_ENABLED": "true",
        "PROVIDER_MICROSOFT_ENABLED": "true",
        "INTERNAL_DOMAINS": "internal.com",
        "INTEGRATION_TESTS_ENABLED": "true",
        "MS_INTEGRATION_TOKEN": "sandbox-demo",
        "GOOGLE_INTEGRATION_TOKEN": "sandbox-demo",
    }
