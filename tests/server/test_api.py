"""The API: where features stand, their decisions page by page, and what a person may do."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from kit.servers import RedisServer
from kit.serving import SIGNED, Served, entries, serving

from controller.contract import decisions_key
from controller.decision.model import Kind
from controller.decision.record import verify

ACTS = ("pause", "resume", "set", "open", "close", "enable", "disable", "approve")


def test_every_feature_is_told_with_flags_plan_and_last_decision(served: Served) -> None:
    served.person(Kind.ENABLE)
    told = {one["name"]: one for one in served.http.get("/api/v1/features").json()["features"]}
    assert set(told) == {"google", "microsoft"}
    microsoft = told["microsoft"]
    assert (microsoft["enabled"], microsoft["paused"], microsoft["rollout_percent"]) == (True, False, 0)
    assert microsoft["steps"] == [1, 5, 10, 25, 50, 100]
    assert (microsoft["kind"], microsoft["reason"], microsoft["actor"]) == ("enable", "manual", "tester")
    assert told["google"]["detail"] == "no decision yet"
    assert served.http.get("/api/v1/features/microsoft").json() == microsoft


def test_an_unknown_feature_is_a_problem_that_names_the_one_meant(served: Served) -> None:
    answer = served.http.get("/api/v1/features/microsfot")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 404
    assert "did you mean microsoft?" in answer.json()["detail"]


def test_a_known_etag_is_answered_304_until_something_changes(served: Served) -> None:
    path = "/api/v1/features/microsoft"
    first = served.http.get(path)
    known = {"If-None-Match": f'"other", W/{first.headers["etag"]}'}
    again = served.http.get(path, headers=known)
    assert (again.status_code, again.content) == (304, b"")
    served.person(Kind.ENABLE)
    assert served.http.get(path, headers=known).status_code == 200


def test_decisions_come_newest_first_and_page_by_page_without_gap_or_double(served: Served) -> None:
    wanted = [served.person(Kind.SET, percent=float(i))["id"] for i in range(23)][::-1]
    path, found, pages = "/api/v1/features/microsoft/decisions?limit=5", [], 0
    while path:
        answer = served.http.get(path)
        found += [record["id"] for record in answer.json()["decisions"]]
        path, pages = answer.json()["next"], pages + 1
        assert (path is None) == ("link" not in answer.headers)
    assert found == wanted
    assert pages == 5


def test_decisions_may_leave_out_the_holds(served: Served) -> None:
    changed = served.person(Kind.ENABLE)
    for i in range(450):
        served.store.append("microsoft", json.dumps(changed | {"id": f"hold-{i}", "kind": "hold"}))
    last = served.person(Kind.PAUSE)
    path = "/api/v1/features/microsoft/decisions?changes=true"
    told = served.http.get(path).json()
    assert [record["id"] for record in told["decisions"]] == [last["id"], changed["id"]]
    assert told["next"] is None


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=x",
        "limit=-1",
        "limit=0000000501",
        f"limit=1{'0' * 5000}",
        "before=1",
        "before=",
        f"before={2**64}-0",
        "changes=maybe",
    ],
)
def test_a_parameter_that_cannot_be_used_is_refused_with_what_to_send(served: Served, query: str) -> None:
    answer = served.http.get(f"/api/v1/features/microsoft/decisions?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["detail"]


def test_what_somebody_else_put_into_the_stream_is_passed_over(
    served: Served, redis_client: redis.Redis
) -> None:
    decided = [served.person(Kind.ENABLE)["id"]]
    for field, text in (("note", "hello"), ("record", "no JSON"), ("record", '{"id": "x"}')):
        redis_client.xadd(decisions_key("microsoft"), {field: text})
        decided.append(served.person(Kind.PAUSE)["id"])
        redis_client.xadd(decisions_key("microsoft"), {field: text})
    for query in ("limit=2", "limit=2&changes=true", "limit=500"):
        told: list[str] = []
        path: str | None = f"/api/v1/features/microsoft/decisions?{query}"
        while path:
            page = served.http.get(path).json()
            told += [record["id"] for record in page["decisions"]]
            path = page["next"]
        assert told == decided[::-1]
    assert served.http.get("/api/v1/features/microsoft").status_code == 200
    assert served.http.get("/").status_code == 200


def test_nothing_is_older_than_the_first_possible_id(served: Served) -> None:
    served.person(Kind.ENABLE)
    answer = served.http.get("/api/v1/features/microsoft/decisions?before=0-0")
    assert answer.json() == {"decisions": [], "next": None}


def test_one_decision_is_told_whole_and_recomputes(served: Served) -> None:
    done = served.person(Kind.PAUSE)
    record = served.http.get(f"/api/v1/features/microsoft/decisions/{done['id']}").json()
    assert record == json.loads(json.dumps(done))
    assert verify(record) == []
    assert served.http.get("/api/v1/features/microsoft/decisions/none-1-2").status_code == 404


@pytest.mark.parametrize(
    ("what", "body", "flags"),
    [
        ("pause", {}, {"paused": True}),
        ("resume", {}, {"paused": False}),
        ("open", {}, {"internal_only": False}),
        ("close", {}, {"internal_only": True}),
        ("enable", {}, {"enabled": True}),
        ("disable", {}, {"enabled": False}),
        ("set", {"percent": 12.5}, {"rollout_percent": 12.5}),
        ("set", {"percent": 100}, {"rollout_percent": 100}),
        ("set", {"percent": 0.001}, {"rollout_percent": 0.001}),
    ],
)
def test_what_a_person_does_is_done_under_the_tokens_name(
    served: Served, what: str, body: dict[str, Any], flags: dict[str, object]
) -> None:
    answer = served.act(what, reason=" release 42 ", **body)
    assert answer.status_code == 200
    record = answer.json()
    assert (record["kind"], record["actor"], record["note"]) == (what, "ann", "release 42")
    assert flags.items() <= record["to"].items()
    assert flags.items() <= served.http.get("/api/v1/features/microsoft").json().items()


@pytest.mark.parametrize("what", ACTS)
def test_without_a_token_nothing_is_changed(served: Served, redis_client: redis.Redis, what: str) -> None:
    body = {"reason": "x", "percent": 50} if what == "set" else {"reason": "x"}
    missing, wrong = (
        served.act(what, headers={}, **body),
        served.act(what, headers={"Authorization": "Bearer nobody"}, **body),
    )
    assert (missing.status_code, wrong.status_code) == (401, 403)
    assert missing.headers["www-authenticate"].startswith("Bearer")
    assert {one.headers["content-type"] for one in (missing, wrong)} == {"application/problem+json"}
    assert entries(redis_client) == 0


def test_without_a_configured_token_the_routes_are_closed(redis_server: RedisServer) -> None:
    with serving(redis_server.url, token="") as served:
        answer = served.act("pause", reason="x")
    assert answer.status_code == 403
    assert "ROLLOUT_API_TOKEN" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("what", "body", "status"),
    [
        ("pause", b"{", 400),
        ("pause", b"[]", 400),
        ("pause", b"", 400),
        ("pause", b"[" * 60_000, 400),
        ("pause", b"{}", 422),
        ("pause", b'{"reason": "  "}', 422),
        ("pause", b'{"reason": 7}', 422),
        ("pause", b'{"reason": "x", "percent": 5}', 422),
        ("pause", json.dumps({"reason": "x" * 501}).encode(), 422),
        ("set", b'{"reason": "x"}', 422),
        ("set", b'{"reason": "x", "percent": "5"}', 422),
        ("set", b'{"reason": "x", "percent": true}', 422),
        ("set", b'{"reason": "x", "percent": 100.001}', 422),
        ("set", b'{"reason": "x", "percent": -1}', 422),
        ("set", b'{"reason": "x", "percent": 1.0001}', 422),
        ("set", b'{"reason": "x", "percent": NaN}', 422),
        ("set", b'{"reason": "x", "percent": 1e400}', 422),
        ("approve", b'{"reason": "x"}', 409),
        ("pause", b'{"reason": "' + b"x" * 70_000 + b'"}', 413),
    ],
)
def test_a_body_that_cannot_be_used_changes_nothing(
    served: Served, redis_client: redis.Redis, what: str, body: bytes, status: int
) -> None:
    answer = served.http.post(f"/api/v1/features/microsoft/{what}", content=body, headers=SIGNED)
    assert answer.status_code == status
    assert answer.json()["status"] == status
    assert entries(redis_client) == 0


def test_one_idempotency_key_does_it_once(served: Served, redis_client: redis.Redis) -> None:
    headers = SIGNED | {"Idempotency-Key": "release-42"}
    first = served.act("set", headers=headers, reason="x", percent=5)
    again = served.act("set", headers=headers, reason="x", percent=5)
    assert first.json() == again.json()
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert entries(redis_client) == 1


def test_one_idempotency_key_does_it_once_however_many_ask_at_once(
    served: Served, redis_client: redis.Redis
) -> None:
    headers = SIGNED | {"Idempotency-Key": "all-at-once"}
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(served.act, "pause", headers=headers, reason="x") for _ in range(16)]
    assert {one.result().status_code for one in asked} <= {200, 409}
    assert entries(redis_client) == 1


def test_an_idempotency_key_stands_for_one_request_and_a_failed_one_frees_it(served: Served) -> None:
    headers = SIGNED | {"Idempotency-Key": "k"}
    assert served.act("approve", headers=headers, reason="x").status_code == 409
    assert served.act("pause", headers=headers, reason="x").status_code == 200
    assert served.act("resume", headers=headers, reason="x").status_code == 422
    assert served.act("pause", headers=SIGNED | {"Idempotency-Key": "x" * 256}, reason="x").status_code == 400


def test_a_dry_run_tells_but_changes_nothing(redis_server: RedisServer, redis_client: redis.Redis) -> None:
    with serving(redis_server.url, dry_run=True) as served:
        answer = served.act("pause", reason="x")
        assert served.http.get("/api/v1/features").status_code == 200
    assert answer.status_code == 409
    assert entries(redis_client) == 0


def test_a_lost_redis_is_a_problem_and_heals(redis_server: RedisServer) -> None:
    with serving(redis_server.url) as served:
        redis_server.kill()
        answers = [served.http.get("/api/v1/features"), served.act("pause", reason="x")]
        assert {one.status_code for one in answers} == {503}
        assert all("Redis" in one.json()["detail"] for one in answers)
        redis_server.start()
        assert served.act("pause", reason="x").status_code == 200


def test_what_is_not_served_is_a_problem_too(served: Served) -> None:
    assert served.http.get("/api/v1/nothing").json()["status"] == 404
    wrong = served.http.put("/api/v1/features")
    assert (wrong.status_code, wrong.json()["status"]) == (405, 405)
    assert set(wrong.headers["allow"].split(", ")) == {"GET", "HEAD"}
