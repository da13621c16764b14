"""Idempotency keys: a mail is never sent twice, and nothing is called sent that was not; in a cluster too."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
import redis
from kit.redis_cluster import RedisCluster
from kit.sending import Sender, open_flags, open_sender
from kit.servers import Proxy, RedisServer

from adapter import SendUnknownError, StructuredError
from adapter.sandbox.faults import Faults
from adapter.sandbox.graph import Sandbox
from adapter.sending.idempotency import redis_key
from controller.shared.redis_pool import key_prefix, open_redis

GATE_OPEN = "rollout_gate_total{feature=microsoft,outcome=open,reason=in_rollout}"


@pytest.fixture(params=["redis_server", "redis_cluster"])
async def sender(request: pytest.FixtureRequest, graph: Sandbox) -> AsyncIterator[Sender]:
    server: RedisServer | RedisCluster = request.getfixturevalue(request.param)
    with open_redis(server.url, 5) as client:
        open_flags(client)
    async with open_sender(server.url, graph) as opened:
        yield opened


async def test_a_second_call_gives_the_first_result_and_sends_nothing(sender: Sender) -> None:
    first = await sender.send(idempotency_key="k")
    second = await sender.outcome(idempotency_key="k")
    assert second.posts == 0
    assert second.result is not None
    assert second.result.replayed
    assert second.result.request_id == first.request_id
    assert second.result.internet_message_id == first.internet_message_id
    assert second.moved == {GATE_OPEN: 1.0}, "a replay is no execution"


@pytest.mark.parametrize("changed", [{"subject": "Other"}, {"user_id": "u2"}, {"body_html": "<p>Ho</p>"}])
async def test_a_key_is_refused_for_another_mail(sender: Sender, changed: dict[str, str]) -> None:
    await sender.send(idempotency_key="k")
    outcome = await sender.outcome(idempotency_key="k", **changed)
    assert (outcome.code, outcome.posts) == ("IDEMPOTENCY_KEY_REUSED", 0)


async def test_a_send_under_way_answers_pending(sender: Sender, graph: Sandbox) -> None:
    graph.faults = Faults(latency_s=1.0)
    first = asyncio.create_task(sender.send(idempotency_key="k"))
    await graph.arrived.wait()
    outcome = await sender.outcome(idempotency_key="k")
    assert (outcome.code, outcome.posts) == ("MS_SEND_PENDING", 0)
    assert outcome.error is not None
    assert outcome.error.retry_after_s
    assert (await first).success


async def test_an_unknown_send_is_repeated_only_when_told_to(sender: Sender, graph: Sandbox) -> None:
    graph.faults = Faults(status=504, times=1)
    first = await sender.outcome(idempotency_key="k")
    again = await sender.outcome(idempotency_key="k")
    told = await sender.outcome(idempotency_key="k", resend_unknown=True)
    last = await sender.outcome(idempotency_key="k", resend_unknown=True)
    assert [o.code for o in (first, again, told, last)] == ["MS_SEND_UNKNOWN", "MS_SEND_UNKNOWN", "", ""]
    assert [o.posts for o in (first, again, told, last)] == [1, 0, 1, 0]
    assert isinstance(again.error, SendUnknownError)
    assert "action_exec_total{status=error}" not in again.moved


async def test_an_unknown_send_stays_unknown_when_its_repetition_surely_failed(
    sender: Sender, graph: Sandbox
) -> None:
    graph.faults = Faults(status=504, times=1)
    await sender.outcome(idempotency_key="k")
    graph.faults = Faults(status=403, times=1)
    told = await sender.outcome(idempotency_key="k", resend_unknown=True)
    last = await sender.outcome(idempotency_key="k")
    assert (told.code, told.posts) == ("MS_AUTH_INSUFFICIENT_PERMS", 1)
    assert (last.code, last.posts) == ("MS_SEND_UNKNOWN", 0)


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


async def test_a_repeated_mail_keeps_its_message_id(sender: Sender, graph: Sandbox) -> None:
    graph.faults = Faults(status=504, delivered_share=1.0, times=1)
    await sender.outcome(idempotency_key="k")
    await sender.send(idempotency_key="k", resend_unknown=True)
    assert list(graph.copies.values()) == [2], "Exchange drops the second copy by this id"


async def test_a_send_that_failed_gives_its_key_back(sender: Sender, graph: Sandbox) -> None:
    graph.faults = Faults(status=403, times=1)
    first = await sender.outcome(idempotency_key="k")
    second = await sender.outcome(idempotency_key="k")
    assert (first.code, second.code, second.posts) == ("MS_AUTH_INSUFFICIENT_PERMS", "", 1)


async def test_a_cancelled_send_stays_unknown(sender: Sender, graph: Sandbox) -> None:
    graph.faults = Faults(hang=True, times=1)
    task = asyncio.create_task(sender.send(idempotency_key="k"))
    await graph.arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    outcome = await sender.outcome(idempotency_key="k")
    assert (outcome.code, outcome.posts) == ("MS_SEND_UNKNOWN", 0)
    assert sender.metrics()["action_error_total{}"] == 1


async def test_a_sender_that_died_leaves_unknown_behind(sender: Sender) -> None:
    await sender.send(idempotency_key="k")
    with open_redis(sender.runtime.settings.redis_url, 5) as client:
        key = key_prefix(client) + redis_key("outlook.send", "k")
        client.hset(key, mapping={"state": "pending", "until": "1.0", "owner": "somebody"})
    outcome = await sender.outcome(idempotency_key="k")
    assert (outcome.code, outcome.posts) == ("MS_SEND_UNKNOWN", 0)


async def test_a_key_is_forgotten_after_its_time(sender: Sender) -> None:
    await sender.send(idempotency_key="k")
    with open_redis(sender.runtime.settings.redis_url, 5) as client:
        key = key_prefix(client) + redis_key("outlook.send", "k")
        assert 0 < int(str(client.ttl(key))) <= 86_400


async def test_without_redis_a_send_with_a_key_is_refused(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client)
    async with open_sender(redis_server.url, graph) as sender:
        redis_server.kill()
        outcome = await sender.outcome(idempotency_key="k")
    assert (outcome.code, outcome.posts) == ("IDEMPOTENCY_UNAVAILABLE", 0)


@pytest.mark.parametrize("key", ["", "k" * 257])
async def test_a_key_has_a_sensible_length(sender: Sender, key: str) -> None:
    assert (await sender.outcome(idempotency_key=key)).code == "INVALID_HEADER"


FAULTS = [
    Faults(status=503),
    Faults(status=503, delivered_share=1.0),
    Faults(status=504, delivered_share=1.0),
    Faults(status=429, retry_after=0),
    Faults(status=500, body="html"),
    Faults(status=401),
    Faults(status=403),
    Faults(status=200),
    Faults(reset="before"),
    Faults(reset="in"),
    Faults(reset="after"),
    Faults(reset="after", delivered_share=1.0),
    Faults(hang=True, delivered_share=1.0),
    Faults(hang=True),
]


@pytest.mark.timeout(300)
async def test_a_thousand_sends_with_faults_are_each_accounted_for(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    """20 % of the requests fail, some after delivering; each call is repeated with its key until it ends."""
    open_flags(redis_client)
    graph.dice = Mixed(0.2)
    limits = {"ROLLOUT_SEND_DEADLINE_S": "2"}
    async with open_sender(redis_server.url, graph, environment=limits) as sender:
        crew = asyncio.Semaphore(32)
        ends = await asyncio.gather(*(_until_it_ends(sender, n, crew) for n in range(1000)))
    sent = {message_id for end, message_id in ends if end == "sent"}
    unknown = sum(end == "unknown" for end, _ in ends)
    copies = graph.copies
    assert len(ends) == 1000
    assert all(count == 1 for count in copies.values()), "no mail went out twice"
    assert sent <= copies.keys(), "none is called sent that was not"
    assert len(sent) + unknown == 1000, "each is sent or unknown in the end"
    assert len(copies.keys() - sent) <= unknown, "what was delivered without our knowing is told as unknown"
    assert 0 < unknown < 400


async def _until_it_ends(sender: Sender, number: int, crew: asyncio.Semaphore) -> tuple[str, str]:
    """Call again with the same key until the mail is sent, or nobody can say."""
    async with crew:
        while True:
            try:
                result = await sender.send(
                    idempotency_key=f"mail-{number}", user_id=f"user-{number % 97}", subject=f"Mail {number}"
                )
            except SendUnknownError:
                return "unknown", ""
            except StructuredError:
                continue
            return "sent", result.internet_message_id


class Mixed:
    """Throws one fault or another at a share of the requests."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._random = random.Random(20)

    def throw(self) -> Faults:
        return self._random.choice(FAULTS) if self._random.random() < self._share else Faults()
