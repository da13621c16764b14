"""OFREP: the real Python client and the in-process provider agree with the gate, and closed is false."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.servers import RedisServer
from kit.serving import Served, serving
from kit.waiting import wait_until
from openfeature.api import get_client, set_provider
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode

from adapter.gate.rollout_gate import RolloutGate
from adapter.openfeature import RolloutProvider
from controller.decision.model import Kind

ONE = "/ofrep/v1/evaluate/flags/microsoft"
ALL = "/ofrep/v1/evaluate/flags"
USERS = [f"user-{number}" for number in range(1000)]


def context(user_id: Any = "user-1", **more: Any) -> dict[str, Any]:
    return {"context": {"targetingKey": user_id, **more}}


def in_at(served: Served, percent: float) -> None:
    """Let so many in, and wait until the gate in the server obeys it."""
    served.person(Kind.ENABLE)
    revision = served.person(Kind.SET, percent=percent)["revision"]
    obeys(served, revision)


def obeys(served: Served, revision: int) -> None:
    def seen() -> bool:
        told = served.http.post(ONE, json=context()).json()
        return int(told["metadata"]["revision"]) >= revision

    wait_until(seen, what=f"the gate's revision {revision}")


@pytest.fixture
def client(served: Served) -> Iterator[OpenFeatureClient]:
    """Yield the OpenFeature client of the provider from PyPI, on the server under test."""
    set_provider(OFREPProvider(served.url), "remote")
    yield get_client("remote")
    set_provider(OFREPProvider("http://127.0.0.1:1"), "remote")


def test_the_python_client_the_provider_and_the_gate_agree_on_a_thousand_users(
    served: Served, client: OpenFeatureClient, redis_server: RedisServer
) -> None:
    in_at(served, 30)
    with RolloutGate.connect(redis_server.url, served.settings.features, []) as gate:
        wait_until(lambda: gate.revision("microsoft") == 2)
        set_provider(RolloutProvider(gate), "local")
        local = get_client("local")
        expected = {user: gate.check("microsoft", user).open for user in USERS}
        contexts = {user: EvaluationContext(user) for user in USERS}
        assert {u: client.get_boolean_value("microsoft", True, c) for u, c in contexts.items()} == expected
        assert {u: local.get_boolean_value("microsoft", True, c) for u, c in contexts.items()} == expected
    assert 250 < sum(expected.values()) < 350


def test_the_server_and_rollout_gate_agree(served: Served, tmp_path: Path) -> None:
    in_at(served, 50)
    env = {"ROLLOUT_REDIS_URL": served.settings.redis_url, "PATH": "/usr/bin:/bin"}
    for user in USERS[:5]:
        command = [str(Path(sys.executable).with_name("rollout")), "gate", "microsoft", user, "--json"]
        ran = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        asked = json.loads(ran.stdout)
        told = served.http.post(ONE, json=context(user)).json()
        assert (told["value"], told["metadata"]["gate"]) == (asked["open"], asked["reason"])
        assert told["metadata"]["bucket"] == asked["bucket"]


def test_a_paused_feature_turns_off_within_a_second(served: Served, client: OpenFeatureClient) -> None:
    in_at(served, 100)
    user = EvaluationContext("user-1")
    assert client.get_boolean_value("microsoft", False, user)
    served.person(Kind.PAUSE)
    wait_until(lambda: not client.get_boolean_value("microsoft", True, user), within_s=1.0)
    details = client.get_boolean_details("microsoft", True, user)
    assert (details.value, details.reason, details.variant) == (False, "DISABLED", "off")
    assert details.flag_metadata["gate"] == "paused"


def test_a_lost_redis_is_false_and_stale_and_never_the_callers_default(
    served: Served, client: OpenFeatureClient, redis_server: RedisServer
) -> None:
    in_at(served, 100)
    redis_server.kill()
    user = EvaluationContext("user-1")
    wait_until(lambda: not client.get_boolean_value("microsoft", True, user), within_s=6.0)
    assert client.get_boolean_details("microsoft", True, user).reason == "STALE"


def test_recipients_in_the_context_are_looked_at(served: Served) -> None:
    in_at(served, 100)
    told = served.http.post(ONE, json=context(recipients=["ann@elsewhere.example"])).json()
    assert (told["value"], told["reason"]) == (False, "TARGETING_MATCH")
    assert served.http.post(ONE, json=context()).json()["value"] is True


def test_all_flags_come_at_once_and_a_known_etag_is_answered_304(served: Served) -> None:
    in_at(served, 100)
    first = served.http.post(ALL, json=context())
    assert {flag["key"]: flag["value"] for flag in first.json()["flags"]} == {
        "google": False,
        "microsoft": True,
    }
    known = {"If-None-Match": first.headers["etag"]}
    again = served.http.post(ALL, json=context(), headers=known)
    assert (again.status_code, again.content) == (304, b"")
    obeys(served, served.person(Kind.PAUSE)["revision"])
    assert served.http.post(ALL, json=context(), headers=known).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/ofrep/v1/evaluate/flags/nothing", context(), 404, "FLAG_NOT_FOUND"),
        (ONE, {}, 400, "INVALID_CONTEXT"),
        (ONE, {"context": []}, 400, "INVALID_CONTEXT"),
        (ONE, {"context": {}}, 400, "TARGETING_KEY_MISSING"),
        (ONE, context(""), 400, "TARGETING_KEY_MISSING"),
        (ONE, context(7), 400, "INVALID_CONTEXT"),
        (ONE, context(recipients="ann@a.example"), 400, "INVALID_CONTEXT"),
        (ONE, [], 400, "PARSE_ERROR"),
        (ONE, context(long="x" * 70_000), 413, "PARSE_ERROR"),
        (ALL, {"context": {}}, 400, "TARGETING_KEY_MISSING"),
        ("/ofrep/v1/evaluate", {}, 404, "GENERAL"),
    ],
)
def test_every_error_says_its_code_and_its_details(
    served: Served, path: str, body: Any, status: int, code: str
) -> None:
    answer = served.http.post(path, content=json.dumps(body))
    told = answer.json()
    assert (answer.status_code, told["errorCode"]) == (status, code)
    assert told["errorDetails"]
    assert told.get("key") == (path.rpartition("/")[2] if path.startswith(f"{ALL}/") else None)


def test_a_user_id_that_cannot_be_hashed_is_refused_while_the_gate_depends_on_it(served: Served) -> None:
    in_at(served, 100)
    answer = served.http.post(ONE, content=json.dumps(context("\ud800")))
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "INVALID_CONTEXT")


def test_the_python_client_understands_the_errors(client: OpenFeatureClient) -> None:
    unknown = client.get_boolean_details("nothing", False, EvaluationContext("user-1"))
    nobody = client.get_boolean_details("microsoft", False, EvaluationContext())
    assert unknown.error_code == ErrorCode.FLAG_NOT_FOUND
    assert nobody.error_code in {ErrorCode.TARGETING_KEY_MISSING, ErrorCode.INVALID_CONTEXT}


def test_the_provider_knows_boolean_flags_alone(redis_server: RedisServer) -> None:
    with serving(redis_server.url) as served, RolloutGate.connect(redis_server.url, None, []) as gate:
        in_at(served, 100)
        set_provider(RolloutProvider(gate), "types")
        client, user = get_client("types"), EvaluationContext("user-1")
        assert client.get_string_details("microsoft", "x", user).error_code == ErrorCode.TYPE_MISMATCH
        assert client.get_integer_details("microsoft", 1, user).error_code == ErrorCode.TYPE_MISMATCH
        assert client.get_boolean_details("nothing", True, user).error_code == ErrorCode.FLAG_NOT_FOUND
        nobody = client.get_boolean_details("microsoft", False, EvaluationContext())
        assert nobody.error_code == ErrorCode.TARGETING_KEY_MISSING
