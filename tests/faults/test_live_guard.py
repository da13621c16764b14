"""The guard on a real Redis: it pauses within seconds on what senders tell, and on nothing else."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from click.testing import CliRunner
from kit.servers import RedisServer, free_port
from kit.waiting import wait_until
from worlds.fault_rig import TICK_S, Rig

from adapter.gate.rollout_gate import RolloutGate
from adapter.gate.rule import GateReason
from controller.cli import rollout
from controller.config.settings import load_settings
from controller.contract import LIVE_SIGHT_KEY, decisions_key, flag_keys, live_key, state_key
from controller.decision.model import Evidence, Kind, Window
from controller.decision.record import verify
from controller.doctor.redis import look_at_redis
from controller.features import load_features
from controller.journal.sinks import Journals
from controller.loop.feature_status import feature_status, status_context
from controller.loop.live_guard import LiveGuard
from controller.loop.manual import operate
from controller.shared.redis_pool import open_redis
from controller.store.live_sight import BY_WINDOWS, NOBODY_LOOKS, read_sights
from controller.store.redis_store import RedisFlagStore

KEY = live_key("microsoft")


@dataclass
class Kept:
    """A journal that keeps records in memory."""

    records: list[Any] = field(default_factory=list)

    def keep(self, *records: Any) -> None:
        self.records += records


@dataclass
class Senders:
    """Sender processes that write what they counted, and a guard that looks each second, without waiting."""

    rig: Rig
    now: float = 0.0
    kept: Kept = field(default_factory=Kept)
    counts: dict[str, list[float]] = field(default_factory=dict)
    guard: LiveGuard = field(init=False)

    def __post_init__(self) -> None:
        self.guard = self.new_guard()

    def new_guard(self, store: RedisFlagStore | None = None) -> LiveGuard:
        return LiveGuard(
            {"microsoft": self.rig.feature},
            store=store or self.rig.store(),
            journal=self.kept,
            wall=lambda: self.rig.weather.now,
            monotonic=lambda: self.now,
            window_s=TICK_S,
            scrape_s=10.0,
            deadline_s=2.0,
        )

    def second(self, sends: float = 50, errors: float = 0, process: str = "web:1:1") -> list[dict[str, Any]]:
        """Let a second go by in which a process sent so much, and look."""
        self.write(sends, errors, process)
        self.now += 1.0
        return self.guard.look()

    def write(self, sends: float, errors: float = 0, process: str = "web:1:1") -> None:
        held = self.counts.setdefault(process, [0.0, 0.0])
        held[0] += sends
        held[1] += errors
        value = {"at": 1.0, "sends": held[0], "errors": held[1], "slow": 0, "failed_mailboxes": held[1]}
        self.rig.client.hset(KEY, process, json.dumps(value))

    def until_paused(self, sends: float, errors: float, most: int = 30) -> int:
        """Let seconds go by until something is paused; give how many."""
        for number in range(1, most + 1):
            if self.second(sends, errors):
                return number
        return 0


@pytest.fixture
def senders(rig: Rig) -> Senders:
    """Return senders and a guard that saw the ramp begin, at 1 %."""
    controller = rig.controller()
    rig.tick(controller)
    senders = Senders(rig)
    senders.second()
    rig.person(Kind.ENABLE)
    rig.tick(controller)
    assert rig.flags().rollout_percent == 1
    controller.release()
    for _ in range(5):
        senders.second()
    return senders


def test_an_outage_is_paused_a_second_after_it_outlasts_a_blip(senders: Senders) -> None:
    assert senders.until_paused(50, 50) == 4
    assert senders.rig.texts()["paused"] == "true"


def test_the_pause_is_a_record_like_any_other(senders: Senders) -> None:
    """It stands in the stream and the journals, can be decided again, and says what was seen, and where."""
    senders.until_paused(50, 50)
    record = senders.rig.stream()[-1]
    assert (record["kind"], record["reason"], record["applied"]) == ("pause", "outage", "applied")
    assert record["actor"] == "controller"
    assert record["evidence"]["source"] == "live"
    assert record["evidence"]["targets"] == 1
    assert [window["errors"] for window in record["evidence"]["windows"]][-4:] == [50, 50, 50, 50]
    seen = "Outage, seen live: 200 of 250 sends failed in the last 5 s."
    assert record["detail"] == f"{seen} Paused at 1 % of internal mail."
    assert verify(record) == []
    assert [one["id"] for one in senders.kept.records] == [record["id"]]
    assert json.loads(json.dumps(senders.kept.records[0])) == record


def test_explain_tells_what_was_seen_and_verifies_it(senders: Senders, tmp_path: Path) -> None:
    senders.until_paused(50, 50)
    config = tmp_path / "rollout.toml"
    config.write_text(
        f'[controller]\nredis_url = "{senders.rig.url}"\n'
        '[features.microsoft]\nprovider = "microsoft"\naction = "outlook.send"\n'
    )
    decision_id = senders.rig.stream()[-1]["id"]
    told = CliRunner().invoke(rollout, ["explain", decision_id, "--verify", "--config", str(config)])
    assert told.exit_code == 0, told.output
    said = " ".join(told.output.split())
    assert "Seen live in the 9 seconds before: 450 sends, 200 failed, by 1 process(es)" in said


def test_a_tick_takes_the_pause_as_its_own(senders: Senders) -> None:
    senders.until_paused(50, 50)
    controller = senders.rig.controller()
    (record,) = senders.rig.tick(controller).records
    assert (record["kind"], record["reason"]) == ("hold", "paused")
    assert "controller (outage): Outage, seen live" in record["detail"]


def test_ten_times_the_limit_is_paused_soon_after_the_start(senders: Senders) -> None:
    assert 5 <= senders.until_paused(50, 5) <= 12
    assert senders.rig.stream()[-1]["reason"] == "slo_error_rate"
    assert verify(senders.rig.stream()[-1]) == []


def test_a_rate_that_rises_late_in_a_ramp_is_paused_by_what_lasts(senders: Senders) -> None:
    for _ in range(60):
        assert not senders.second(50)
    assert 40 < senders.until_paused(50, 5, most=90) < 80
    [record] = senders.kept.records
    assert (record["kind"], record["reason"]) == ("pause", "slo_error_rate")
    assert "Seen live: Proven to have changed for the worse: in the last 1" in record["detail"]
    assert verify(record) == []


def test_health_steps_nothing_up(senders: Senders) -> None:
    before = len(senders.rig.stream())
    assert senders.until_paused(1000, 0, most=60) == 0
    assert senders.rig.flags().rollout_percent == 1
    assert len(senders.rig.stream()) == before


def test_a_blip_pauses_nothing(senders: Senders) -> None:
    for _ in range(4):
        for errors in (25, 50, 50, 25, *[0] * 56):
            assert senders.second(50, errors) == []


def test_batches_within_the_limit_whose_failures_are_counted_alone_pause_nothing(senders: Senders) -> None:
    """0.5 % of each batch times out, when the others are long over."""
    for _ in range(60):
        for sends, errors in ((400, 0), (0, 0), (1, 1), (1, 1), (0, 0)):
            assert senders.second(sends, errors) == []


def test_a_feature_that_cannot_be_judged_keeps_no_other_from_being_paused(senders: Senders) -> None:
    rig = senders.rig
    broken = replace(rig.feature, slo_error_rate_threshold=0.0)
    senders.guard.use({"broken": broken, "microsoft": rig.feature})
    for key, of in zip(flag_keys("broken"), flag_keys("microsoft"), strict=True):
        rig.client.copy(of, key)
    for second in range(1, 9):
        value = {"at": 1.0, "sends": 50 * second, "errors": 50 * second, "slow": 0}
        rig.client.hset(live_key("broken"), "web:1:1", json.dumps(value))
        if paused := senders.second(50, 50):
            break
    assert [one["feature"] for one in paused] == ["microsoft"]


def test_a_later_leader_takes_what_it_finds_for_a_baseline_and_still_pauses_an_outage(
    senders: Senders,
) -> None:
    """It bets on no start that it did not see, so that leaders in turn spend no alpha twice."""
    senders.write(5000, 5000)
    senders.guard = senders.new_guard()
    assert senders.until_paused(50, 5) == 0
    assert senders.until_paused(50, 50) in {3, 4}, "failures of before add up with those of the outage"


def test_what_was_counted_while_nobody_looked_is_a_baseline(senders: Senders) -> None:
    senders.now += 60.0
    assert senders.second(5000, 5000) == []
    assert senders.second(50, 0) == []


def test_closed_flags_count_nothing(senders: Senders) -> None:
    senders.rig.edit(enabled="false")
    assert senders.until_paused(50, 50, most=8) == 0
    senders.rig.edit(enabled="true")
    assert senders.until_paused(50, 50) == 4, "the failures of before do not count"


def test_a_resume_right_after_the_pause_is_judged_by_what_comes_after_it(senders: Senders) -> None:
    senders.until_paused(50, 50)
    senders.rig.person(Kind.RESUME)
    assert senders.second(50, 20) == [], "counts of before the pause that came late"
    assert senders.until_paused(50, 0, most=8) == 0
    assert senders.until_paused(50, 50) == 4


def test_a_change_from_outside_is_noted_before_the_pause(senders: Senders) -> None:
    senders.rig.edit(rollout_percent="40")
    senders.until_paused(50, 50)
    changed, paused = senders.rig.stream()[-2:]
    assert (changed["kind"], changed["to"]["rollout_percent"]) == ("external_change", 40)
    assert (paused["kind"], paused["to"]["rollout_percent"]) == ("pause", 40)
    assert verify(paused) == []


@pytest.mark.parametrize(
    "break_it",
    [
        lambda rig: rig.client.set(KEY, "a text"),
        lambda rig: rig.client.hset(KEY, mapping={"x": "{", b"\xff": b"\xff\xfe", "y": "[" * 100_000}),
    ],
    ids=["another type", "garbage"],
)
def test_garbage_is_passed_over(senders: Senders, break_it: Callable[[Rig], object]) -> None:
    senders.rig.client.delete(KEY)
    break_it(senders.rig)
    senders.now += 1.0
    assert senders.guard.look() == []
    assert senders.guard.trouble == ""
    if senders.rig.client.type(KEY) == "hash":
        senders.second()
        assert senders.until_paused(50, 50) == 4


def test_an_unreadable_state_or_stream_keeps_no_outage_from_being_paused(senders: Senders) -> None:
    senders.rig.client.set(state_key("microsoft"), "{")
    senders.rig.client.delete(decisions_key("microsoft"))
    senders.rig.client.set(decisions_key("microsoft"), "text")
    assert senders.until_paused(50, 50) >= 4
    assert senders.rig.texts()["paused"] == "true"


def test_a_tick_that_writes_meanwhile_only_makes_it_decide_again(senders: Senders) -> None:
    controller = senders.rig.controller()

    class Racing(RedisFlagStore):
        raced = 0

        def write(self, writes: Any) -> Any:
            if not self.raced:
                self.raced = 1
                senders.rig.tick(controller)
            return super().write(writes)

    store = senders.rig.store()
    racing = Racing(store._redis)
    senders.guard = senders.new_guard(racing)
    for _ in range(3):
        senders.second()
    assert senders.until_paused(50, 50) == 4
    assert racing.raced


def test_a_lost_redis_is_told_once_and_looked_at_again(senders: Senders, redis_server: RedisServer) -> None:
    redis_server.freeze()
    assert senders.guard.look() == []
    assert senders.guard.trouble
    redis_server.thaw()
    senders.now += 1.0
    senders.guard.look()
    assert senders.guard.trouble == ""


def test_fields_that_rest_are_removed(senders: Senders) -> None:
    senders.rig.client.hset(KEY, "gone:1:1", json.dumps({"at": 1, "sends": 1, "errors": 0, "slow": 0}))
    for _ in range(65):
        senders.second()
    assert senders.rig.client.hkeys(KEY) == ["web:1:1"]


def test_a_look_at_a_thousand_processes_and_a_hundred_features_is_quick(rig: Rig) -> None:
    """Each process sends for one feature; the bound is far above what a look takes."""
    features = {f"f{n}": rig.feature for n in range(100)}
    guard = LiveGuard(
        features,
        store=rig.store(),
        journal=Journals(),
        wall=time.time,
        monotonic=time.monotonic,
        window_s=TICK_S,
        scrape_s=10.0,
        deadline_s=2.0,
    )
    took = []
    for turn in range(5):
        with rig.client.pipeline(transaction=False) as writes:
            for number in range(1000):
                value = {"at": 1, "sends": turn * 5, "errors": turn, "slow": 0, "failed_mailboxes": turn}
                writes.hset(live_key(f"f{number % 100}"), f"h:{number}:1", json.dumps(value))
            writes.execute()
        began = time.process_time()
        guard.look()
        took.append(time.process_time() - began)
    assert sorted(took)[2] < 0.5


def test_status_and_doctor_say_how_fast_harm_is_answered(senders: Senders) -> None:
    """Without a leader that looks, without senders that write, with both, and where both sources differ."""
    client, settings = senders.rig.client, replace(load_settings(), redis_url=senders.rig.url)

    def said() -> str:
        return next(one.seen for one in look_at_redis(settings) if one.subject == "live counts of microsoft")

    client.delete(LIVE_SIGHT_KEY)
    assert said() == f"reaction is {NOBODY_LOOKS}"
    for _ in range(2):
        senders.second()
    assert said() == "reaction is live, within seconds (1 process, newest count 0 s ago)"
    client.delete(KEY)
    for _ in range(2):
        senders.now += 1
        senders.guard.look()
    assert said() == f"reaction is {BY_WINDOWS}"
    senders.write(1)
    for _ in range(800):
        senders.now += 1
        senders.write(10)
        senders.guard.look()
        at = senders.now + senders.guard._ahead_s
        if senders.now % TICK_S == 0:
            windows = (Window(at, 600.0, 0.0, 600.0, 0.0),)
            senders.guard.compare({"microsoft": Evidence(now=at, windows=windows)})
    assert said() == "50% fewer sends than in Prometheus, over ten minutes"
    (stored,) = senders.rig.store().read(["microsoft"])
    about = status_context(settings, 0.0, read_sights(client))
    live = feature_status(senders.rig.feature, stored, {}, about)["live"]
    assert live["processes"] == 1
    assert live["difference"] == pytest.approx(-0.5, abs=0.01)


@pytest.mark.parametrize("text", ["", "x", "[]", '{"microsoft": 5}', '{"microsoft": {"processes": "x"}}'])
def test_what_somebody_wrote_in_the_place_of_the_sight_is_no_sight(rig: Rig, text: str) -> None:
    rig.client.set(LIVE_SIGHT_KEY, text)
    assert read_sights(rig.client) == {}


def test_a_daemon_answers_an_outage_long_before_its_next_tick(
    redis_server: RedisServer, redis_client: redis.Redis, tmp_path: Path
) -> None:
    """With production's lengths, and even without Prometheus: a process that counts is all that it needs."""
    config, port = tmp_path / "rollout.toml", free_port()
    config.write_text(
        f'[controller]\nredis_url = "{redis_server.url}"\nprometheus_url = "http://127.0.0.1:{free_port()}"\n'
        f'interval_s = 30\nlisten = "127.0.0.1:{port}"\n'
        '[features.microsoft]\nprovider = "microsoft"\naction = "outlook.send"\nblip_s = 1\n'
    )
    command = [sys.executable, "-m", "controller", "run", "--config", str(config), "--no-adapter"]
    store, feature = RedisFlagStore(open_redis(redis_server.url, 1.0)), load_features(config)["microsoft"]

    def person(kind: Kind, percent: float | None = None) -> None:
        operate(store, Journals(), feature, kind, actor="ann", note="-", now=time.time(), percent=percent)

    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as daemon:
        try:
            wait_until(lambda: redis_client.exists(LIVE_SIGHT_KEY), 30, "the guard")
            person(Kind.ENABLE)
            person(Kind.SET, 100.0)
            with RolloutGate.start(redis_server.url, {"microsoft": feature}) as gate:
                wait_until(lambda: gate.check("microsoft", "ann").open, what="the open gate")
                sent = 0
                while gate.check("microsoft", "ann").open and sent < 3000:
                    gate.count("microsoft", False, 0.1, f"user-{sent}")
                    sent += 1
                    time.sleep(0.02)
                assert gate.check("microsoft", "ann").reason is GateReason.PAUSED
            record = next(iter(store.history("microsoft", newest=1)))
            assert (record["reason"], record["evidence"]["source"]) == ("outage", "live")
            assert verify(record) == []
            told = httpx.get(f"http://127.0.0.1:{port}/metrics").text
            assert 'rollout_decisions_total{feature="microsoft",kind="pause",reason="outage"} 1.0' in told
            (stand,) = httpx.get(f"http://127.0.0.1:{port}/api/v1/features").json()["features"]
            assert stand["live"]["processes"] == 1
            assert stand["live"]["text"].startswith("live, within seconds (1 process")
            assert "How fast is harm answered?" in httpx.get(f"http://127.0.0.1:{port}/").text
        finally:
            daemon.kill()
