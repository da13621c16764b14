"""OpenFeature's clients for Node and for browsers agree with `rollout gate`, and obey a pause."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kit.servers import RedisServer
from kit.serving import Served, serving
from kit.waiting import wait_until

from controller.decision.model import Kind

HERE = Path(__file__).parent
USERS = [f"user-{number}" for number in range(1000)]


class NodeClient:
    """One of OpenFeature's clients in a Node process of its own."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, **question: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def node_client(kind: str, url: str) -> Iterator[NodeClient]:
    assert (HERE / "node_modules").is_dir(), "the clients are not installed: make setup-test does"
    process = subprocess.Popen(
        ["node", "ask.mjs", kind, url], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        yield NodeClient(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


@pytest.fixture
def served(redis_server: RedisServer) -> Iterator[Served]:
    with serving(redis_server.url) as context:
        yield context


def gate_of(served: Served, users: list[str], folder: Path) -> dict[str, bool]:
    """Ask the command `rollout gate` for all of them."""
    ran = subprocess.run(
        [Path(sys.executable).with_name("rollout"), "gate", "microsoft", "-", "--json"],
        env={"ROLLOUT_REDIS_URL": served.settings.redis_url, "PATH": "/usr/bin:/bin"},
        cwd=folder,
        input="\n".join(users),
        capture_output=True,
        text=True,
        check=False,
    )
    return {one["user_id"]: one["open"] for one in json.loads(ran.stdout)}


def in_at(served: Served, percent: float) -> None:
    served.person(Kind.ENABLE)
    revision = served.person(Kind.SET, percent=percent)["revision"]
    path, body = "/ofrep/v1/evaluate/flags/microsoft", {"context": {"targetingKey": "user-1"}}
    wait_until(lambda: served.http.post(path, json=body).json()["metadata"]["revision"] >= revision)


@pytest.mark.parametrize("kind", ["server", "web"])
def test_a_thousand_users_get_the_answer_of_rollout_gate(served: Served, kind: str, tmp_path: Path) -> None:
    in_at(served, 30)
    expected = gate_of(served, USERS, tmp_path)
    assert 250 < sum(expected.values()) < 350
    with node_client(kind, served.url) as client:
        assert client.ask(users=USERS) == expected


@pytest.mark.parametrize("kind", ["server", "web"])
def test_a_pause_turns_it_off_within_a_second_without_a_restart(served: Served, kind: str) -> None:
    in_at(served, 100)
    with node_client(kind, served.url) as client:
        assert client.ask(users=["user-1"]) == {"user-1": True}
        served.person(Kind.PAUSE)
        wait_until(lambda: client.ask(again=True) == {"user-1": False}, within_s=1.0, what="the pause")


def test_a_lost_redis_is_an_answer_and_no_error_that_would_take_the_callers_default(
    served: Served, redis_server: RedisServer
) -> None:
    in_at(served, 100)
    with node_client("server", served.url) as client:
        assert client.ask(users=["user-1"]) == {"user-1": True}
        redis_server.kill()
        wait_until(lambda: client.ask(again=True) == {"user-1": False}, within_s=6.0, what="a closed gate")
