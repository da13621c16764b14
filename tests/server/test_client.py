"""The client, and the commands that use it with --server: they say the same as those that ask Redis."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from kit.serving import TOKEN, Served

from controller.client import Client, ClientError
from controller.decision.model import Kind
from controller.store.lease import RedisLease

ROLLOUT = Path(sys.executable).with_name("rollout")


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.url, TOKEN) as client:
        yield client


def rollout(served: Served, *words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run a command that knows no Redis: the environment names one that does not answer."""
    known = {"PATH": os.environ["PATH"], "ROLLOUT_REDIS_URL": "redis://127.0.0.1:1/0"}
    command = [str(ROLLOUT), *words, "--server", served.url]
    return subprocess.run(
        command, env=known | env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def test_the_client_tells_where_features_stand_and_does_what_is_asked(served: Served, client: Client) -> None:
    record = client.act(Kind.ENABLE, "microsoft", "release 42")
    assert (record["actor"], record["note"], record["to"]["enabled"]) == ("ann", "release 42", True)
    assert client.act(Kind.SET, "microsoft", "x", 2.5)["to"]["rollout_percent"] == 2.5
    assert client.feature("microsoft") == {one["name"]: one for one in client.features()}["microsoft"]
    assert client.decision("microsoft", record["id"]) == record
    assert client.ready()["role"] == "leader"


def test_the_client_gives_all_decisions_however_many_pages_they_fill(served: Served, client: Client) -> None:
    first = served.person(Kind.ENABLE)
    for i in range(1100):
        served.store.append("microsoft", json.dumps(first | {"id": f"x-{i}", "at": first["at"] + i}))
    records = list(client.decisions("microsoft"))
    assert len(records) == 1101
    assert records[-1]["id"] == first["id"]
    assert len(list(client.decisions("microsoft", since=first["at"] + 1000))) == 100


@pytest.mark.parametrize(("name", "status"), [("microsoft", 401), ("nothing", 401)])
def test_a_refusal_is_an_error_with_its_status_and_its_sentence(
    served: Served, name: str, status: int
) -> None:
    with Client(served.url) as client, pytest.raises(ClientError, match="bearer token") as refused:
        client.act(Kind.PAUSE, name, "x")
    assert refused.value.status == status


def test_nobody_there_is_an_error_as_well() -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(ClientError, match="not answer") as refused:
        client.features()
    assert refused.value.status == 0


def test_status_says_the_same_with_and_without_a_server(served: Served) -> None:
    served.person(Kind.ENABLE)
    over_http = rollout(served, "status", "--json")
    direct = subprocess.run(
        [ROLLOUT, "status", "--json"],
        env={"PATH": os.environ["PATH"], "ROLLOUT_REDIS_URL": served.settings.redis_url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(over_http.stdout) == json.loads(direct.stdout)
    assert "No controller leads." in rollout(served, "status").stdout


def test_status_says_who_leads(served: Served, redis_client: redis.Redis) -> None:
    lease = RedisLease(redis_client, lease_s=60, monotonic=time.monotonic)
    lease.acquire()
    assert f"Led by {lease.owner}." in rollout(served, "status").stdout
    assert str(os.getpid()) in lease.owner
    lease.release()
    assert json.loads(rollout(served, "status", "--json").stdout)["leader"] is None


def test_a_person_pauses_through_the_server_and_reads_the_history_there(served: Served) -> None:
    done = rollout(served, "pause", "microsoft", "--reason", "late", ROLLOUT_API_TOKEN=TOKEN)
    assert (done.returncode, "paused" in done.stdout) == (0, True)
    told = json.loads(rollout(served, "history", "microsoft", "--json").stdout)
    assert [(record["kind"], record["actor"]) for record in told] == [("pause", "ann")]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("pause", "microsoft", "--reason", "x"), 2, "bearer token"),
        (("history", "microsfot"), 2, "did you mean microsoft?"),
    ],
)
def test_what_the_server_refuses_is_one_line_and_an_exit_code(
    served: Served, words: tuple[str, ...], code: int, says: str
) -> None:
    refused = rollout(served, *words)
    assert refused.returncode == code
    assert says in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_an_approval_that_nothing_waits_for_is_a_no(served: Served) -> None:
    refused = rollout(served, "approve", "microsoft", "--reason", "x", ROLLOUT_API_TOKEN=TOKEN)
    assert refused.returncode == 1


def test_a_server_that_is_away_is_exit_code_three() -> None:
    asked = subprocess.run(
        [ROLLOUT, "status", "--server", "http://ann:hush@127.0.0.1:1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 3
    assert "hush" not in asked.stderr
    assert asked.stderr.count("\n") == 1
