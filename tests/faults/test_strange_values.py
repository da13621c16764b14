"""One strange value in Redis closes its own feature; every other is watched, and a pause always works."""

import json
from collections.abc import Iterator
from typing import cast

import pytest
import redis
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.servers import RedisServer
from kit.serving import SIGNED, Served, serving
from structlog.testing import capture_logs
from worlds.poison import POISONS, TYPES, Put, anything, keys_of, poison
from worlds.strange import BROKEN, OPEN, STRANGE, World

from adapter.gate.rollout_gate import RolloutGate
from controller import cli
from controller.contract import FLAG_NAMES, flag_key, parse_count, revision_key
from controller.features import ROLLOUT_FEATURES

KINDS = list(keys_of(STRANGE))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("redis")
    with RedisServer(folder) as server, redis.Redis(port=server.port, socket_timeout=5) as raw:
        yield World(server.url, raw)


def survives(world: World, key: str, put: Put) -> None:
    """Poison a key, break the other feature, pause the poisoned one: every promise of this file."""
    with capture_logs():
        controller = world.begin()
        poison(world.raw, key, put)
        world.weather.errors = 290.0
        world.tick(controller)
        assert world.flags(BROKEN).paused
        assert world.flags(STRANGE).rollout_percent <= 50
        late = world.controller()
        world.tick(late)
        assert world.flags(STRANGE).rollout_percent <= 50
        record = world.pause(STRANGE)
    assert record["to"]["paused"] is True
    assert world.flags(STRANGE).paused
    assert parse_count(world.bytes_of(revision_key(STRANGE)).decode()) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_strange_value_keeps_no_other_feature_from_being_paused(world: World, kind: str) -> None:
    for name, put in POISONS.items():
        try:
            survives(world, keys_of(STRANGE)[kind], put)
        except BaseException as error:
            error.add_note(f"{kind} holds {name}")
            raise


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(KINDS), anything), min_size=1, max_size=4))
def test_any_bytes_of_any_type_keep_no_other_feature_from_being_paused(
    world: World, poisons: list[tuple[str, Put]]
) -> None:
    *before, (kind, put) = poisons

    def all_of_them(client: redis.Redis, key: str) -> None:
        for other, strange in before:
            poison(client, keys_of(STRANGE)[other], strange)
        poison(client, key, put)

    survives(world, keys_of(STRANGE)[kind], all_of_them)


@pytest.mark.parametrize("name", ["java", "nothing", "utf-16", "latin-1", "escape codes", *TYPES])
@pytest.mark.parametrize("kind", ["lease", "epoch"])
def test_a_lease_and_an_epoch_that_no_controller_wrote_keep_nobody_from_leading(
    world: World, kind: str, name: str
) -> None:
    with capture_logs():
        world.begin()
        world.raw.delete(keys_of(STRANGE)["lease"])
        poison(world.raw, keys_of(STRANGE)[kind], POISONS[name])
        assert world.controller().tick().leader
    assert parse_count(world.bytes_of(keys_of(STRANGE)["epoch"]).decode()) > 0


FEW = ("java", "hash", "spent stream", "far state")
"""Kinds of values that differ in how they fail; each command and route is asked for all of them."""
CASES = [(kind, name) for kind in KINDS for name in FEW]
COMMANDS = (
    ("status",),
    ("status", "--json"),
    ("history", STRANGE),
    ("history", BROKEN),
    ("journal", "verify"),
    ("explain", "microsoft-1-00000000", "--verify"),
    ("gate", STRANGE, "user-1"),
    ("gate", BROKEN, "user-1"),
    ("resume", STRANGE, "--reason", "x"),
    ("set", STRANGE, "7", "--reason", "x"),
    ("pause", STRANGE, "--reason", "x"),
    ("pause", BROKEN, "--reason", "x"),
)
SLOW_COMMANDS = (("decide", "--json"), ("doctor", "--json"))


def run(world: World, *words: str) -> Result:
    """Run a command in this process; nothing but an exit code may come out of it."""
    environment = {"ROLLOUT_REDIS_URL": world.url, "ROLLOUT_PROMETHEUS_URL": "http://127.0.0.1:1"}
    result = CliRunner().invoke(cli.rollout, list(words), env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), (words, result.exc_info)
    assert "Traceback" not in result.output
    return result


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_no_command_ends_in_a_traceback(world: World, kind: str, name: str) -> None:
    with capture_logs():
        world.begin()
    poison(world.raw, keys_of(STRANGE)[kind], POISONS[name])
    codes = {words: run(world, *words).exit_code for words in COMMANDS}
    assert codes["status",] == codes["status", "--json"] == codes["history", BROKEN] == 0
    assert codes["pause", STRANGE, "--reason", "x"] == codes["pause", BROKEN, "--reason", "x"] == 0
    assert world.flags(STRANGE).paused
    assert world.flags(BROKEN).paused


@pytest.mark.parametrize("kind", KINDS)
def test_decide_and_doctor_tell_of_the_others_and_name_the_strange_key(world: World, kind: str) -> None:
    with capture_logs():
        world.begin()
    poison(world.raw, keys_of(STRANGE)[kind], POISONS["hash"])
    decided = json.loads(run(world, *SLOW_COMMANDS[0]).stdout)
    assert {record["feature"] for record in decided} == {STRANGE, BROKEN}
    told = run(world, *SLOW_COMMANDS[1])
    findings = json.loads(told.stdout)
    assert any(keys_of(STRANGE)[kind] in one["subject"] for one in findings) or kind in {"lease", "epoch"}


@pytest.fixture(scope="module")
def served(world: World) -> Iterator[Served]:
    with serving(world.url) as context:
        yield context


READS = (
    "/",
    *(
        path.format(name)
        for name in (STRANGE, BROKEN)
        for path in (
            "/features/{}",
            "/page/features/{}/course",
            "/api/v1/features/{}",
            "/api/v1/features/{}/decisions",
            "/api/v1/features/{}/decisions?changes=true",
            "/api/v1/features/{}/decisions/google-1-00000000",
        )
    ),
    "/api/v1/features",
    "/metrics",
    "/healthz",
)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_no_route_answers_with_a_server_error(world: World, served: Served, kind: str, name: str) -> None:
    with capture_logs():
        world.begin()
    poison(world.raw, keys_of(STRANGE)[kind], POISONS[name])
    statuses = {path: served.http.get(path).status_code for path in READS}
    assert {path: status for path, status in statuses.items() if status >= 500} == {}
    evaluated = served.http.post("/ofrep/v1/evaluate/flags", json={"context": {"targetingKey": "u"}})
    assert evaluated.status_code == 200
    for feature in (STRANGE, BROKEN):
        told = served.act(
            "pause", feature, headers={**SIGNED, "Idempotency-Key": f"{kind}-{name}-{feature}"}, reason="x"
        )
        assert told.status_code == 200, told.text
        assert world.flags(feature).paused
    page = served.http.get("/").text
    assert f'id="feature-{BROKEN}"' in page
    assert f'id="feature-{STRANGE}"' in page


@pytest.mark.parametrize("name", ["hash", "spent stream", "java"])
def test_what_happens_to_the_others_is_told_as_it_happens(world: World, served: Served, name: str) -> None:
    with capture_logs():
        world.begin()
    poison(world.raw, keys_of(STRANGE)["decisions"], POISONS[name])
    with served.http.stream("GET", "/api/v1/events") as answer:
        lines = answer.iter_lines()
        next(line for line in lines if line.startswith("event: health"))
        done = served.act("pause", BROKEN, reason="x").json()
        assert next(line for line in lines if line.startswith("data: ") and done["id"] in line)


@pytest.mark.parametrize("name", POISONS)
def test_a_pause_with_an_idempotency_key_works_whatever_is_kept_under_the_key(
    world: World, served: Served, name: str
) -> None:
    with capture_logs():
        world.begin()
    signed = {**SIGNED, "Idempotency-Key": f"key of {name}"}
    assert served.act("pause", STRANGE, headers=signed, reason="x").status_code == 200
    [kept] = cast("list[bytes]", world.raw.keys("rollout:reply:*"))
    poison(world.raw, kept.decode(), POISONS[name])
    world.raw.set(flag_key(STRANGE, "paused"), "false")
    assert served.act("pause", STRANGE, headers=signed, reason="x").status_code == 200
    assert world.flags(STRANGE).paused


def test_the_gate_closes_the_strange_feature_alone(world: World) -> None:
    with capture_logs():
        world.begin()
    for kind in FLAG_NAMES:
        for name, put in POISONS.items():
            world.raw.set(flag_key(STRANGE, kind), OPEN[FLAG_NAMES.index(kind)])
            poison(world.raw, flag_key(STRANGE, kind), put)
            with RolloutGate.start(world.url, ROLLOUT_FEATURES, ["internal.example"]) as gate:
                inside = next(f"u{n}" for n in range(1000) if gate.check(BROKEN, f"u{n}").bucket < 50_000)
                assert gate.check(BROKEN, inside).open, (kind, name)
                assert not gate.check(STRANGE, inside, ["ann@elsewhere.example"]).open, (kind, name)
        world.raw.delete(flag_key(STRANGE, kind))
        world.raw.set(flag_key(STRANGE, kind), OPEN[FLAG_NAMES.index(kind)])
