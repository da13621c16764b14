"""A whole world on a scale of seconds: Redis, Prometheus, two senders, and controllers as real processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from kit.servers import PrometheusServer, Proxy, RedisServer, free_port
from kit.waiting import wait_until
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    start_http_server,
)

from adapter.gate.rollout_gate import RolloutGate
from controller.contract import (
    ACTION_ERROR_TOTAL,
    ACTION_EXEC_TOTAL,
    ACTION_LATENCY_SECONDS,
    METRIC_LABELS,
    ROLLOUT_GATE_REVISION,
    SENDER_JOB,
    STATUSES,
    latency_edges_s,
)
from controller.features import ROLLOUT_FEATURES
from controller.rules.rule_files import rule_files
from controller.rules.scale import Scale
from controller.rules.yaml_text import yaml_text

TICK_S = 1.0
SCRAPE_S = 0.5
LEASE_S = 3.0
FEATURES = {"microsoft": ROLLOUT_FEATURES["microsoft"]}
_LABELS = {"provider": "microsoft", "action": "outlook.send"}

_CONFIG = """\
[controller]
redis_url = "{redis_url}"
prometheus_url = "{prometheus_url}"
listen = "127.0.0.1:{port}"
interval_s = {tick_s}
scrape_s = {scrape_s}
lease_s = {lease_s}
journal = "{journal}"

[features.microsoft]
bake_s = 1
blip_s = 1
hold_on_alert = false
steps = [1, 2, 3, 5, 8, 12, 18, 25, 35, 50, 70, 100]
"""
_PROMETHEUS = """\
global: {{scrape_interval: {scrape_ms}ms, evaluation_interval: {tick_ms}ms}}
rule_files: ["{rules}/*.yml"]
scrape_configs:
  - job_name: {job}
    static_configs: [{{targets: {senders}}}]
"""


class Sender:
    """A sender in this process: a real gate and real metrics around sends that go nowhere."""

    def __init__(self, redis_url: str, number: int) -> None:
        self.port = free_port()
        self.error_share = 0.0
        self.opened_at = 0.0
        """When the gate last let somebody in, on the monotonic clock."""
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._exec = Counter(ACTION_EXEC_TOTAL, "-", METRIC_LABELS[ACTION_EXEC_TOTAL], registry=registry)
        self._errors = Counter(ACTION_ERROR_TOTAL, "-", METRIC_LABELS[ACTION_ERROR_TOTAL], registry=registry)
        self._latency = Histogram(
            ACTION_LATENCY_SECONDS,
            "-",
            METRIC_LABELS[ACTION_LATENCY_SECONDS],
            buckets=latency_edges_s(),
            registry=registry,
        )
        for status in STATUSES:
            self._exec.labels(**_LABELS, status=status)
            self._latency.labels(**_LABELS, status=status)
        self._errors.labels(**_LABELS)
        self._gate = RolloutGate.start(redis_url, FEATURES, ["internal.com"])
        obeyed = Gauge(ROLLOUT_GATE_REVISION, "-", METRIC_LABELS[ROLLOUT_GATE_REVISION], registry=registry)
        obeyed.labels("microsoft").set_function(lambda: self._gate.revision("microsoft"))
        self._server, self._serving = start_http_server(self.port, "127.0.0.1", registry=registry)
        self._user = self._first_user(number)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._send_on, daemon=True)
        self._thread.start()

    def _first_user(self, number: int) -> str:
        """Find a user who is in at any percentage, so that every step sees traffic."""
        names = (f"user-{number}-{i}" for i in range(10_000))
        return next(name for name in names if self._gate.check("microsoft", name).bucket < 1000)

    def _send_on(self) -> None:
        sent = failed = 0
        while not self._stopping.wait(0.005):
            if not self._gate.check("microsoft", self._user).open:
                continue
            self.opened_at = time.monotonic()
            sent += 1
            fails = failed < sent * self.error_share
            failed = failed + fails if self.error_share else 0
            sent = sent if self.error_share else 0
            status = "error" if fails else "ok"
            self._exec.labels(**_LABELS, status=status).inc()
            self._latency.labels(**_LABELS, status=status).observe(0.02)
            if fails:
                self._errors.labels(**_LABELS).inc()
            self._gate.count("microsoft", not fails, 0.02, f"{self._user}-{sent % 10}")

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(5)
        self._gate.close()
        self._server.shutdown()
        self._server.server_close()
        self._serving.join(5)


class Daemon:
    """One `rollout run` as its own process."""

    def __init__(self, folder: Path, name: str, redis_url: str, prometheus_url: str) -> None:
        self.name = name
        self.port = free_port()
        self.journal = folder / f"{name}.jsonl"
        self.log = folder / f"{name}.log"
        self.config = folder / f"{name}.toml"
        self.config.write_text(
            _CONFIG.format(
                redis_url=redis_url,
                prometheus_url=prometheus_url,
                port=self.port,
                tick_s=TICK_S,
                scrape_s=SCRAPE_S,
                lease_s=LEASE_S,
                journal=self.journal,
            ),
            encoding="utf-8",
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError(f"{self.name} does not run")
        return self._process

    def start(self, *options: str) -> Self:
        command = [sys.executable, "-m", "controller", "run", "--config", str(self.config)]
        command += options or ("--no-adapter",)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        return self

    def wait_ready(self, within_s: float = 60.0) -> Self:
        wait_until(lambda: self.ready().get("tick_fresh"), within_s, f"{self.name} ticks")
        return self

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def ready(self) -> Mapping[str, Any]:
        """Return what /readyz says, ready or not; nothing while nobody answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            with error:
                return dict(json.load(error))
        except OSError:
            return {}

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(5)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(5)

    def said(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of its log that tell of this event."""
        lines = self.log.read_text(errors="replace").splitlines()
        told = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in told if line.get("event") == event]

    def metric(self, name: str, **labels: str) -> float:
        """Return one sample of its own metrics; raises KeyError where it exports none."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
        wanted = f"{name}{{{inside}}} " if labels else f"{name} "
        values = [line.removeprefix(wanted) for line in text.splitlines() if line.startswith(wanted)]
        if not values:
            raise KeyError(wanted)
        return float(values[0])


class World:
    """Redis and Prometheus, with a proxy before each for everybody who may lose it."""

    def __init__(self, folder: Path, *redis_options: str, senders: int = 2) -> None:
        self.folder = folder
        self.redis = RedisServer(folder, *redis_options).start()
        self.to_redis = {name: self._proxy(self.redis.port) for name in ("a", "b", "senders")}
        self.senders = [Sender(self.to_redis["senders"].redis_url, number) for number in range(senders)]
        rules = folder / "rules"
        rules.mkdir()
        for file in rule_files(FEATURES.values(), Scale.of(TICK_S, TICK_S, SCRAPE_S)):
            (rules / file.name).write_text(yaml_text(file), encoding="utf-8")
        configuration = _PROMETHEUS.format(
            scrape_ms=round(SCRAPE_S * 1000),
            tick_ms=round(TICK_S * 1000),
            rules=rules,
            job=SENDER_JOB,
            senders=json.dumps([f"127.0.0.1:{sender.port}" for sender in self.senders]),
        )
        self.prometheus = PrometheusServer(folder, configuration).start()
        self.to_prometheus = {name: self._proxy(self.prometheus.port) for name in ("a", "b")}
        self.daemons = {
            name: Daemon(
                folder,
                name,
                self.to_redis[name].redis_url,
                f"http://127.0.0.1:{self.to_prometheus[name].port}",
            )
            for name in ("a", "b")
        }

    def _proxy(self, port: int) -> Proxy:
        return Proxy(port).__enter__()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for daemon in self.daemons.values():
            daemon.close()
        self.redis.thaw()
        for sender in self.senders:
            sender.close()
        for proxy in (*self.to_redis.values(), *self.to_prometheus.values()):
            proxy.close()
        self.prometheus.kill()
        self.redis.stop()


def sleep_until(instant: float) -> None:
    time.sleep(max(0.0, instant - time.monotonic()))


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
