"""When Redis or the way to it fails: nobody is let in three seconds later, and it heals by itself."""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from kit.servers import Proxy, RedisServer
from kit.waiting import wait_until

from adapter.gate.rollout_gate import RolloutGate
from adapter.gate.rule import GateReason
from adapter.gate.snapshot import STALE_AFTER_S
from controller.contract import FLAGS_CHANNEL, flag_key, flag_keys

Failure = Callable[[RedisServer, Proxy], None]

FAILURES: dict[str, Failure] = {
    "refused": lambda _, proxy: proxy.refuse(),
    "hanging": lambda _, proxy: proxy.hang(),
    "frozen": lambda server, _: server.freeze(),
    "killed": lambda server, _: server.kill(),
}


def set_open(client: redis.Redis) -> None:
    client.mset(dict(zip(flag_keys("microsoft"), ("true", "false", "100", "false"), strict=True)))
    client.publish(FLAGS_CHANNEL, "microsoft")


def pause(client: redis.Redis) -> None:
    client.set(flag_key("microsoft", "paused"), "true")
    client.publish(FLAGS_CHANNEL, "microsoft")


@pytest.fixture
def gate(redis_proxy: Proxy, redis_client: redis.Redis) -> Iterator[RolloutGate]:
    """Yield a gate behind the proxy, open for everybody."""
    set_open(redis_client)
    with RolloutGate.start(redis_proxy.redis_url) as started:
        assert started.check("microsoft", "user-1").open
        yield started


def last_allow(gate: RolloutGate, failed_at: float, watched_s: float) -> float:
    """Ask all the time; give how long after the failure somebody was let in for the last time."""
    last = 0.0
    while (asked_at := time.monotonic()) < failed_at + watched_s:
        if gate.check("microsoft", "user-1").open:
            last = asked_at - failed_at
        time.sleep(0.001)
    return last


@pytest.mark.parametrize("name", FAILURES)
def test_nobody_is_let_in_three_seconds_after_redis_is_lost(
    name: str, gate: RolloutGate, redis_server: RedisServer, redis_proxy: Proxy
) -> None:
    FAILURES[name](redis_server, redis_proxy)
    assert last_allow(gate, time.monotonic(), STALE_AFTER_S + 1) <= STALE_AFTER_S
    assert gate.check("microsoft", "user-1").reason is GateReason.STALE
    assert (gate.revision("microsoft"), gate.percent("microsoft")) == (0, 0.0)
    assert gate.trouble


def test_a_pause_at_the_instant_in_which_redis_dies_stops_everybody_in_time(
    gate: RolloutGate, redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    pause(redis_client)
    redis_server.kill()
    assert last_allow(gate, time.monotonic(), STALE_AFTER_S + 0.5) <= STALE_AFTER_S


def test_a_pause_right_after_a_cut_is_not_lost_with_the_connection(
    gate: RolloutGate, redis_proxy: Proxy, redis_client: redis.Redis
) -> None:
    for _ in range(5):
        redis_proxy.cut()
        pause(redis_client)
        wait_until(lambda: gate.check("microsoft", "u").reason is GateReason.PAUSED, 1.5, "the pause")
        set_open(redis_client)
        wait_until(lambda: gate.check("microsoft", "u").open, what="the resume")


def test_half_open_connections_are_given_up_for_new_ones(
    gate: RolloutGate, redis_proxy: Proxy, redis_client: redis.Redis
) -> None:
    redis_proxy.half_open()
    pause(redis_client)
    assert last_allow(gate, time.monotonic(), STALE_AFTER_S) <= STALE_AFTER_S
    wait_until(lambda: gate.check("microsoft", "u").reason is GateReason.PAUSED, what="the pause")


def test_a_slow_link_makes_the_gate_slow_to_learn_and_nothing_else(
    gate: RolloutGate, redis_proxy: Proxy, redis_client: redis.Redis
) -> None:
    redis_proxy.delay_s = 0.3
    time.sleep(2)
    assert gate.check("microsoft", "u").open
    pause(redis_client)
    wait_until(lambda: gate.check("microsoft", "u").reason is GateReason.PAUSED, what="the pause")


def test_the_gate_starts_closed_without_redis_and_opens_when_it_comes(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    with RolloutGate.start(server.url) as gate:
        assert gate.check("microsoft", "user-1").reason is GateReason.STALE
        assert gate.age_s == float("inf")
        with server, server.client() as client:
            set_open(client)
            wait_until(lambda: gate.check("microsoft", "user-1").open, what="opening")


def test_a_redis_that_comes_back_empty_stays_closed(
    gate: RolloutGate, redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    redis_server.kill()
    redis_server.start()
    wait_until(lambda: gate.check("microsoft", "u").reason is GateReason.MISSING, what="the reading")
    set_open(redis_client)
    wait_until(lambda: gate.check("microsoft", "u").open, what="opening")


def test_a_loss_is_logged_once_and_so_is_the_recovery(
    gate: RolloutGate, redis_proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rollout.gate")
    redis_proxy.refuse()
    wait_until(lambda: gate.check("microsoft", "u").reason is GateReason.STALE, what="staleness")
    redis_proxy.heal()
    wait_until(lambda: gate.check("microsoft", "u").open, what="opening")
    wait_until(lambda: len(caplog.records) == 2, what="the log")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert gate.trouble == ""


def test_a_wrong_password_keeps_the_gate_closed_and_is_named(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    redis_client.config_set("requirepass", "secret")
    with RolloutGate.start(redis_server.url) as gate:
        assert gate.check("microsoft", "u").reason is GateReason.STALE
        assert "wants a password" in gate.trouble
