"""Each dependency's fault: what the daemon does, says once and shows, and that it goes on by itself.

The same faults stand in docs/operations.md, by the same names.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from kit.bad_server import Bad, headers_for_ever, no_http
from kit.servers import PrometheusServer, Proxy, RedisServer, free_port
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from controller.config.settings import load_settings
from controller.contract import flag_key
from controller.daemon.process import Daemon
from controller.loop.tick import Report

DOCS = Path(__file__).parents[2] / "docs" / "operations.md"
TICKS = 3


@dataclass
class Place:
    """A daemon that ticks when a test says so, its dependencies, and all that it said."""

    daemon: Daemon
    registry: CollectorRegistry
    redis: RedisServer
    client: Any
    to_redis: Proxy
    prometheus: PrometheusServer
    to_prometheus: Proxy
    file: Path
    logs: list[Any]
    closing: ExitStack

    def tick(self, count: int = 1) -> Report:
        report = Report()
        for _ in range(count):
            report = self.daemon.tick()
        return report

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    def up(self, dependency: str) -> bool:
        return self.metric("rollout_neighbour_up", neighbour=dependency) == 1

    def troubles(self) -> list[tuple[str, str]]:
        """Return what was logged as a warning or an error, with the feature that it is about."""
        lines = [line for line in self.logs if line["log_level"] in {"warning", "error"}]
        return [
            (line["event"], line.get("feature", "")) for line in lines if line["event"] != "external_change"
        ]

    def texts(self) -> list[Any]:
        names = ("enabled", "rollout_percent", "paused")
        return [self.client.get(flag_key("microsoft", name)) for name in names]


@pytest.fixture
def place(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    redis_proxy: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    registry = CollectorRegistry()
    monkeypatch.setattr("controller.daemon.process.REGISTRY", registry)
    file = tmp_path / "decisions.jsonl"
    with ExitStack() as stack:
        prometheus = stack.enter_context(PrometheusServer(tmp_path, "global: {scrape_interval: 1s}"))
        to_prometheus = stack.enter_context(Proxy(prometheus.port))
        logs = stack.enter_context(capture_logs())
        settings = load_settings(
            environ={
                "ROLLOUT_REDIS_URL": redis_proxy.redis_url,
                "ROLLOUT_PROMETHEUS_URL": f"http://127.0.0.1:{to_prometheus.port}",
                "ROLLOUT_INTERVAL_S": "1",
                "ROLLOUT_LISTEN": f"127.0.0.1:{free_port()}",
                "ROLLOUT_JOURNAL": str(file),
            }
        )
        daemon = Daemon(settings, dry_run=False)
        closing = stack.enter_context(ExitStack())
        yield Place(
            daemon,
            registry,
            redis_server,
            redis_client,
            redis_proxy,
            prometheus,
            to_prometheus,
            file,
            logs,
            closing,
        )


@dataclass(frozen=True)
class Fault:
    """A fault that stays until it is mended."""

    dependency: str
    begin: Callable[[Place], object]
    end: Callable[[Place], object]
    also: frozenset[str] = frozenset()
    """What is logged beside the loss and the return of the dependency."""


def _come_back(place: Place) -> None:
    place.to_redis.heal()
    place.to_redis.cut()


def _change_password(place: Place) -> None:
    place.client.config_set("requirepass", "another")
    place.to_redis.cut()


def _fill(place: Place) -> None:
    place.client.config_set("maxmemory-policy", "noeviction")
    place.client.config_set("maxmemory", "1mb")


def _answers(pieces: Any) -> Callable[[Place], None]:
    def begin(place: Place) -> None:
        bad = Bad(pieces, 0.05)
        place.closing.callback(bad.close)
        place.to_prometheus.retarget(bad.port)

    return begin


def _answers_again(place: Place) -> None:
    place.to_prometheus.retarget(place.prometheus.port)
    place.to_prometheus.heal()
    place.to_prometheus.cut()


def _no_room(place: Place) -> None:
    place.file.rename(place.file.with_suffix(".aside"))
    place.file.symlink_to("/dev/full")


def _room(place: Place) -> None:
    place.file.unlink()
    place.file.with_suffix(".aside").rename(place.file)


def _no_file(place: Place) -> None:
    place.file.rename(place.file.with_suffix(".aside"))
    place.file.mkdir()


def _a_file(place: Place) -> None:
    place.file.rmdir()
    place.file.with_suffix(".aside").rename(place.file)


REPAIRED = frozenset({"journal_repaired"})
FAULTS = {
    "Redis away": Fault("redis", lambda p: p.to_redis.refuse(), _come_back),
    "Redis frozen": Fault("redis", lambda p: p.redis.freeze(), lambda p: p.redis.thaw()),
    "Redis half-open": Fault("redis", lambda p: p.to_redis.hang(), _come_back),
    "Redis slow": Fault("redis", lambda p: setattr(p.to_redis, "delay_s", 0.6), _come_back),
    "Redis with another password": Fault(
        "redis", _change_password, lambda p: p.client.config_set("requirepass", "")
    ),
    "Redis read-only": Fault(
        "redis", lambda p: p.client.replicaof("127.0.0.1", "1"), lambda p: p.client.replicaof("no", "one")
    ),
    "Redis full (`noeviction`)": Fault(
        "redis",
        _fill,
        lambda p: p.client.config_set("maxmemory", "0"),
        frozenset({"write_refused", "refusal_not_kept"}),
    ),
    "Prometheus away": Fault("prometheus", lambda p: p.to_prometheus.refuse(), _answers_again),
    "Prometheus frozen": Fault("prometheus", lambda p: p.prometheus.freeze(), lambda p: p.prometheus.thaw()),
    "Prometheus slow": Fault(
        "prometheus", lambda p: setattr(p.to_prometheus, "delay_s", 0.8), _answers_again
    ),
    "Prometheus drips": Fault("prometheus", _answers(headers_for_ever), _answers_again),
    "Prometheus answers nonsense": Fault("prometheus", _answers(no_http), _answers_again),
    "Prometheus restarted": Fault(
        "prometheus", lambda p: p.prometheus.kill(), lambda p: p.prometheus.start()
    ),
    "the file's disk is full": Fault("journal", _no_room, _room, REPAIRED),
    "the file cannot be written": Fault("journal", _no_file, _a_file, REPAIRED),
}


@pytest.mark.parametrize("name", FAULTS)
def test_it_is_said_once_and_shown_and_passes_by_itself(place: Place, name: str) -> None:
    fault = FAULTS[name]
    place.tick(2)
    assert place.up(fault.dependency)
    before = place.texts()
    fault.begin(place)
    place.tick(TICKS)
    assert not place.up(fault.dependency)
    assert place.metric("rollout_neighbour_errors_total", neighbour=fault.dependency) == TICKS
    fault.end(place)
    assert place.texts() == before
    for _ in range(3):
        place.tick()
        if place.up(fault.dependency):
            break
    assert not place.tick().error
    assert place.up(fault.dependency)
    troubles = place.troubles()
    assert len(set(troubles)) == len(troubles)
    assert {event for event, _ in troubles} == {
        "epoch_missing",
        "dependency_lost",
        "dependency_back",
    } | fault.also


def _evict(place: Place) -> None:
    """Fill Redis until it forgets a flag, as one with `allkeys-lru` does."""
    place.client.config_set("maxmemory-policy", "allkeys-lru")
    used = int(place.client.info("memory")["used_memory"])
    place.client.config_set("maxmemory", str(used + 200_000))
    for number in range(10_000):
        place.client.set(f"filler:{number}", "x" * 2_000)
        if None in place.texts():
            break
    place.client.config_set("maxmemory", "0")


LOSSES: dict[str, tuple[Callable[[Place], object], set[str]]] = {
    "Redis evicts (`allkeys-lru`)": (_evict, {"flags_lost"}),
    "Redis emptied": (
        lambda place: place.client.flushall(),
        {"flags_lost", "epoch_lost"},
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_lost_is_said_once_and_comes_back_closed(place: Place, name: str) -> None:
    lose, said = LOSSES[name]
    place.client.set(flag_key("microsoft", "enabled"), "true")
    place.tick(2)
    lose(place)
    left = place.texts()
    assert None in left
    place.tick(TICKS)
    for text, closed, now in zip(left, ("false", "0", "true"), place.texts(), strict=True):
        assert now == (closed if text is None else text)
    for flag, number in (("enabled", 0), ("percent", 1), ("paused", 2)):
        shown = place.metric(f"rollout_feature_{flag}", feature="microsoft")
        assert shown == {"true": 1, "false": 0, "0": 0}[place.texts()[number]]
    troubles = place.troubles()
    assert len(set(troubles)) == len(troubles)
    assert {event for event, _ in troubles} >= {"epoch_missing"} | said


def test_the_faults_of_the_docs_are_those_that_are_tested() -> None:
    _, _, table = DOCS.read_text().partition("## What fails")
    told = re.findall(r"^\| (Redis .*?|Prometheus .*?|the file.*?) \|", table, re.MULTILINE)
    elsewhere = {
        "Redis lost its last writes (failover, old file)",
        "Redis hung in a step up and woke up later",
    }
    assert set(told) == {*FAULTS, *LOSSES, *elsewhere}
