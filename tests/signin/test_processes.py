"""Several processes on one user's token: one request for all of them, and no crash that costs a sign-in."""

import asyncio
import json

import redis
from kit.signin import Browser, link_user
from kit.signin_processes import ended, start

from adapter.sandbox.signin import SandboxSignIn
from adapter.signin.microsoft.manager import MicrosoftTokenManager


async def test_a_hundred_callers_in_four_processes_make_one_request(
    browser: Browser,
    manager: MicrosoftTokenManager,
    sandbox: SandboxSignIn,
    env: dict[str, str],
    redis_client: redis.Redis,
    outputs: list[str],
) -> None:
    await link_user(browser, manager, "user-1")
    redis_client.delete("oauth:microsoft:access_token:user-1")
    sandbox.issuer.latency_s = 0.25
    workers = [await start(env, "get", "user-1", "25") for _ in range(4)]
    for worker in workers:
        assert worker.stdout
        assert json.loads(await worker.stdout.readline()) == {"linked": True}
    answers = await asyncio.gather(*(ended(worker, outputs, b"go\n") for worker in workers))
    assert sandbox.issuer.requests["refresh_token"] == 1
    assert len({token for answer in answers for token in answer["tokens"]}) == 1
    assert sum(len(answer["waits_s"]) for answer in answers) == 100


async def test_a_kill_at_any_of_twenty_points_of_a_refresh_costs_no_sign_in(
    browser: Browser,
    manager: MicrosoftTokenManager,
    sandbox: SandboxSignIn,
    env: dict[str, str],
    redis_client: redis.Redis,
    outputs: list[str],
) -> None:
    """Twenty points of our own lines and twenty of those of all libraries, in every stage of a refresh."""
    await link_user(browser, manager, "user-1")
    deaths = await ended(await start(env, "crash", "user-1", "20"), outputs)
    assert [death["killed"] for death in deaths] == [True] * 40
    assert {death["after"] for death in deaths} == {"ok"}
    stages = {(death["locked"], death["asked"], death["kept"]) for death in deaths}
    before, locked, asked = (False, False, False), (True, False, False), (True, True, False)
    assert {before, locked, asked} <= stages <= {before, locked, asked, (False, True, True)}
    assert sandbox.issuer.accepts(await manager.get_access_token("user-1"))
    assert sorted(redis_client.keys("*")) == [
        "oauth:microsoft:access_token:user-1",
        "oauth:microsoft:refresh_token:user-1",
    ]
