"""RolloutGate on a real Redis: what it obeys, how soon, from where, and that an answer asks Redis nothing."""

import asyncio
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from kit.servers import RedisServer
from kit.waiting import patience, wait_until

from adapter.gate.rollout_gate import RolloutGate
from adapter.gate.rule import GateReason
from controller.contract import FLAG_NAMES, FLAGS_CHANNEL, flag_key, flag_keys, revision_key
from controller.features import RolloutFeature
from controller.shared.config_file import ConfigError

OPEN = ("true", "false", "100", "false")


def set_flags(client: redis.Redis, *texts: str, feature: str = "microsoft") -> None:
    """Write all four flags as the product does: at once, with a new revision and a hint."""
    with client.pipeline() as together:
        together.mset(dict(zip(flag_keys(feature), texts, strict=True)))
        together.incr(revision_key(feature))
        together.publish(FLAGS_CHANNEL, feature)
        together.execute()


@pytest.fixture
def gate(redis_server: RedisServer, redis_client: redis.Redis) -> Iterator[RolloutGate]:
    """Yield a gate that is open for everybody."""
    set_flags(redis_client, *OPEN)
    with RolloutGate.start(redis_server.url, internal_domains=["corp.example"]) as started:
        assert started.check("microsoft", "user-1").open
        yield started


def test_an_empty_redis_is_closed_and_says_that_flags_are_missing(redis_server: RedisServer) -> None:
    with RolloutGate.start(redis_server.url) as gate:
        assert gate.check("microsoft", "user-1").reason is GateReason.MISSING


def test_a_change_by_the_product_is_obeyed_long_before_the_next_resync(
    gate: RolloutGate, redis_client: redis.Redis
) -> None:
    """Each change of ten is seen within a tenth of a second, which reading in turns of 0.8 s cannot do."""
    for turn in range(10):
        paused = turn % 2 == 0
        set_flags(redis_client, "true", "false", "100", str(paused).lower())
        wait_until(lambda paused=paused: gate.check("microsoft", "u").open is not paused, 0.4, "the change")  # type: ignore[misc]


def test_a_change_by_hand_is_obeyed_without_any_hint(gate: RolloutGate, redis_server: RedisServer) -> None:
    command = ["redis-cli", "-p", str(redis_server.port), "SET", flag_key("microsoft", "paused"), "true"]
    subprocess.run(command, check=True, capture_output=True)
    wait_until(lambda: gate.check("microsoft", "u").reason is GateReason.PAUSED, 1.5, "the pause")


@pytest.mark.parametrize("flag", FLAG_NAMES)
def test_a_flag_that_gets_lost_closes_the_gate(
    gate: RolloutGate, redis_client: redis.Redis, flag: str
) -> None:
    redis_client.delete(flag_key("microsoft", flag))
    wait_until(lambda: gate.check("microsoft", "u").reason is GateReason.MISSING, what="the loss")


def test_a_flag_of_another_type_counts_as_missing(gate: RolloutGate, redis_client: redis.Redis) -> None:
    redis_client.delete(flag_key("microsoft", "paused"))
    redis_client.rpush(flag_key("microsoft", "paused"), "false")
    redis_client.publish(FLAGS_CHANNEL, "microsoft")
    wait_until(lambda: gate.check("microsoft", "u").reason is GateReason.MISSING, what="the loss")


def test_bytes_that_are_no_text_close_one_flag_and_hide_no_other(
    gate: RolloutGate, redis_client: redis.Redis
) -> None:
    redis_client.set(flag_key("google", "enabled"), b"\xff\xfe")
    redis_client.set(flag_key("microsoft", "paused"), b"false\xff")
    redis_client.publish(FLAGS_CHANNEL, b"\xff\xfe")
    wait_until(lambda: gate.check("microsoft", "u").reason is GateReason.UNREADABLE, what="the change")
    set_flags(redis_client, *OPEN)
    wait_until(lambda: gate.check("microsoft", "u").open, what="the change back")


def test_a_flood_of_hints_does_not_keep_the_gate_from_reading(
    gate: RolloutGate, redis_client: redis.Redis
) -> None:
    with redis_client.pipeline(transaction=False) as flood:
        for _ in range(20_000):
            flood.publish(FLAGS_CHANNEL, "x")
        flood.mset({flag_key("microsoft", "paused"): "true"})
        flood.execute()
    wait_until(lambda: gate.check("microsoft", "u").reason is GateReason.PAUSED, 1.5, "the pause")


def commands_done(client: redis.Redis) -> dict[str, int]:
    stats = client.info("commandstats")
    return {name: int(numbers["calls"]) for name, numbers in stats.items() if name != "cmdstat_info"}


def test_an_answer_costs_no_redis_command(redis_server: RedisServer, redis_client: redis.Redis) -> None:
    """With the reader stopped, nothing else talks to Redis: 10,000 answers leave its counts as they were."""
    set_flags(redis_client, *OPEN)
    gate = RolloutGate.start(redis_server.url)
    gate.close()
    before = commands_done(redis_client)
    answers = [gate.check("microsoft", f"user-{n}", ["a@corp.example"]) for n in range(10_000)]
    gate.explain("microsoft", "user-1")
    assert answers[0].reason is GateReason.IN_ROLLOUT
    assert commands_done(redis_client) == before


def test_reading_costs_one_command_for_all_features(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """In two seconds: one MGET in 0.9 s and nothing else, whether for one feature or for fifty."""
    features = {f"f{n}": RolloutFeature(f"f{n}", "microsoft", f"outlook.f{n}") for n in range(50)}
    with RolloutGate.start(redis_server.url, features):
        before = commands_done(redis_client)
        time.sleep(2)
        after = commands_done(redis_client)
    assert 1 <= after["cmdstat_mget"] - before["cmdstat_mget"] <= 3
    assert after.keys() - before.keys() <= {"cmdstat_mget", "cmdstat_hello", "cmdstat_subscribe"}


async def test_the_gate_opens_and_closes_with_async_with(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    set_flags(redis_client, *OPEN)
    async with RolloutGate.connect(redis_server.url) as gate:
        assert await gate.allow("microsoft", "user-1")
        assert not await gate.allow("google", "user-1")
        assert gate.features == ("google", "microsoft")


async def test_a_blocked_event_loop_does_not_stop_the_reader(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    set_flags(redis_client, *OPEN)
    async with RolloutGate.connect(redis_server.url) as gate:
        set_flags(redis_client, "true", "false", "100", "true")
        time.sleep(1.5)  # noqa: ASYNC251 (blocking the loop is what is tested)
        assert gate.check("microsoft", "user-1").reason is GateReason.PAUSED
        assert gate.age_s < 1.5


def test_many_threads_may_ask_at_once(gate: RolloutGate) -> None:
    answers: list[bool] = []
    threads = [
        threading.Thread(
            target=lambda: answers.extend(gate.check("microsoft", f"u{n}").open for n in range(2000))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 16_000


def test_the_revision_and_the_percentage_are_those_that_are_obeyed(
    gate: RolloutGate, redis_client: redis.Redis
) -> None:
    assert (gate.revision("microsoft"), gate.percent("microsoft")) == (1, 100.0)
    set_flags(redis_client, "true", "false", "12.5", "false")
    wait_until(lambda: gate.revision("microsoft") == 2, what="the revision")
    assert gate.percent("microsoft") == 12.5
    assert (gate.revision("nobody"), gate.percent("nobody")) == (0, 0.0)


def test_an_explanation_has_the_numbers_and_who_is_external(
    gate: RolloutGate, redis_client: redis.Redis
) -> None:
    set_flags(redis_client, "true", "true", "100", "false")
    wait_until(lambda: gate.revision("microsoft") == 2, what="the revision")
    told = gate.explain("microsoft", "user-1", ["a@corp.example", "x@elsewhere.example"])
    assert (told.open, told.reason, told.bucket) == (False, GateReason.EXTERNAL_RECIPIENT, 88_804)
    assert (told.threshold, told.external_recipients) == (100_000, ("x@elsewhere.example",))
    assert told.flags.internal_only
    assert 0 <= told.age_s < 3


def test_features_and_salts_come_from_the_configuration(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "rollout.toml"
    config.write_text(
        '[features.fastmail]\nprovider = "fastmail"\naction = "fastmail.send"\nsalt = "spring"\n'
    )
    monkeypatch.setenv("ROLLOUT_CONFIG", str(config))
    with RolloutGate.start(redis_server.url) as gate:
        assert gate.features == ("fastmail",)
        assert gate.check("fastmail", "user-1").bucket == 83_385
    config.write_text("[features.fastmail]\nsalt = 3\n")
    with pytest.raises(ConfigError):
        RolloutGate.connect(redis_server.url)


def test_internal_domains_come_from_the_environment(
    redis_server: RedisServer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_flags(redis_client, "true", "true", "100", "false")
    monkeypatch.setenv("INTERNAL_DOMAINS", "corp.example, .below.example")
    with RolloutGate.start(redis_server.url) as gate:
        assert gate.check("microsoft", "u", ["a@corp.example", "b@x.below.example"]).open
        assert not gate.check("microsoft", "u", ["a@corp.example", "b@below.example"]).open


@pytest.mark.parametrize("url", ["http://127.0.0.1:6379", "127.0.0.1:6379", ""])
def test_a_url_that_is_none_of_redis_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="redis://"):
        RolloutGate.connect(url)


def test_a_gate_without_features_is_refused(redis_server: RedisServer) -> None:
    with pytest.raises(ValueError, match="no feature"):
        RolloutGate.connect(redis_server.url, {})


def test_closing_ends_the_reader_and_its_connection(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    before = len(redis_client.client_list())
    threads = threading.active_count()
    with RolloutGate.start(redis_server.url):
        assert len(redis_client.client_list()) == before + 1
    wait_until(lambda: len(redis_client.client_list()) == before, what="closing the connection")
    assert threading.active_count() == threads


def test_gates_of_one_process_share_one_reader_until_the_last_is_closed(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    before = len(redis_client.client_list())
    first = RolloutGate.start(redis_server.url)
    with RolloutGate.start(redis_server.url) as second:
        assert len(redis_client.client_list()) == before + 1
        first.close()
        first.close()
        set_flags(redis_client, *OPEN)
        wait_until(lambda: second.check("microsoft", "u").open, what="opening")
    wait_until(lambda: len(redis_client.client_list()) == before, what="closing the connection")


def test_gates_that_follow_different_features_do_not_share(redis_server: RedisServer) -> None:
    one = {"one": RolloutFeature("one", "microsoft", "outlook.one")}
    with (
        RolloutGate.start(redis_server.url) as all_features,
        RolloutGate.start(redis_server.url, one) as gate,
    ):
        assert gate.features == ("one",)
        assert gate.check("microsoft", "u").reason is GateReason.UNKNOWN_FEATURE
        assert all_features.check("microsoft", "u").reason is GateReason.MISSING


async def test_gates_of_one_process_may_be_closed_and_opened_again(redis_server: RedisServer) -> None:
    for _ in range(3):
        async with asyncio.timeout(5 * patience()), RolloutGate.connect(redis_server.url) as gate:
            assert gate.age_s < 3
