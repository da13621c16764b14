"""Flags that went back in time, and a stream and a file that lost what the other has."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from kit.servers import RedisServer
from structlog.testing import capture_logs
from worlds.fault_rig import Rig

from controller.contract import decisions_key, revision_key, state_key
from controller.decision.model import Kind
from controller.decision.record import verify
from controller.journal import sinks as journal
from controller.journal.sinks import read_file
from controller.store.flag_store import StoreError, Write, WriteOutcome
from controller.store.redis_store import RedisFlagStore

_FLAG_KEYS = [f"flags:microsoft:{name}" for name in ("enabled", "internal_only", "rollout_percent", "paused")]


def saved(rig: Rig) -> dict[str, Any]:
    """Remember everything that Redis holds of the feature, as a replica that lags behind would."""
    keys = [*_FLAG_KEYS, revision_key("microsoft"), state_key("microsoft"), decisions_key("microsoft")]
    return {key: rig.client.dump(key) for key in keys}


def go_back(rig: Rig, kept: dict[str, Any]) -> None:
    for key, value in kept.items():
        rig.client.restore(key, 0, value, replace=True)


def raw(rig: Rig) -> Rig:
    """Return a rig whose client does not decode, which DUMP needs."""
    rig.client.connection_pool.connection_kwargs["decode_responses"] = False
    rig.client.connection_pool.disconnect()
    return rig


def climbing(rig: Rig) -> Any:
    rig.person(Kind.ENABLE)
    controller = rig.controller()
    rig.tick(controller, 2)
    return controller


def test_a_pause_lost_by_a_failover_is_written_again_and_stays_until_a_person_resumes(rig: Rig) -> None:
    controller = climbing(raw(rig))
    kept = saved(rig)
    rig.weather.errors = 290
    rig.tick(controller, 3)
    paused = rig.flags()
    assert paused.paused
    go_back(rig, kept)
    assert not rig.flags().paused
    rig.weather.errors = 0
    rig.tick(controller)
    assert rig.flags().paused
    assert rig.flags().revision == paused.revision + 1
    record = rig.stream()[-1]
    assert (record["kind"], record["reason"], record["newer"]["revision"]) == (
        "pause",
        "conflict",
        paused.revision,
    )
    assert "until a person resumes" in record["detail"]
    assert verify(record) == []
    rig.tick(controller, 20)
    assert rig.flags().paused
    rig.person(Kind.RESUME)
    rig.tick(controller, 60)
    assert not rig.flags().paused
    assert rig.flags().rollout_percent > paused.rollout_percent


def test_a_controller_that_starts_after_the_failover_knows_it_from_its_file(rig: Rig) -> None:
    controller = climbing(raw(rig))
    kept = saved(rig)
    rig.tick(controller, 60)
    higher = rig.flags()
    assert higher.rollout_percent > 1
    controller.release()
    go_back(rig, kept)
    rig.tick(rig.controller())
    assert rig.flags().paused
    assert rig.flags().rollout_percent == 1
    assert rig.flags().revision == higher.revision + 1


def test_a_standby_pauses_flags_that_went_back_and_lets_a_person_resume(rig: Rig) -> None:
    leader = climbing(raw(rig))
    standby = rig.controller(file=rig.file.with_name("standby.jsonl"))
    kept = saved(rig)
    rig.weather.errors = 290
    rig.tick(leader, 3)
    rig.tick(standby)
    go_back(rig, kept)
    rig.weather.errors = 0
    rig.tick(standby)
    assert rig.flags().paused
    rig.person(Kind.RESUME)
    rig.tick(standby, 3)
    assert not rig.flags().paused


def test_changes_that_the_stream_lost_are_given_back_from_the_file(rig: Rig) -> None:
    controller = climbing(raw(rig))
    kept = saved(rig)
    rig.tick(controller, 60)
    steps = [record["id"] for record in rig.stream() if record["kind"] == "step_up"]
    assert len(steps) >= 3
    go_back(rig, kept)
    rig.tick(controller)
    assert {record["id"] for record in rig.stream()} >= set(steps)
    revisions = [r["revision"] for r in rig.stream() if r["kind"] not in {"hold", "external_change"}]
    assert revisions == list(range(1, len(revisions) + 1))


def test_what_a_long_file_holds_before_its_end_is_not_written_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.tick(climbing(rig), 30)
    monkeypatch.setattr(journal, "_TAIL_BYTES", rig.file.stat().st_size // 10)
    rig.tick(rig.controller())
    ids = [record["id"] for record in read_file(rig.file)]
    assert len(ids) == len(set(ids)) > 30
    assert ids == [record["id"] for record in rig.stream()]


def test_a_controller_that_starts_after_redis_was_emptied_gives_every_change_back(rig: Rig) -> None:
    controller = climbing(rig)
    rig.tick(controller, 60)
    changes = [record["id"] for record in rig.stream() if record["kind"] != "hold"]
    assert len(changes) >= 4
    rig.client.flushall()
    rig.tick(rig.controller())
    assert [record["id"] for record in rig.stream() if record["id"] in changes] == changes


def test_a_redis_emptied_after_a_refused_write_gets_every_change_back(rig: Rig) -> None:
    controller = climbing(rig)
    rig.tick(controller, 60)
    changes = [record["id"] for record in rig.stream() if record["kind"] != "hold"]
    rig.weather.meanwhile = lambda: rig.edit(internal_only="false")
    assert rig.tick(controller).records[0]["applied"] == "conflict"
    rig.weather.meanwhile = lambda: None
    rig.client.flushall()
    rig.tick(controller, 2)
    assert {record["id"] for record in rig.stream()} >= set(changes)


def test_a_change_whose_revision_a_standby_gave_again_is_given_back_too(rig: Rig) -> None:
    leader = climbing(raw(rig))
    standby = rig.controller(file=rig.file.with_name("standby.jsonl"))
    kept, began = saved(rig), rig.flags().revision
    while rig.flags().revision == began:
        rig.tick(leader)
    rig.tick(standby)
    while rig.flags().revision == began + 1:
        rig.tick(leader)
    lost = rig.stream()[-1]
    go_back(rig, kept)
    rig.tick(standby)
    assert (rig.flags().paused, rig.flags().revision) == (True, lost["revision"])
    rig.tick(leader)
    assert lost["id"] in {record["id"] for record in rig.stream()}
    assert rig.flags().paused


def test_a_lost_pause_that_another_decided_likewise_is_in_the_stream_and_in_both_files_again(
    rig: Rig,
) -> None:
    leader = climbing(raw(rig))
    copy = rig.file.with_name("standby.jsonl")
    standby = rig.controller(file=copy)
    rig.tick(leader, 5)
    rig.tick(standby)
    kept = saved(rig)
    rig.weather.errors = 290
    lost = rig.tick(standby).records[-1]
    go_back(rig, kept)
    again = leader.tick().records[-1]
    assert (again["kind"], again["to"], again["revision"]) == (lost["kind"], lost["to"], lost["revision"])
    rig.weather.errors = 0
    for controller in (standby, leader, standby):
        rig.tick(controller)
    both = {lost["id"], again["id"]}
    assert {record["id"] for record in rig.stream()} >= both
    assert {record["id"] for record in read_file(rig.file)} >= both
    assert {record["id"] for record in read_file(copy)} >= both
    assert rig.flags().paused


def test_giving_back_delays_no_pause_of_another(rig: Rig) -> None:
    leader = climbing(raw(rig))
    standby = rig.controller(file=rig.file.with_name("standby.jsonl"))
    rig.tick(leader, 3)
    rig.tick(standby)
    kept = saved(rig)
    rig.person(Kind.SET, 0.5)
    rig.tick(standby)
    go_back(rig, kept)

    def meanwhile() -> None:
        rig.weather.meanwhile = lambda: None
        rig.tick(standby)

    rig.weather.errors = 290
    rig.weather.meanwhile = meanwhile
    rig.tick(leader)
    assert rig.flags().paused


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("alone", [3, 7, 8, 12, 40])
def test_a_redis_emptied_while_another_leads_gets_every_change_back(
    rig: Rig, alone: int, restarted: bool
) -> None:
    controller = climbing(rig)
    rig.tick(controller, 60)
    changes = [record["id"] for record in rig.stream() if record["kind"] != "hold"]
    assert len(changes) >= 4
    rig.client.flushall()
    rig.tick(rig.controller(file=rig.file.with_name("other.jsonl")), alone)
    rig.tick(rig.controller() if restarted else controller)
    assert {record["id"] for record in rig.stream()} >= set(changes)


@pytest.mark.parametrize("behind_s", [0.0, 200.0, 400.0])
def test_a_lost_pause_is_given_back_whatever_the_clock_of_who_paused(rig: Rig, behind_s: float) -> None:
    controller = climbing(raw(rig))
    rig.tick(controller, 12)
    kept = saved(rig)
    rig.weather.now -= behind_s
    done = rig.person(Kind.PAUSE)["id"]
    rig.weather.now += behind_s
    rig.tick(controller)
    go_back(rig, kept)
    rig.tick(controller, 2)
    assert rig.flags().paused
    assert done in {record["id"] for record in rig.stream()}


def test_a_lost_pause_is_given_back_where_the_leader_before_had_a_clock_ahead(rig: Rig) -> None:
    first = climbing(raw(rig))
    second = rig.controller(file=rig.file.with_name("second.jsonl"))
    rig.tick(first, 12)
    first.release()
    rig.weather.now -= 300
    rig.tick(second)
    kept = saved(rig)
    rig.weather.errors = 290
    rig.tick(second, 3)
    lost = {record["id"] for record in rig.stream() if record["kind"] == "pause"}
    assert lost
    go_back(rig, kept)
    rig.weather.errors = 0
    rig.tick(second, 2)
    assert lost <= {record["id"] for record in rig.stream()}


ODD_STATES = {"half a pair": '"config_hash":"\\ud800"', "a number too large": f'"tests_started":1{"0" * 30}'}


@pytest.mark.parametrize("odd", ODD_STATES.values(), ids=ODD_STATES)
@pytest.mark.parametrize("by_hand", [False, True])
def test_a_state_that_another_wrote_keeps_nobody_from_being_paused(rig: Rig, odd: str, by_hand: bool) -> None:
    controller = climbing(rig)
    plain = json.loads(str(rig.client.get(state_key("microsoft"))))
    plain.pop(json.loads(odd.partition(":")[0]))
    rig.client.set(state_key("microsoft"), f"{{{odd},{json.dumps(plain)[1:]}")
    if by_hand:
        rig.person(Kind.PAUSE)
    else:
        rig.weather.errors = 290
        rig.tick(controller, 4)
    assert rig.flags().paused


@pytest.mark.parametrize(
    "odd", [{"at": None}, {"at": "y"}, {"revision": None}, {"to": None}, {"feature": "nobody"}]
)
def test_a_record_that_another_wrote_keeps_nobody_from_being_paused(rig: Rig, odd: dict[str, Any]) -> None:
    controller = climbing(rig)
    rig.tick(controller, 5)
    record = rig.stream()[-1] | {"id": "microsoft-1-odd", "kind": "pause"} | odd
    rig.client.xadd(decisions_key("microsoft"), {"record": json.dumps(record)})
    rig.person(Kind.SET, 3.0)
    rig.weather.errors = 290
    rig.tick(controller, 4)
    assert rig.flags().paused


def test_a_decision_whose_answer_was_lost_for_good_is_in_the_file_after_the_next_tick(rig: Rig) -> None:
    class Deaf(RedisFlagStore):
        """Loses the answers to both tries of every write that changes flags."""

        def write(self, writes: Iterable[Write]) -> list[WriteOutcome]:
            tried = list(writes)
            outcomes = super().write(tried)
            if any(write.flags for write in tried):
                raise StoreError("Redis: TimeoutError")
            return outcomes

    rig.person(Kind.ENABLE)
    store = Deaf(rig.client)
    controller = rig.controller(store=store)
    assert rig.tick(controller).error
    assert rig.flags().rollout_percent == 1
    rig.tick(controller)
    in_file = [(r["id"], r["kind"]) for r in read_file(rig.file)]
    assert in_file == [(r["id"], r["kind"]) for r in rig.stream()]
    assert [kind for _, kind in in_file] == ["enable", "step_up", "hold"]


def test_what_a_person_did_elsewhere_is_in_the_file_after_the_next_tick(rig: Rig) -> None:
    controller = climbing(rig)
    done = [rig.person(kind)["id"] for kind in (Kind.PAUSE, Kind.RESUME, Kind.PAUSE)]
    rig.tick(controller)
    assert [r["id"] for r in read_file(rig.file)] == [r["id"] for r in rig.stream()]
    assert {r["id"] for r in read_file(rig.file)} >= set(done)


def test_a_pause_of_what_is_paused_already_is_in_the_file_after_the_next_tick_too(rig: Rig) -> None:
    controller = climbing(rig)
    rig.person(Kind.PAUSE)
    rig.tick(controller, 3)
    rig.person(Kind.PAUSE)
    rig.tick(controller)
    assert [r["id"] for r in read_file(rig.file)] == [r["id"] for r in rig.stream()]


def test_two_controllers_may_share_a_file_and_no_line_is_doubled(rig: Rig) -> None:
    leader = climbing(rig)
    standby = rig.controller()
    for _ in range(5):
        rig.tick(leader)
        rig.tick(standby)
    leader.release()
    for _ in range(5):
        rig.tick(standby)
        rig.tick(leader)
    ids = [r["id"] for r in read_file(rig.file)]
    assert ids == [r["id"] for r in rig.stream()]
    assert len(set(ids)) == len(ids)


def test_a_standby_keeps_a_whole_copy_in_a_file_of_its_own(rig: Rig) -> None:
    leader = climbing(rig)
    copy = rig.file.with_name("copy.jsonl")
    standby = rig.controller(file=copy)
    for _ in range(20):
        rig.tick(leader)
        rig.tick(standby)
    assert [r["id"] for r in read_file(copy)] == [r["id"] for r in rig.stream()]


def test_a_file_that_cannot_be_written_is_told_and_made_whole_later(rig: Rig, tmp_path: Path) -> None:
    rig.file = tmp_path / "later" / "decisions.jsonl"
    controller = climbing(rig)
    rig.tick(controller, 4)
    rig.file.parent.mkdir()
    with capture_logs() as logs:
        rig.tick(controller)
    assert [r["id"] for r in read_file(rig.file)] == [r["id"] for r in rig.stream()]
    assert [entry["event"] for entry in logs] == ["journal_repaired"]


def test_a_redis_that_starts_from_an_old_file_is_noticed(tmp_path: Path) -> None:
    options = ("--appendonly", "yes", "--appendfsync", "always")
    files, old = tmp_path / "redis", tmp_path / "old"
    files.mkdir()
    with RedisServer(files, *options) as server, server.client() as client:
        rig = Rig(server.url, client, tmp_path / "decisions.jsonl")
        controller = climbing(rig)
        shutil.copytree(files, old)
        rig.weather.errors = 290
        rig.tick(controller, 3)
        assert rig.flags().paused
        server.kill()
        shutil.rmtree(files)
        shutil.copytree(old, files)
        server.start()
        assert not rig.flags().paused
        rig.weather.errors = 0
        rig.tick(controller)
        assert rig.flags().paused
        assert rig.stream()[-1]["reason"] == "conflict"
