"""Live counts: what a process has sent stands in Redis within a second, and costs the gate nothing."""

import json
import logging
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from kit.servers import Proxy, RedisServer
from kit.waiting import wait_until

from adapter.gate.counts import MOST_MAILBOXES, REFUSED_S, LiveCounts, counts_of_process
from adapter.gate.reader import PUBLISH_S
from adapter.gate.rollout_gate import RolloutGate
from controller.contract import flag_key, flag_keys, live_key

KEY = live_key("microsoft")


@pytest.fixture
def gate(redis_server: RedisServer, redis_client: redis.Redis) -> Iterator[RolloutGate]:
    """Yield a gate that is open for everybody."""
    redis_client.mset(dict(zip(flag_keys("microsoft"), ("true", "false", "100", "false"), strict=True)))
    with RolloutGate.start(redis_server.url) as started:
        yield started


def published(client: redis.Redis) -> dict[str, Any]:
    values: list[Any] = client.hvals(KEY)
    return json.loads(values[0]) if values else {}


def add(counts: LiveCounts, mailbox: str = "", *, ok: bool = True, feature: str = "f") -> None:
    counts.add(feature, ok=ok, slow=False, mailbox=mailbox)


def test_what_a_process_counts_stands_in_redis_under_its_name(
    gate: RolloutGate, redis_client: redis.Redis
) -> None:
    began = time.time()
    gate.count("microsoft", True, 0.1, "ann")
    gate.count("microsoft", True, 0.6, "ann")
    gate.count("microsoft", False, 0.1, "bob")
    gate.count("microsoft", False, 0.1, "bob")
    gate.count("microsoft", False, 2.0, "eve")
    gate.count("unheard-of", False, 2.0, "eve")
    wait_until(lambda: published(redis_client).get("sends") == 5, what="the counts")
    counts = published(redis_client)
    assert began - 1 < counts.pop("at") < time.time() + 1
    assert counts == {"sends": 5, "errors": 3, "slow": 2, "failed_mailboxes": 2}
    ((host, pid, start),) = [str(name).split(":") for name in redis_client.hkeys(KEY)]
    assert (host, int(pid)) == (os.uname().nodename, os.getpid())
    assert int(start) / 1000 <= began
    assert redis_client.keys("rollout:live:*") == [KEY]


def test_a_gate_that_closes_leaves_its_last_counts(redis_server: RedisServer) -> None:
    with RolloutGate.start(redis_server.url) as gate:
        gate.count("microsoft", True, 0.1)
    with redis_server.client() as client:
        assert published(client)["sends"] == 1


def test_nothing_is_written_while_nothing_is_counted(gate: RolloutGate, redis_client: redis.Redis) -> None:
    """Three readings of the flags go by with one write before them, and none after it."""
    gate.count("microsoft", True, 0.1, "ann")
    wait_until(lambda: bool(published(redis_client)), what="the counts")

    def calls(command: str) -> int:
        return int(redis_client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])

    readings, writes = calls("mget"), calls("hset")
    wait_until(lambda: calls("mget") >= readings + 3, what="three readings")
    assert calls("hset") == writes == 1


def test_a_process_that_sends_asks_redis_for_two_things_a_second(redis_server: RedisServer) -> None:
    """One reading of all flags, and one write for the feature that it sends for."""
    with redis_server.client() as client, RolloutGate.start(redis_server.url) as gate:
        client.config_resetstat()
        began = time.monotonic()
        while (took := time.monotonic() - began) < 4:
            gate.count("microsoft", True, 0.1, "ann")
            time.sleep(0.002)
        stats = client.info("commandstats")
    calls = {name: int(of["calls"]) for name, of in stats.items()}
    assert calls.keys() - {"cmdstat_config|resetstat", "cmdstat_info"} == {"cmdstat_mget", "cmdstat_hset"}
    assert 2 <= calls["cmdstat_hset"] <= took / PUBLISH_S + 1
    assert 2 <= calls["cmdstat_mget"] <= took / PUBLISH_S + 1


def test_counts_that_redis_refuses_leave_the_gate_as_it_is(
    gate: RolloutGate, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    redis_client.set(KEY, "a text")
    with caplog.at_level(logging.WARNING, "rollout.gate"):
        gate.count("microsoft", False, 0.1, "ann")
        wait_until(lambda: "live counts of microsoft cannot be published" in caplog.text, what="the refusal")
    redis_client.mset({flag_key("microsoft", "paused"): "true"})
    wait_until(lambda: not gate.check("microsoft", "ann").open, what="the pause")
    assert not gate.trouble


def test_counts_of_a_time_without_redis_come_later(redis_server: RedisServer, redis_proxy: Proxy) -> None:
    with RolloutGate.start(redis_proxy.redis_url) as gate, redis_server.client() as client:
        redis_proxy.refuse()
        wait_until(lambda: bool(gate.trouble), what="the loss")
        gate.count("microsoft", False, 0.1, "ann")
        redis_proxy.heal()
        wait_until(lambda: published(client).get("errors") == 1, what="the counts")


def test_mailboxes_are_told_apart_within_a_second_and_added_from_second_to_second() -> None:
    counts = LiveCounts()
    for mailbox in ("ann", "ann", "bob"):
        add(counts, mailbox, ok=False)
    assert json.loads(counts.take(0.0)["f"])["failed_mailboxes"] == 2
    add(counts, "ann", ok=False)
    add(counts, ok=False)
    add(counts, "ann")
    assert json.loads(counts.take(1.0)["f"])["failed_mailboxes"] == 3
    for number in range(2 * MOST_MAILBOXES):
        add(counts, str(number), ok=False)
    last = json.loads(counts.take(2.0)["f"])
    assert (last["failed_mailboxes"], last["errors"]) == (3 + MOST_MAILBOXES, 5 + 2 * MOST_MAILBOXES)


def test_only_what_changed_is_due() -> None:
    counts = LiveCounts()
    assert not counts.due(0.0)
    add(counts)
    add(counts, feature="g")
    assert counts.due(0.0) == {"f", "g"}
    assert sorted(counts.take(0.0)) == ["f", "g"]
    add(counts)
    assert list(counts.take(1.0)) == ["f"]
    assert not counts.due(2.0)


def test_refused_counts_are_tried_again_later_with_what_came_meanwhile() -> None:
    """Those of other features go on."""
    counts = LiveCounts()
    add(counts)
    counts.put_back(counts.take(0.0), REFUSED_S)
    add(counts)
    add(counts, feature="g")
    assert list(counts.take(REFUSED_S - 1)) == ["g"]
    assert json.loads(counts.take(REFUSED_S)["f"])["sends"] == 2


def test_the_gates_of_a_process_count_together_and_two_redis_apart() -> None:
    assert counts_of_process("redis://a") is counts_of_process("redis://a")
    assert counts_of_process("redis://a") is not counts_of_process("redis://b")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_in_the_midst_of_counting_leaves_a_child_that_can_count() -> None:
    counts = counts_of_process("redis://forked")
    with counts._lock:
        child = os.fork()
        if child == 0:
            add(counts)
            add(counts_of_process("redis://forked"))
            os._exit(0)
    wait_until(lambda: os.waitpid(child, os.WNOHANG) != (0, 0), what="the child")
