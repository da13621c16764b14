"""Sends with a key whose callers give up, or whose Redis goes away: what is known is kept, no more."""

import asyncio

import pytest
import redis
from kit.sending import Sender, open_flags, open_sender
from kit.servers import Proxy, RedisServer
from kit.waiting import until

from adapter.sandbox.faults import Faults
from adapter.sandbox.graph import Sandbox
from adapter.sending.idempotency import IdempotencyKeys, KeyClaim, KeyOutcome, Wanted
from controller.shared.redis_pool import key_prefix, open_async_redis, open_redis


async def test_a_call_that_is_given_up_while_it_claims_its_key_leaves_it_free(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client)
    with Proxy(redis_server.port) as proxy:
        async with open_sender(proxy.redis_url, graph) as sender:
            await sender.send(idempotency_key="another")
            proxy.delay_s = 0.2
            given_up = asyncio.create_task(sender.send(idempotency_key="k"))
            await asyncio.sleep(0.1)
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)
            proxy.heal()
            await asyncio.sleep(0.5)
            outcome = await sender.outcome(idempotency_key="k")
    assert (outcome.code, graph.posts) == ("", 2)


@pytest.mark.parametrize("status", [401, 429])
async def test_giving_up_between_two_posts_is_the_callers_and_leaves_the_key_free(
    status: int, redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    """The first post was refused for certain, so nothing is in doubt while the second one is waited for."""
    open_flags(redis_client)
    graph.faults = Faults(status=status, retry_after=15, times=1)
    tokens = SlowRenewal()
    async with open_sender(redis_server.url, graph, tokens=tokens) as sender:
        task = asyncio.create_task(sender.send(idempotency_key="k"))
        await graph.arrived.wait()
        await until(lambda: graph.statuses[str(status)] == 1)
        await asyncio.sleep(0.2)
        before = sender.metrics()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        after = sender.metrics()
        second = await sender.outcome(idempotency_key="k")
    moved = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert moved == {
        "action_exec_total{status=error}": 1,
        "action_latency_seconds_count{status=error}": 1,
        "structured_error_total{code=SEND_CANCELLED,source=caller}": 1,
    }
    assert (second.code, second.posts, sum(graph.copies.values())) == ("", 1, 1)


async def test_a_send_that_is_given_up_after_the_mail_was_taken_is_kept_as_sent(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client)
    with Proxy(redis_server.port) as proxy:
        async with open_sender(proxy.redis_url, graph) as sender:
            await sender.send(idempotency_key="another")
            graph.faults = Faults(latency_s=0.3)
            task = asyncio.create_task(sender.send(idempotency_key="k"))
            await until(lambda: graph.posts == 2)
            proxy.delay_s = 0.2
            await until(lambda: graph.statuses["202"] == 2)
            await asyncio.sleep(0.1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()
            proxy.heal()
            graph.faults = Faults()
            await asyncio.sleep(1.0)
            again = await sender.outcome(idempotency_key="k")
    assert again.result
    assert (again.result.replayed, graph.posts) == (True, 2)


async def test_the_end_of_a_send_is_written_even_where_its_caller_gives_up_meanwhile(sender: Sender) -> None:
    url = sender.runtime.settings.redis_url
    sent = await sender.send()
    claim = await sender.runtime.keys.claim("key", "print", "owner", Wanted.CLAIM, pending_s=9)
    assert isinstance(claim, KeyClaim)
    unconnected = open_async_redis(url, 5)
    ending = asyncio.create_task(IdempotencyKeys(unconnected, 60).finish(claim, KeyOutcome.SENT, sent))
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.gather(ending, return_exceptions=True)
    assert ending.cancelled()
    with open_redis(url, 5) as client:
        await until(lambda: client.hget(f"{key_prefix(client)}key", "state") == "sent")
    await unconnected.aclose()


async def test_without_redis_at_the_end_a_sent_mail_stays_pending_and_is_not_sent_again(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client)
    graph.faults = Faults(latency_s=0.5)
    with Proxy(redis_server.port) as proxy:
        async with open_sender(proxy.redis_url, graph) as sender:
            await sender.send(idempotency_key="another")
            task = asyncio.create_task(sender.outcome(idempotency_key="k"))
            await until(lambda: graph.posts == 2)
            proxy.hang()
            first = await task
            proxy.heal()
            proxy.cut()
            await until(lambda: sender.runtime.gate.check("microsoft", "u1").open)
            again = await sender.outcome(idempotency_key="k")
    assert (first.code, again.code, graph.posts) == ("", "MS_SEND_PENDING", 2)


class SlowRenewal:
    """Tokens that Graph takes; the first renewal never ends."""

    def __init__(self) -> None:
        self._renewals = 0

    async def get_access_token(self, user_id: str) -> str:
        return "sandbox-token"

    async def refresh_access_token(self, user_id: str, *, claims: str | None = None) -> str:
        self._renewals += 1
        if self._renewals == 1:
            await asyncio.Event().wait()
        return "sandbox-token"
