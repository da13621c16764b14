"""What every flag store promises: one suite for Redis, a cluster, fakeredis; what a dry run leaves alone."""

import json
from collections.abc import Iterator
from typing import Any, cast

import fakeredis
import pytest
import redis
from kit.redis_cluster import RedisCluster
from kit.servers import RedisServer
from kit.waiting import wait_until
from worlds import snapshots
from worlds.snapshots import at_step

from controller.contract import EPOCH_KEY, FLAGS_CHANNEL, Flags, decisions_key, flag_key, revision_key
from controller.decision.decide import decide
from controller.shared.redis_pool import key_prefix, open_redis
from controller.store.flag_store import DryRunStore, Stored, StoreError, Write, WriteOutcome, find_record
from controller.store.record_json import dump
from controller.store.redis_store import RedisFlagStore

OPEN = Flags(enabled=True, internal_only=False, rollout_percent=5.0, paused=False)


@pytest.fixture(params=["redis_server", "redis_cluster", "fakeredis"])
def client(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    """Yield a Redis that is real, a real cluster, and one that lives in this process."""
    if request.param != "fakeredis":
        server: RedisServer | RedisCluster = request.getfixturevalue(request.param)
        with open_redis(server.url, 2.0) as real:
            yield real
    else:
        yield cast("redis.Redis", fakeredis.FakeStrictRedis(decode_responses=True, version=(7, 0)))


@pytest.fixture
def store(client: redis.Redis) -> RedisFlagStore:
    return RedisFlagStore(client, decisions_kept=100)


def put(client: redis.Redis, **flags: str) -> None:
    for flag, text in flags.items():
        client.set(key_prefix(client) + flag_key("microsoft", flag), text)


def one(store: RedisFlagStore | DryRunStore) -> Stored:
    [stored] = store.read(["microsoft"])
    return stored


def record(decision_id: str) -> dict[str, Any]:
    seen = at_step()
    return snapshots.record(seen, decide(seen), decision_id=decision_id)


def write(stored: Stored, flags: Flags | None = None, **more: Any) -> Write:
    given: dict[str, Any] = {
        "decision_id": "microsoft-1000-aa",
        "stored": stored,
        "records": (dump(record("microsoft-1000-aa")),),
        "state": '{"n": 0.1}',
        "flags": flags,
    }
    return Write(**(given | more))


def test_a_new_feature_is_created_closed(store: RedisFlagStore) -> None:
    assert one(store).flags.missing
    store.create_missing("microsoft", Flags(False, True, 0.0, False))
    flags = one(store).flags
    assert (flags.enabled, flags.internal_only, flags.rollout_percent, flags.paused) == (
        False,
        True,
        0.0,
        False,
    )
    assert one(store).texts == ("false", "true", "0", "false")


def test_creating_never_touches_a_flag_that_is_there(store: RedisFlagStore, client: redis.Redis) -> None:
    put(client, paused="true", rollout_percent="12.5")
    store.create_missing("microsoft", Flags(False, True, 0.0, False))
    assert one(store).texts == ("false", "true", "12.5", "true")


def test_a_key_of_another_type_reads_as_missing_and_closed(
    store: RedisFlagStore, client: redis.Redis
) -> None:
    put(client, enabled="true", internal_only="false", rollout_percent="5")
    client.hset(key_prefix(client) + flag_key("microsoft", "paused"), "paused", "false")
    assert one(store).flags.missing == ("paused",)
    assert one(store).flags.paused


@pytest.mark.parametrize(
    ("flag", "text", "closed"),
    [
        ("enabled", "TRUE", False),
        ("enabled", "1", False),
        ("internal_only", "no", True),
        ("rollout_percent", "1e1", 0.0),
        ("rollout_percent", "150", 0.0),
        ("rollout_percent", "", 0.0),
        ("rollout_percent", "5.1234", 0.0),
        ("rollout_percent", "\u0665", 0.0),
        ("paused", "false ", True),
    ],
)
def test_text_that_cannot_be_understood_is_closed_each_in_its_way(
    store: RedisFlagStore, client: redis.Redis, flag: str, text: str, closed: object
) -> None:
    put(client, enabled="true", internal_only="false", rollout_percent="5", paused="false")
    put(client, **{flag: text})
    flags = one(store).flags
    assert getattr(flags, flag) == closed
    assert flags.unreadable == (flag,)


def test_flags_state_record_revision_and_hint_are_one_write(
    store: RedisFlagStore, client: redis.Redis
) -> None:
    heard = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    heard.subscribe(FLAGS_CHANNEL)
    heard.get_message(timeout=1)
    assert store.write([write(one(store), OPEN)]) == [WriteOutcome.APPLIED]
    after = one(store)
    assert after.texts == ("true", "false", "5", "false")
    assert after.flags.revision == 1
    assert after.state == '{"n": 0.1}'
    assert [record["id"] for record in store.history("microsoft")] == ["microsoft-1000-aa"]
    message = heard.get_message(timeout=1)
    assert message is not None
    assert message["data"] == "microsoft"
    heard.close()


def test_a_stream_entry_has_the_whole_record_in_one_field(store: RedisFlagStore, client: redis.Redis) -> None:
    store.write([write(one(store), OPEN)])
    [(_, fields)] = cast("list[Any]", client.xrange(key_prefix(client) + decisions_key("microsoft")))
    assert set(fields) == {"record"}


def test_a_hold_changes_neither_flags_nor_revision(store: RedisFlagStore, client: redis.Redis) -> None:
    put(client, enabled="true")
    assert store.write([write(one(store))]) == [WriteOutcome.APPLIED]
    assert one(store).texts == ("true", None, None, None)
    assert client.get(key_prefix(client) + revision_key("microsoft")) is None


@pytest.mark.parametrize("flag", ["enabled", "internal_only", "rollout_percent", "paused"])
def test_a_change_between_reading_and_writing_wins(
    store: RedisFlagStore, client: redis.Redis, flag: str
) -> None:
    put(client, enabled="true", internal_only="false", rollout_percent="1", paused="false")
    stored = one(store)
    put(client, **{flag: "2" if flag == "rollout_percent" else "maybe"})
    before = one(store)
    assert store.write([write(stored, OPEN)]) == [WriteOutcome.CONFLICT]
    assert one(store) == before
    assert list(store.history("microsoft")) == []


def test_a_state_that_moved_on_is_a_conflict_too(store: RedisFlagStore) -> None:
    stored = one(store)
    store.write([write(stored, state='{"n": 1}')])
    assert store.write([write(stored, OPEN, decision_id="microsoft-1001-bb")]) == [WriteOutcome.CONFLICT]


def test_a_decision_that_is_sent_again_is_written_once(store: RedisFlagStore) -> None:
    again = write(one(store), OPEN)
    assert [store.write([again]) for _ in range(9)] == [[WriteOutcome.APPLIED]] * 9
    assert one(store).flags.revision == 1
    assert len(list(store.history("microsoft"))) == 1


def test_a_decision_sent_again_after_a_person_paused_says_applied_and_leaves_the_pause(
    store: RedisFlagStore, client: redis.Redis
) -> None:
    late = write(one(store), OPEN)
    store.write([late])
    put(client, paused="true")
    assert store.write([late]) == [WriteOutcome.APPLIED]
    assert one(store).flags.paused


def test_an_older_leader_is_fenced(store: RedisFlagStore, client: redis.Redis) -> None:
    client.set(key_prefix(client) + EPOCH_KEY, "7")
    assert store.write([write(one(store), OPEN, epoch=6)]) == [WriteOutcome.FENCED]
    assert one(store).flags.missing
    assert store.write([write(one(store), OPEN, epoch=7)]) == [WriteOutcome.APPLIED]


def test_a_lost_epoch_fences_everybody_who_had_one(store: RedisFlagStore) -> None:
    assert store.write([write(one(store), OPEN, epoch=1)]) == [WriteOutcome.FENCED]


def test_a_pause_needs_no_epoch(store: RedisFlagStore, client: redis.Redis) -> None:
    client.set(key_prefix(client) + EPOCH_KEY, "7")
    assert store.write([write(one(store), Flags(paused=True))]) == [WriteOutcome.APPLIED]


def test_many_features_are_each_written_wholly_or_not_at_all(
    store: RedisFlagStore, client: redis.Redis
) -> None:
    stored = store.read(["google", "microsoft"])
    put(client, enabled="true")
    writes = [write(s, OPEN, decision_id=f"{s.feature}-1-a") for s in stored]
    assert store.write(writes) == [WriteOutcome.APPLIED, WriteOutcome.CONFLICT]


def test_the_first_decisions_are_written_while_the_last_are_still_made(
    store: RedisFlagStore, client: redis.Redis
) -> None:
    stored = store.read([f"feature-{n}" for n in range(200)])

    def coming() -> Iterator[Write]:
        yield from (write(s, OPEN, decision_id=f"{s.feature}-1-a") for s in stored[:-1])
        wait_until(lambda: client.get(key_prefix(client) + revision_key("feature-0")) == "1")
        yield write(stored[-1], OPEN, decision_id="last-1-a")

    assert store.write(coming()) == [WriteOutcome.APPLIED] * 200


def test_decisions_that_break_off_leave_no_answers_for_others_to_read(
    store: RedisFlagStore, client: redis.Redis
) -> None:
    stored = store.read([f"feature-{n}" for n in range(100)])

    def coming() -> Iterator[Write]:
        yield from (write(s, OPEN, decision_id=f"{s.feature}-1-a") for s in stored)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write(coming())
    assert [one.feature for one in store.read(["microsoft"])] == ["microsoft"]
    client.script_flush()
    assert store.write([write(one(store), OPEN)]) == [WriteOutcome.APPLIED]


def test_what_goes_wrong_while_decisions_are_made_is_no_trouble_of_the_store(store: RedisFlagStore) -> None:
    def coming() -> Iterator[Write]:
        yield write(one(store), OPEN)
        raise BrokenPipeError("the log")

    with pytest.raises(BrokenPipeError):
        store.write(coming())


def test_no_decision_is_nothing_to_write(store: RedisFlagStore) -> None:
    assert store.write(iter(())) == []


def test_the_history_gives_the_newest_or_those_since_an_instant(store: RedisFlagStore) -> None:
    for number in range(5):
        store.append("microsoft", dump(record(f"microsoft-{number}-x")))
    assert [r["id"] for r in store.history("microsoft", newest=2)] == ["microsoft-3-x", "microsoft-4-x"]
    assert len(list(store.history("microsoft", since_ms=0))) == 5
    assert list(store.history("microsoft", since_ms=2**45)) == []


def test_a_record_is_found_by_its_id(store: RedisFlagStore) -> None:
    kept = dump(record("microsoft-1000-abc"))
    store.append("microsoft", kept)
    assert find_record(store, ["google", "microsoft"], "microsoft-1000-abc") == json.loads(kept)
    for strange in ("microsoft-1000-zzz", f"microsoft-{2**64}-abc", f"microsoft-{'9' * 5000}-abc", "", "-"):
        assert find_record(store, ["google", "microsoft"], strange) is None


def test_a_script_that_redis_forgot_is_loaded_again(store: RedisFlagStore, client: redis.Redis) -> None:
    store.write([write(one(store))])
    client.script_flush()
    assert store.write([write(one(store), decision_id="microsoft-2-a")]) == [WriteOutcome.APPLIED]


def test_a_redis_that_is_away_is_one_named_error(redis_server: RedisServer) -> None:
    store = RedisFlagStore(open_redis(redis_server.url, 0.3))
    redis_server.kill()
    with pytest.raises(StoreError, match="Redis"):
        store.read(["microsoft"])


class TestDryRun:
    """A dry run reads everything and changes nothing."""

    def test_it_writes_nothing(self, store: RedisFlagStore, client: redis.Redis) -> None:
        dry = DryRunStore(store)
        put(client, enabled="true")
        dry.create_missing("microsoft", OPEN)
        dry.append("microsoft", "{}")
        assert dry.write([write(one(dry), OPEN)]) == [WriteOutcome.SKIPPED]
        assert client.keys("*") == [key_prefix(client) + flag_key("microsoft", "enabled")]

    def test_what_its_holds_added_up_is_remembered(self, store: RedisFlagStore) -> None:
        dry = DryRunStore(store)
        dry.write([write(one(dry), state='{"mine": 1}')])
        dry.write([write(one(dry), state='{"mine": 2}')])
        assert one(dry).state == '{"mine": 2}'
        assert one(store).state is None

    def test_a_real_write_ends_what_it_remembered(self, store: RedisFlagStore, client: redis.Redis) -> None:
        dry = DryRunStore(store)
        dry.write([write(one(dry), state='{"mine": 1}')])
        put(client, rollout_percent="5")
        assert one(dry).state is None
        dry.write([write(one(dry), state='{"mine": 2}')])
        store.write([write(one(store), state='{"theirs": 1}')])
        assert one(dry).state == '{"theirs": 1}'
