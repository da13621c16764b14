"""What the controller does when Redis fails in the midst of a tick; on a real redis-server."""

import time

import pytest
import redis
from kit.servers import Proxy, RedisServer
from kit.waiting import patience
from structlog.testing import capture_logs
from worlds.fault_rig import REDIS_TIMEOUT_S, Rig

from controller.contract import EPOCH_KEY, LEASE_KEY, decisions_key, flag_key, state_key
from controller.decision.model import Kind
from controller.decision.record import verify
from controller.journal.sinks import read_file
from controller.store.flag_store import Write, WriteOutcome


def to_one_percent(rig: Rig) -> None:
    """Bring the feature to its first step with one record after it."""
    rig.person(Kind.ENABLE)
    controller = rig.controller()
    rig.tick(controller, 2)
    controller.release()
    assert rig.flags().rollout_percent == 1


def test_a_step_up_that_hung_in_redis_is_not_carried_out_when_it_wakes(rig: Rig) -> None:
    stored = rig.store().read(["microsoft"])[0]
    rig.client.set(EPOCH_KEY, "3")
    seconds, _ = rig.client.time()
    late = Write("id-1", stored, ("{}",), "{}", stored.flags, epoch=3, until_ms=int(seconds) * 1000 - 1)
    in_time = Write("id-2", stored, ("{}",), "{}", stored.flags, epoch=3, until_ms=int(seconds + 60) * 1000)
    assert rig.store().write([late]) == [WriteOutcome.FENCED]
    assert rig.store().write([in_time]) == [WriteOutcome.APPLIED]


def test_a_redis_that_freezes_during_a_tick_and_wakes_late_steps_nobody_up(
    rig: Rig, redis_server: RedisServer
) -> None:
    to_one_percent(rig)
    controller = rig.controller()
    rig.tick(controller, 25)
    rig.weather.meanwhile = redis_server.freeze
    before = rig.flags().rollout_percent
    rig.weather.now += 10_000
    started = time.monotonic()
    report = controller.tick()
    assert report.error
    assert time.monotonic() - started < 8 * REDIS_TIMEOUT_S * patience()
    time.sleep(max(0.0, started + 2.2 - time.monotonic()))
    redis_server.thaw()
    assert rig.flags().rollout_percent == before


def test_a_tick_on_a_frozen_redis_ends_soon_and_says_so(rig: Rig, redis_server: RedisServer) -> None:
    controller = rig.controller()
    rig.tick(controller)
    redis_server.freeze()
    started = time.monotonic()
    report = rig.tick(controller)
    redis_server.thaw()
    assert "Redis" in report.error
    assert time.monotonic() - started < 4 * REDIS_TIMEOUT_S * patience()
    assert not rig.tick(controller).error


def test_a_late_answer_is_never_taken_for_the_next_one(rig: Rig, redis_proxy: Proxy) -> None:
    controller = rig.controller(url=redis_proxy.redis_url)
    to_one_percent(rig)
    rig.tick(controller, 2)
    redis_proxy.delay_s = REDIS_TIMEOUT_S * 1.5
    assert rig.tick(controller).error
    redis_proxy.heal()
    for _ in range(5):
        report = rig.tick(controller)
        assert not report.error
        assert report.seen["microsoft"].flags == rig.flags()


@pytest.mark.parametrize("weather", ["cut", "refuse", "half_open", "hang"])
def test_after_any_weather_the_controller_goes_on_by_itself(
    rig: Rig, redis_proxy: Proxy, weather: str
) -> None:
    controller = rig.controller(url=redis_proxy.redis_url)
    rig.person(Kind.ENABLE)
    rig.tick(controller, 2)
    getattr(redis_proxy, weather)()
    rig.tick(controller, 2)
    redis_proxy.heal()
    redis_proxy.cut()
    rig.tick(controller, 40)
    percents = [r["to"]["rollout_percent"] for r in rig.stream() if r["kind"] == "step_up"]
    assert percents == [1, 5, 10, 25, 50, 100][: len(percents)]
    assert len(percents) >= 2
    assert [verify(record) for record in rig.stream()] == [[]] * len(rig.stream())


def test_a_full_redis_still_lets_the_controller_pause(rig: Rig) -> None:
    rig.person(Kind.ENABLE)
    controller = rig.controller()
    rig.tick(controller, 6)
    rig.client.config_set("maxmemory-policy", "noeviction")
    rig.client.config_set("maxmemory", "1mb")
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        rig.client.set("more", "x")
    rig.weather.errors = 290
    rig.tick(controller)
    assert rig.texts()["paused"] == "true"
    assert rig.stream()[-1]["kind"] == "pause"
    assert list(read_file(rig.file))[-1]["kind"] == "pause"


def test_a_full_redis_still_lets_a_person_pause(rig: Rig) -> None:
    to_one_percent(rig)
    rig.client.config_set("maxmemory", "1mb")
    assert rig.person(Kind.PAUSE)["applied"] == "applied"
    assert rig.texts()["paused"] == "true"


def test_a_full_redis_refuses_a_step_up_once_in_the_log(rig: Rig) -> None:
    rig.person(Kind.ENABLE)
    controller = rig.controller()
    rig.client.config_set("maxmemory", "1mb")
    with capture_logs() as logs:
        rig.tick(controller, 3)
    assert rig.texts()["rollout_percent"] == "0"
    assert len([entry for entry in logs if entry["event"] == "write_refused"]) <= 1
    rig.client.config_set("maxmemory", "0")
    rig.tick(controller, 2)
    assert rig.texts()["rollout_percent"] == "1"


def test_a_redis_that_only_reads_changes_nothing_and_is_told(rig: Rig) -> None:
    to_one_percent(rig)
    controller = rig.controller()
    before = rig.stream()
    rig.client.replicaof("127.0.0.1", "1")
    report = rig.tick(controller)
    assert "ReadOnlyError" in report.store_problem
    rig.client.replicaof("no", "one")
    assert rig.stream() == before
    assert rig.tick(controller).leader


def test_a_changed_password_is_told_without_naming_it(rig: Rig, redis_proxy: Proxy) -> None:
    controller = rig.controller(url=redis_proxy.redis_url)
    rig.tick(controller)
    rig.client.config_set("requirepass", "s3cret-of-ours")
    redis_proxy.cut()
    report = rig.tick(controller)
    assert "wants a password" in report.error
    assert "s3cret" not in report.error
    rig.client.config_set("requirepass", "")
    assert not rig.tick(controller).error


def test_a_stream_of_another_type_stops_steps_but_no_pause(rig: Rig) -> None:
    rig.person(Kind.ENABLE)
    controller = rig.controller()
    rig.tick(controller, 6)
    rig.client.delete(decisions_key("microsoft"))
    rig.client.set(decisions_key("microsoft"), "not a stream")
    revision = rig.flags().revision
    rig.tick(controller, 40)
    assert rig.flags().revision == revision
    rig.weather.errors = 290
    rig.tick(controller)
    assert rig.texts()["paused"] == "true"
    assert list(read_file(rig.file))[-1]["kind"] == "pause"


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"flags": 3}', '{"error_rate": {"breach": ["x"]}}'])
def test_a_state_that_cannot_be_read_begins_the_tests_anew(rig: Rig, text: str) -> None:
    to_one_percent(rig)
    rig.client.set(state_key("microsoft"), text)
    controller = rig.controller()
    assert not rig.tick(controller).error
    assert rig.texts()["rollout_percent"] == "1"
    rig.tick(controller, 40)
    assert rig.flags().rollout_percent > 1


def test_a_lost_epoch_is_said_and_no_epoch_is_given_twice(rig: Rig) -> None:
    controller = rig.controller()
    rig.client.set(EPOCH_KEY, "41")
    rig.tick(controller)
    rig.client.delete(EPOCH_KEY, LEASE_KEY)
    with capture_logs() as logs:
        rig.tick(controller, 3)
    assert [entry["event"] for entry in logs if entry["event"].startswith("epoch")] == ["epoch_lost"]
    assert rig.client.get(EPOCH_KEY) == "43"


def test_an_epoch_lost_under_a_living_lease_is_given_again_above_the_old_one(rig: Rig) -> None:
    rig.person(Kind.ENABLE)
    controller = rig.controller()
    rig.tick(controller)
    rig.client.delete(EPOCH_KEY)
    rig.tick(controller, 40)
    assert rig.client.get(EPOCH_KEY) == "2"
    assert rig.flags().rollout_percent > 1


def test_a_missing_epoch_at_the_first_start_is_said_once(rig: Rig) -> None:
    with capture_logs() as logs:
        rig.tick(rig.controller(), 3)
    assert [entry["event"] for entry in logs if entry["event"].startswith("epoch")] == ["epoch_missing"]


def test_a_redis_that_was_emptied_comes_back_closed_and_paused(rig: Rig) -> None:
    to_one_percent(rig)
    controller = rig.controller()
    rig.tick(controller)
    rig.client.flushall()
    with capture_logs() as logs:
        rig.tick(controller, 3)
    assert rig.texts() == {
        "enabled": "false",
        "internal_only": "true",
        "rollout_percent": "0",
        "paused": "true",
    }
    assert len([entry for entry in logs if entry["event"] == "flags_lost"]) == 1


def test_a_redis_emptied_while_the_controller_was_down_comes_back_paused(rig: Rig) -> None:
    to_one_percent(rig)
    rig.person(Kind.PAUSE)
    rig.tick(rig.controller())
    revision = rig.flags().revision
    rig.client.flushall()
    rig.tick(rig.controller())
    assert rig.texts()["paused"] == "true"
    assert rig.flags().revision >= revision


@pytest.mark.parametrize("with_state", [True, False])
def test_an_evicted_pause_key_never_reads_as_not_paused(rig: Rig, *, with_state: bool) -> None:
    to_one_percent(rig)
    rig.client.delete(flag_key("microsoft", "paused"), *([] if with_state else [state_key("microsoft")]))
    rig.tick(rig.controller(), 2)
    assert rig.texts()["paused"] == "true"
    assert rig.texts()["rollout_percent"] == "1"


def test_a_first_start_creates_only_what_is_missing_and_is_not_paused(rig: Rig) -> None:
    rig.edit(enabled="true")
    rig.tick(rig.controller())
    assert rig.texts() == {
        "enabled": "true",
        "internal_only": "true",
        "rollout_percent": "1",
        "paused": "false",
    }
