"""Every route that changes or sends, by every right, on a daemon with the adapter beside it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from kit.sending import open_flags
from kit.signin import environment
from worlds.live import World

from adapter.sandbox.signin import SandboxSignIn
from controller.shared.api_tokens import Right

SUBSETS = [frozenset(some) for some in chain.from_iterable(combinations(Right, n) for n in (1, 2, 3))]
BODIES: Mapping[str, Any] = {
    "/api/v1/alerts": {
        "alerts": [
            {"status": "firing", "labels": {"feature": "microsoft", "severity": "critical"}, "startsAt": "1"}
        ]
    },
    "/actions/outlook.send": {"to": [{"address": "bob@internal.com"}], "user_id": "ann", "subject": "Hi"},
    "/oauth/microsoft/refresh": {"user_id": "ann"},
    "/oauth/microsoft/revoke": {"user_id": "ann"},
}
LINKING = "/oauth/microsoft/authorize?user_id=ann"
"""No token is asked of somebody with a link, so the document does not call this one secured."""
HEARTBEATS = (b"rollout:lease", b"rollout:live")
"""Keys that a daemon writes by itself, whatever is asked of it."""


def secret(rights: frozenset[Right]) -> str:
    return f"{'-'.join(sorted(rights))}-secret-of-the-tests"


TOKENS = ",".join(f"n{i}/{'+'.join(rights)}:{secret(rights)}" for i, rights in enumerate(SUBSETS))
BOUND = "bound/send@*@corp.example:bound-secret-of-the-tests"


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Run a daemon with the adapter that ticks once and not again within the test."""
    monkeypatch.setenv("ROLLOUT_API_TOKEN", f"{TOKENS},{BOUND}")
    monkeypatch.setenv("ROLLOUT_INTERVAL_S", "3600")
    monkeypatch.setenv("ROLLOUT_LEASE_S", "7200")
    async with SandboxSignIn(tmp_path / "certificates") as sandbox:
        with World(tmp_path, senders=0) as world:
            for name, value in environment(sandbox, world.redis.url).items():
                monkeypatch.setenv(name, value)
            await asyncio.to_thread(world.daemons["a"].start("--json").wait_ready)
            with world.redis.client() as client:
                open_flags(client)
            yield world


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Right]]:
    """Yield method, path and right of everything that the document calls secured, and of linking."""
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            if described.get("security"):
                yield method.upper(), path.replace("{name}", "microsoft"), Right(described["x-right"])
    yield "GET", LINKING, Right.SEND


async def ask(
    http: httpx.AsyncClient, method: str, path: str, token: str, body: Any = None
) -> httpx.Response:
    action = path.rpartition("/")[2]
    told = {"reason": "the tests"} | ({"percent": 5} if action == "set" else {})
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return await http.request(method, path, json=body or BODIES.get(path, told), headers=headers)


def refused(answer: httpx.Response) -> bool:
    """Whether the token was refused; a send that the gate refuses is 403 as well."""
    return answer.status_code == 401 or (
        answer.status_code == 403 and ("token" in answer.text or "FORBIDDEN" in answer.text)
    )


def kept(client: redis.Redis) -> dict[bytes, Any]:
    return {key: client.dump(key) for key in client.scan_iter() if not key.startswith(HEARTBEATS)}


def url(world: World) -> str:
    return world.daemons["a"].url


async def test_each_right_opens_its_own_routes_and_changes_nothing_elsewhere(world: World) -> None:
    seen = set()
    with redis.Redis(port=world.redis.port) as client:
        async with httpx.AsyncClient(base_url=url(world), trust_env=False, timeout=20) as http:
            secured = list(operations((await http.get("/openapi.json")).json()))
            before = kept(client)
            for method, path, right in secured:
                seen.add(path)
                without = [one for one in SUBSETS if right not in one]
                for token in ("", "unknown", *(secret(one) for one in without)):
                    answer = await ask(http, method, path, token)
                    assert refused(answer), (path, token, answer.text)
                    assert answer.status_code == (403 if token else 401)
                    assert "secret" not in answer.text
                assert kept(client) == before, path
            for method, path, right in secured:
                for rights in (one for one in SUBSETS if right in one):
                    answer = await ask(http, method, path, secret(rights))
                    assert not refused(answer), (path, rights, answer.text)
                    assert answer.status_code != 404
    verbs = {"pause", "resume", "set", "open", "close", "enable", "disable", "approve"}
    assert seen >= {*BODIES, LINKING, *(f"/api/v1/features/microsoft/{verb}" for verb in verbs)}


async def test_a_token_bound_to_users_sends_and_signs_in_for_no_other(world: World) -> None:
    token = "bound-secret-of-the-tests"
    mail = BODIES["/actions/outlook.send"]
    with redis.Redis(port=world.redis.port) as client:
        async with httpx.AsyncClient(base_url=url(world), trust_env=False, timeout=20) as http:
            before = kept(client)
            for user_id in ("ann", "ann@corp.example.org", "ANN@CORP.EXAMPLE", "corp.example"):
                for path in ("/oauth/microsoft/refresh", "/oauth/microsoft/revoke", "/actions/outlook.send"):
                    body = (mail if "actions" in path else {}) | {"user_id": user_id}
                    answer = await ask(http, "POST", path, token, body)
                    assert (answer.status_code, refused(answer)) == (403, True), (path, user_id)
                linking = LINKING.replace("ann", user_id)
                assert (await ask(http, "GET", linking, token)).status_code == 403
            assert kept(client) == before
            for path in ("/oauth/microsoft/refresh", "/oauth/microsoft/revoke", "/actions/outlook.send"):
                body = (mail if "actions" in path else {}) | {"user_id": "ann@corp.example"}
                assert not refused(await ask(http, "POST", path, token, body)), path
            linked = await ask(http, "GET", LINKING.replace("ann", "ann@corp.example"), token)
            assert linked.status_code == 302


async def test_the_journal_names_who_did_it(world: World) -> None:
    async with httpx.AsyncClient(base_url=url(world), trust_env=False, timeout=20) as http:
        by = next(i for i, rights in enumerate(SUBSETS) if rights == {Right.OPERATE})
        paused = await ask(http, "POST", "/api/v1/features/microsoft/pause", secret(SUBSETS[by]))
    assert json.loads(paused.text)["actor"] == f"n{by}"
