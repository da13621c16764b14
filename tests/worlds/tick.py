"""A real Prometheus and a real Redis with the evidence of any number of features, to measure ticks on.

A static page is scraped that holds the recorded series themselves, with their labels alone: what the rules
would have recorded of thousands of senders. Every scrape is a window of its own, so each tick has something
new to judge; to the controller a window is three scrapes long, as it is by default.
"""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import redis
from kit.servers import PrometheusServer, RedisServer, free_port
from redis.connection import AbstractConnection

from controller import contract
from controller.config.settings import ControllerSettings
from controller.daemon.wiring import assemble
from controller.decision.feature import RolloutFeature
from controller.decision.model import Reason
from controller.loop.tick import Controller, Report
from controller.rules.evidence_rules import evidence_group
from controller.rules.model import RuleFile
from controller.rules.scale import Scale
from controller.rules.yaml_text import yaml_text

SENDS, SLOW = 300, 3
_TICKS_UNTIL_STEADY = 15
_PAGE = "metrics.txt"


def features_of(count: int) -> dict[str, RolloutFeature]:
    """Return features that bake forever, so that a healthy tick changes nothing."""
    named = {f"feature-{n:05}": f"mail{n}.send" for n in range(count)}
    return {name: RolloutFeature(name, "bench", action, bake_s=1e6) for name, action in named.items()}


@dataclass(frozen=True, slots=True)
class TickWorld:
    """The servers behind one controller; every `window_s` there is something new to judge."""

    prometheus: PrometheusServer
    redis: RedisServer
    settings: ControllerSettings

    def ticking(self) -> Controller:
        """Return a controller that leads and has ticked until every feature is judged by new windows."""
        controller = assemble(self.settings, dry_run=False).controller
        for _ in range(_TICKS_UNTIL_STEADY):
            report = self.tick(controller)
            if report.records and all(record["reason"] == Reason.BAKING for record in report.records):
                return controller
        reasons = sorted({f"{record['reason']}: {record['detail']}" for record in report.records})
        raise RuntimeError(f"not every feature is judged: {report.error} {reasons[:3]}")

    def tick(self, controller: Controller) -> Report:
        """Tick at the next of the instants that lie a window apart: each has one new window to judge."""
        time.sleep(self.settings.window_s - time.time() % self.settings.window_s)
        return controller.tick()

    def turns(self, controller: Controller) -> tuple[int, int]:
        """Return how many requests a tick sends to Prometheus, and how many round trips it makes to Redis."""
        asked = self._requests()
        with _redis_turns() as turns:
            self.tick(controller)
        return self._requests() - asked, len(turns)

    def _requests(self) -> int:
        """Return how many requests to its API this Prometheus counts itself."""
        with urllib.request.urlopen(f"{self.prometheus.url}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        counted = [line for line in lines if line.startswith("prometheus_http_requests_total{")]
        return sum(int(float(line.split()[-1])) for line in counted if 'handler="/api/' in line)


@contextmanager
def tick_world(
    folder: Path, count: int, journal: Path | None = None, window_s: float = 2.0
) -> Iterator[TickWorld]:
    """Run everything until the block ends; the flags are open at 5 % and evidence has begun to come in."""
    features = features_of(count)
    with ExitStack() as stack:
        page = stack.enter_context(_page(folder, _recorded(features)))
        (folder / "rules.yml").write_text(_rules(window_s), encoding="utf-8")
        prometheus = stack.enter_context(PrometheusServer(folder, _configuration(page, folder, window_s)))
        server = stack.enter_context(RedisServer(folder))
        with server.client() as client:
            _open(client, features)
        settings = ControllerSettings(
            features=features,
            redis_url=server.url,
            prometheus_url=prometheus.url,
            window_s=window_s,
            scrape_s=window_s / 3,
            journal=journal,
            log_unchanged_holds=False,
        )
        time.sleep(4 * window_s)
        yield TickWorld(prometheus, server, settings)


def _recorded(features: Mapping[str, RolloutFeature]) -> str:
    """Write what the evidence rules record of one window, as a page of metrics."""
    lines = []
    for feature in features.values():
        pair = f'provider="{feature.provider}",action="{feature.action}"'
        lines += [
            f"{contract.EVIDENCE_SENDS}{{{pair}}} {SENDS}",
            f"{contract.EVIDENCE_ERRORS}{{{pair}}} 0",
            f'{contract.EVIDENCE_LATENCY_BUCKET}{{{pair},le="{feature.latency_limit_s}"}} {SENDS - SLOW}',
            f'{contract.EVIDENCE_LATENCY_BUCKET}{{{pair},le="+Inf"}} {SENDS}',
            f'{contract.EVIDENCE_GATE_REVISION}{{feature="{feature.name}"}} 1',
        ]
    return "\n".join(lines) + "\n"


def _rules(window_s: float) -> str:
    scale = Scale(window_s, window_s, window_s)
    return yaml_text(RuleFile("rules.yml", "Evidence.", (evidence_group(scale),)))


def _configuration(page_port: int, folder: Path, window_s: float) -> str:
    return f"""
global: {{scrape_interval: {window_s * 1000:.0f}ms, evaluation_interval: 30s}}
rule_files: [{folder}/rules.yml]
scrape_configs:
  - job_name: {contract.SENDER_JOB}
    metrics_path: /{_PAGE}
    metric_relabel_configs: [{{action: labeldrop, regex: "job|instance"}}]
    static_configs: [{{targets: ["127.0.0.1:{page_port}"]}}]
"""


@contextmanager
def _page(folder: Path, text: str) -> Iterator[int]:
    (folder / _PAGE).write_text(text, encoding="utf-8")
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    with subprocess.Popen(
        [*command, "--directory", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield port
        finally:
            process.terminate()


def _open(client: redis.Redis, features: Mapping[str, RolloutFeature]) -> None:
    with client.pipeline(transaction=False) as together:
        for name in features:
            together.mset(dict(zip(contract.flag_keys(name), ("true", "false", "5", "false"), strict=True)))
            together.set(contract.revision_key(name), 1)
        together.execute()


@contextmanager
def _redis_turns() -> Iterator[list[int]]:
    """Note each time that redis-py waits for an answer after it sent something: each is a round trip."""
    turns: list[int] = []
    sent = False
    send, read = AbstractConnection.send_packed_command, AbstractConnection.read_response

    def sending(connection: Any, command: Any, check_health: bool = True) -> Any:
        nonlocal sent
        sent = True
        return send(connection, command, check_health)  # type: ignore[no-untyped-call]

    def reading(*args: Any, **options: Any) -> Any:
        nonlocal sent
        turns.extend([1] * sent)
        sent = False
        return read(*args, **options)

    with (
        patch.object(AbstractConnection, "send_packed_command", sending),
        patch.object(AbstractConnection, "read_response", reading),
    ):
        yield turns
