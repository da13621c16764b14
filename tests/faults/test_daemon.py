"""The daemon as a process: how it ends, who takes over, and what a reload does."""

import json
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from kit.examples import amount
from kit.waiting import wait_until
from worlds.live import LEASE_S, TICK_S, Daemon, World

from controller.contract import flag_key, state_key
from controller.decision.model import Kind
from controller.features import ROLLOUT_FEATURES
from controller.journal.sinks import Journals, read_file
from controller.loop.manual import operate
from controller.shared.redis_pool import open_redis
from controller.store.redis_store import RedisFlagStore

TAKEOVER_S = LEASE_S + TICK_S
MARGIN_S = 2.5
"""For a machine that is busy with other tests."""
KILLS = amount("KILLS", soak=50, usually=2)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path, senders=0) as world:
        yield world


def stream(world: World) -> list[dict[str, Any]]:
    return list(RedisFlagStore(open_redis(world.redis.url, 2)).history("microsoft"))


def person(world: World, kind: Kind) -> dict[str, Any]:
    store = RedisFlagStore(open_redis(world.redis.url, 2))
    feature = ROLLOUT_FEATURES["microsoft"]
    return operate(store, Journals(), feature, kind, actor="ann", note="why", now=time.time())


STATES: dict[str, Callable[[World], object]] = {
    "well": lambda _: None,
    "redis away": lambda world: world.to_redis["a"].refuse(),
    "redis frozen": lambda world: world.redis.freeze(),
    "redis half-open": lambda world: world.to_redis["a"].hang(),
    "prometheus frozen": lambda world: world.prometheus.freeze(),
    "prometheus slow": lambda world: setattr(world.to_prometheus["a"], "delay_s", 0.4),
}
STREAM = b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n"
HALF_A_BODY = b"POST /ofrep/v1/evaluate/flags HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"


@pytest.mark.parametrize("state", STATES)
def test_sigterm_ends_it_within_five_seconds_whatever_hangs(world: World, state: str) -> None:
    """With the adapter beside it, an open event stream, and a request whose body does not end."""
    daemon = world.daemons["a"].start("--json").wait_ready()
    with ExitStack() as stack:
        for request in (STREAM, HALF_A_BODY):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", daemon.port), timeout=5))
            client.sendall(request)
            assert request is HALF_A_BODY or client.recv(12) == b"HTTP/1.1 200"
        STATES[state](world)
        time.sleep(TICK_S / 2)
        daemon.signal(signal.SIGTERM)
        assert daemon.process.wait(5) == 0


def test_sigterm_ends_it_before_its_first_tick_too(world: World) -> None:
    world.redis.freeze()
    world.prometheus.freeze()
    daemon = world.daemons["a"].start()
    wait_until(daemon.listens, 20, "it listens")
    daemon.signal(signal.SIGTERM)
    assert daemon.process.wait(5) == 0


def test_a_stopped_leader_gives_the_lease_back(world: World) -> None:
    a = world.daemons["a"].start().wait_ready()
    b = world.daemons["b"].start().wait_ready()
    assert (a.ready()["role"], b.ready()["role"]) == ("leader", "standby")
    a.signal(signal.SIGTERM)
    a.process.wait(5)
    wait_until(lambda: b.ready().get("role") == "leader", TICK_S + MARGIN_S, "the standby leads")


def test_a_killed_leader_is_followed_within_its_lease_and_a_tick_and_the_state_goes_on_bit_for_bit(
    world: World,
) -> None:
    leader, standby = (world.daemons[name].start().wait_ready() for name in ("a", "b"))
    person(world, Kind.ENABLE)
    client = world.redis.client()
    for _ in range(KILLS):
        wait_until(lambda leader=leader: leader.ready().get("role") == "leader", TAKEOVER_S + MARGIN_S)  # type: ignore[misc]
        leader.kill()
        kept, known = client.get(state_key("microsoft")), len(stream(world))
        wait_until(lambda known=known: len(stream(world)) > known, TAKEOVER_S + MARGIN_S, "the takeover")  # type: ignore[misc]
        assert stream(world)[known]["state_before"] == json.loads(str(kept))
        leader.start().wait_ready()
        leader, standby = standby, leader
    client.close()
    in_stream = [record["id"] for record in stream(world)]
    assert len(set(in_stream)) == len(in_stream)
    wait_until(
        lambda: {r["id"] for r in read_file(leader.journal)} >= set(in_stream), TAKEOVER_S, "a whole file"
    )


def test_a_leader_stopped_across_its_lease_writes_nothing_when_it_wakes(world: World) -> None:
    a = world.daemons["a"].start().wait_ready()
    b = world.daemons["b"].start().wait_ready()
    person(world, Kind.ENABLE)
    a.signal(signal.SIGSTOP)
    wait_until(lambda: b.ready().get("role") == "leader", TAKEOVER_S + MARGIN_S, "the other leads")
    person(world, Kind.PAUSE)
    a.signal(signal.SIGCONT)
    wait_until(lambda: a.ready().get("role") == "standby", 3 * TICK_S + MARGIN_S, "it stands down")
    pause = next(n for n, record in enumerate(stream(world)) if record["kind"] == "pause")
    assert {record["kind"] for record in stream(world)[pause + 1 :]} <= {"hold"}
    assert [r["revision"] for r in stream(world)[pause:]] == [stream(world)[pause]["revision"]] * (
        len(stream(world)) - pause
    )


def test_each_neighbours_loss_and_return_is_logged_once_and_moves_its_metric(world: World) -> None:
    daemon = world.daemons["a"].start().wait_ready()
    world.prometheus.freeze()
    wait_until(lambda: daemon.metric("rollout_neighbour_up", neighbour="prometheus") == 0, 10)
    world.to_redis["a"].refuse()
    wait_until(lambda: daemon.metric("rollout_neighbour_up", neighbour="redis") == 0, 10)
    errors = daemon.metric("rollout_neighbour_errors_total", neighbour="redis")
    wait_until(lambda: daemon.metric("rollout_neighbour_errors_total", neighbour="redis") > errors + 1, 10)
    world.to_redis["a"].heal()
    world.prometheus.thaw()
    wait_until(lambda: daemon.metric("rollout_neighbour_up", neighbour="redis") == 1, 10)
    wait_until(lambda: daemon.metric("rollout_neighbour_up", neighbour="prometheus") == 1, 10)
    lost = sorted(line["dependency"] for line in daemon.said("dependency_lost"))
    back = sorted(line["dependency"] for line in daemon.said("dependency_back"))
    assert lost == back == ["prometheus", "redis"]


def test_a_reload_takes_a_good_file_and_refuses_a_bad_one_with_the_line(world: World) -> None:
    daemon = world.daemons["a"].start().wait_ready()
    text = daemon.config.read_text()
    daemon.config.write_text(text + "bake_s = 'long'\n")
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: daemon.metric("rollout_reloads_total", outcome="refused") == 1, 5)
    [refused] = daemon.said("reload_refused")
    assert str(daemon.config) in refused["error"]
    daemon.config.write_text(text + '\n[features.contacts]\nprovider = "x"\naction = "y.z"\n')
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: daemon.metric("rollout_reloads_total", outcome="ok") == 1, 5)
    client = world.redis.client()
    wait_until(lambda: client.get(flag_key("contacts", "enabled")) == "false", 5)
    client.close()


def test_a_port_in_use_is_refused_in_one_line(world: World, tmp_path: Path) -> None:
    daemon = world.daemons["a"].start().wait_ready()
    other = Daemon(tmp_path, "other", world.redis.url, world.prometheus.url)
    other.config.write_text(daemon.config.read_text())
    other.start()
    assert other.process.wait(10) == 2
    assert f"127.0.0.1:{daemon.port} cannot be listened on" in other.log.read_text()


def test_systemd_hears_of_readiness_of_each_finished_tick_and_of_the_end(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(15)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        daemon = world.daemons["a"].start()
        first = systemd.recv(4096).decode().splitlines()
        assert "READY=1" in first
        assert "WATCHDOG=1" in first
        assert systemd.recv(4096).decode().splitlines() == ["WATCHDOG=1"]
        daemon.signal(signal.SIGTERM)
        daemon.process.wait(5)
        last = ""
        while last != "STOPPING=1":
            last = systemd.recv(4096).decode()


def test_the_adapter_beside_it_exports_its_metrics_before_the_first_send(world: World) -> None:
    daemon = world.daemons["a"].start("--json").wait_ready()
    assert daemon.metric("rollout_gate_percent", feature="microsoft") == 0
    assert daemon.metric("action_error_total", action="outlook.send", provider="microsoft") == 0


def test_metrics_name_the_features_and_the_leader_from_the_first_tick(world: World) -> None:
    daemon = world.daemons["a"].start().wait_ready()
    assert daemon.metric("rollout_leader") == 1
    assert daemon.metric("rollout_feature_percent", feature="microsoft") == 0
    assert daemon.metric("rollout_feature_paused", feature="microsoft") == 0
    assert daemon.metric("rollout_journal_disagreement", feature="microsoft") == 0
    with urllib.request.urlopen(f"{daemon.url}/healthz", timeout=5) as answer:
        assert answer.status == 200
