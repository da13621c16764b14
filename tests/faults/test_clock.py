"""The wall clock of a running daemon is set, by libfaketime; it goes on and steps as it should."""

import time
from pathlib import Path

import pytest
from faultproof import next_step
from liveworld import World
from waiting import wait_until

from controller.decision.model import Kind
from controller.decision.record import verify
from controller.features import load_features
from controller.flagstore import RedisFlagStore, connect
from controller.journal import Journals
from controller.operate import operate

pytestmark = pytest.mark.servers
[LIBRARY] = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")


def test_a_clock_that_is_set_hours_back_and_forth_neither_stops_nor_hurries_the_rollout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offset = tmp_path / "offset"
    offset.write_text("+0")
    with World(tmp_path) as world:
        daemon, store = world.daemons["a"], RedisFlagStore(connect(world.redis.url, 2.0))
        with monkeypatch.context() as faked:
            faked.setenv("LD_PRELOAD", str(LIBRARY))
            faked.setenv("FAKETIME_TIMESTAMP_FILE", str(offset))
            faked.setenv("FAKETIME_NO_CACHE", "1")
            faked.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            daemon.start()
        daemon.wait_ready()
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
