"""The wall clock of a running daemon is set, by libfaketime; it goes on and steps as it should."""

import time
from pathlib import Path
from typing import Any

import pytest
from kit.waiting import wait_until
from worlds.fault_proof import next_step
from worlds.live import Daemon, World

from controller.decision.model import Kind
from controller.decision.record import verify
from controller.features import load_features
from controller.journal.sinks import Journals
from controller.loop.manual import operate
from controller.shared.redis_pool import open_redis
from controller.store.redis_store import RedisFlagStore

[LIBRARY] = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
BAKE_S = 12


def on_a_clock_that_can_be_set(world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[Daemon, Path]:
    """Start a daemon whose wall clock is off by what stands in a file."""
    daemon, offset = world.daemons["a"], world.folder / "offset"
    offset.write_text("+0")
    with monkeypatch.context() as faked:
        faked.setenv("LD_PRELOAD", str(LIBRARY))
        faked.setenv("FAKETIME_TIMESTAMP_FILE", str(offset))
        faked.setenv("FAKETIME_NO_CACHE", "1")
        faked.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        daemon.start()
    return daemon.wait_ready(), offset


def test_a_clock_that_is_set_hours_back_and_forth_neither_stops_nor_hurries_the_rollout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with World(tmp_path) as world:
        daemon, offset = on_a_clock_that_can_be_set(world, monkeypatch)
        store = RedisFlagStore(open_redis(world.redis.url, 2.0))
        feature = load_features(daemon.config)["microsoft"]
        operate(store, Journals(), feature, Kind.ENABLE, actor="ann", note="test", now=time.time())

        def steps() -> int:
            return sum(record["kind"] == "step_up" for record in store.history("microsoft"))

        for count, set_to in ((2, "-7200"), (4, "+7200"), (6, "+0")):
            wait_until(lambda count=count: steps() >= count, 60, f"step {count}")  # type: ignore[misc]
            offset.write_text(set_to)
        wait_until(lambda: daemon.metric("rollout_clock_steps_total") == 3, 10, "the third step of the clock")
        wait_until(lambda: steps() >= 7, 60, "a step after it")
        assert len(daemon.said("clock_stepped")) == 3
        records = list(store.history("microsoft"))
        assert [problem for record in records for problem in verify(record)] == []
        climbed = [record for record in records if record["kind"] == "step_up"]
        assert [record["to"]["rollout_percent"] for record in climbed] == [next_step(one) for one in climbed]
        assert {record["reason"] for record in climbed[1:]} == {"healthy"}
        assert all(record["evidence"]["sample_age_s"] < 10 for record in climbed[1:])


def test_a_clock_that_is_set_forward_shortens_no_bake_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with World(tmp_path) as world:
        config = world.daemons["a"].config
        config.write_text(config.read_text().replace("bake_s = 1", f"bake_s = {BAKE_S}"))
        daemon, offset = on_a_clock_that_can_be_set(world, monkeypatch)
        store = RedisFlagStore(open_redis(world.redis.url, 2.0))
        feature = load_features(daemon.config)["microsoft"]
        operate(store, Journals(), feature, Kind.ENABLE, actor="ann", note="test", now=time.time())

        def steps() -> list[Any]:
            return [record for record in store.history("microsoft") if record["kind"] == "step_up"]

        wait_until(steps, 60, "the first step")
        offset.write_text("+7200")
        wait_until(lambda: len(steps()) >= 2, 60, "the second step")
        first, second = steps()[:2]
        assert second["at"] - first["at"] > 7000
        assert second["evidence"]["now"] - first["evidence"]["now"] >= BAKE_S
        assert "baking" in {record["reason"] for record in store.history("microsoft")}
