"""Four sends at once per mailbox, in one process and across processes, with Redis and without."""

import asyncio
import hashlib

import pytest
import redis
from kit.sending import Sender, open_flags, open_sender
from kit.servers import Proxy, RedisServer
from kit.waiting import until

from adapter.sandbox.faults import Faults
from adapter.sandbox.graph import Sandbox


async def test_one_process_sends_four_at_once_for_a_mailbox(sender: Sender, graph: Sandbox) -> None:
    graph.faults = Faults(latency_s=0.05)
    await asyncio.gather(*(sender.send() for _ in range(20)))
    assert (graph.posts, graph.most_at_once) == (20, 4)


async def test_mailboxes_do_not_wait_for_each_other(sender: Sender, graph: Sandbox) -> None:
    graph.faults = Faults(latency_s=0.3)
    await asyncio.gather(*(sender.send(user_id=f"u{n}") for n in range(12)))
    assert graph.most_at_once == 12, "one token stands for all of them here"


async def test_two_processes_share_the_four_places(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client)
    graph.faults = Faults(latency_s=0.05)
    async with open_sender(redis_server.url, graph) as one, open_sender(redis_server.url, graph) as other:
        await asyncio.gather(*(sender.send() for sender in (one, other) for _ in range(10)))
    assert (graph.posts, graph.most_at_once) == (20, 4)
    assert redis_client.keys("rollout:mailbox:*") == []


async def test_a_full_mailbox_refuses_at_the_deadline_and_that_is_no_execution(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client)
    hold_places(redis_client, held_ms=60_000)
    short = {"ROLLOUT_SEND_DEADLINE_S": "0.5"}
    async with open_sender(redis_server.url, graph, environment=short) as sender:
        outcome = await sender.outcome()
    assert (outcome.code, outcome.posts) == ("MAILBOX_BUSY", 0)
    assert outcome.moved == {
        "rollout_gate_total{feature=microsoft,outcome=open,reason=in_rollout}": 1.0,
        "structured_error_total{code=MAILBOX_BUSY,source=caller}": 1.0,
    }


async def test_the_places_of_a_process_that_died_are_free_again(
    sender: Sender, redis_client: redis.Redis
) -> None:
    hold_places(redis_client, held_ms=300)
    assert (await sender.outcome()).code == ""


async def test_a_send_that_is_given_up_while_it_takes_its_place_leaves_none_behind(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client)
    with Proxy(redis_server.port) as proxy:
        async with open_sender(proxy.redis_url, graph) as sender:
            await sender.send()
            proxy.delay_s = 0.2
            given_up = asyncio.create_task(sender.send())
            await asyncio.sleep(0.1)
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)
            await asyncio.sleep(0.5)
    assert graph.posts == 1
    assert redis_client.keys("rollout:mailbox:*") == []


async def test_a_place_whose_answer_comes_too_late_is_given_back(
    sender: Sender, redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    await sender.send()
    graph.faults = Faults(latency_s=0.5)
    redis_server.freeze()
    try:
        late = asyncio.create_task(sender.send())
        await until(lambda: graph.posts == 2)
    finally:
        redis_server.thaw()
    await late
    assert redis_client.keys("rollout:mailbox:*") == []


async def test_a_connection_that_was_cut_is_made_anew_at_once(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    graph: Sandbox,
    caplog: pytest.LogCaptureFixture,
) -> None:
    open_flags(redis_client)
    with Proxy(redis_server.port) as proxy:
        async with open_sender(proxy.redis_url, graph) as sender:
            await sender.send()
            proxy.cut()
            await sender.send()
    assert graph.posts == 2
    assert "counted in this process alone" not in caplog.text


async def test_a_frozen_redis_does_not_stop_a_send(sender: Sender, redis_server: RedisServer) -> None:
    """The flags are fresh for three more seconds; the places are counted in this process."""
    await sender.send()
    redis_server.freeze()
    try:
        outcome = await sender.outcome()
    finally:
        redis_server.thaw()
    assert outcome.code == ""


@pytest.mark.parametrize(
    ("key", "code"), [(None, "MAILBOX_BUSY"), ("k", "IDEMPOTENCY_UNAVAILABLE")], ids=["place", "key"]
)
async def test_no_send_begins_once_redis_took_its_time(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox, key: str | None, code: str
) -> None:
    open_flags(redis_client)
    short = {"ROLLOUT_SEND_DEADLINE_S": "0.2"}
    async with open_sender(redis_server.url, graph, environment=short) as sender:
        redis_server.freeze()
        try:
            outcome = await sender.outcome(idempotency_key=key)
        finally:
            redis_server.thaw()
    assert (outcome.code, outcome.posts) == (code, 0)
    assert not [name for name in outcome.moved if name.startswith("action_")], "it is no execution"


def hold_places(client: redis.Redis, held_ms: int) -> None:
    """Hold all places of the mailbox of u1, as four sends of other processes would."""
    mailbox = f"rollout:mailbox:microsoft:{hashlib.sha256(b'u1').hexdigest()[:32]}"
    now_s, now_us = client.time()
    client.zadd(mailbox, {f"other{n}": now_s * 1000 + now_us // 1000 + held_ms for n in range(4)})
