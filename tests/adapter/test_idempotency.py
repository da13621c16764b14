"""Idempotency keys: a mail is never sent twice, and nothing is called sent that was not; in a cluster too."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import redis
from kit.redis_cluster import RedisCluster
from kit.sending import ANN, Sender, open_flags, open_sender
from kit.servers import RedisServer
from kit.waiting import until

from adapter import SendUnknownError, StructuredError
from adapter.sandbox.faults import Faults
from adapter.sandbox.graph import Sandbox
from adapter.sending.idempotency import redis_key
from controller.shared.redis_pool import key_prefix, open_redis


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
    assert second.moved == {}, "a replay is no execution, and the gate has no part in it"


@pytest.mark.parametrize("changed", [{"subject": "Other"}, {"cc": [ANN]}, {"body_html": "<p>Ho</p>"}])
async def test_a_key_is_refused_for_another_mail(sender: Sender, changed: dict[str, str]) -> None:
    await sender.send(idempotency_key="k")
    outcome = await sender.outcome(idempotency_key="k", **changed)
    assert (outcome.code, outcome.posts) == ("IDEMPOTENCY_KEY_REUSED", 0)


async def test_a_key_belongs_to_its_user(sender: Sender) -> None:
    first = await sender.outcome(idempotency_key="k")
    other = await sender.outcome(idempotency_key="k", user_id="u2", subject="Another mail")
    assert [first.posts, other.posts] == [1, 1]
    assert first.result
    assert other.result
    assert first.result.internet_message_id != other.result.internet_message_id


CLOSINGS = [{"paused": "true"}, {"rollout_percent": "0"}, {"enabled": "false"}, {"internal_only": "true"}]


@pytest.mark.parametrize("closed", CLOSINGS, ids=lambda flags: next(iter(flags)))
async def test_the_key_is_asked_before_a_gate_that_closed_since(
    closed: dict[str, str], redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    """A caller sends a denied mail another way, so nothing that may have been sent is called denied."""
    open_flags(redis_client)
    async with open_sender(redis_server.url, graph) as sender:
        sent = await sender.send(idempotency_key="sent")
        graph.faults = Faults(status=504, delivered_share=1.0, times=1)
        await sender.outcome(idempotency_key="unknown")
        graph.faults = Faults(latency_s=2.0)
        under_way = asyncio.create_task(sender.send(idempotency_key="pending"))
        await until(lambda: graph.posts == 3)
        open_flags(redis_client, **closed)
        await until(lambda: not sender.runtime.gate.check("microsoft", "u1", ("ann@corp.example",)))
        outcomes = {
            key: await sender.outcome(idempotency_key=key) for key in ("sent", "unknown", "pending", "new")
        }
        told = await sender.outcome(idempotency_key="unknown", resend_unknown=True)
        await under_way
    assert outcomes["sent"].result == replace(sent, replayed=True)
    assert outcomes["unknown"].code == told.code == "MS_SEND_UNKNOWN"
    assert outcomes["pending"].code == "MS_SEND_PENDING"
    assert outcomes["new"].code in {"ACTION_GATED", "ACTION_DISABLED"}
    assert [outcome.posts for outcome in outcomes.values()] == [0, 0, 0, 0]
    assert sum(by for name, by in outcomes["new"].moved.items() if name.startswith("rollout_gate")) == 1
    not_sent = {key: outcome.error.not_sent for key, outcome in outcomes.items() if outcome.error}
    assert not_sent == {"unknown": False, "pending": False, "new": True}


async def test_the_key_is_asked_before_limits_that_became_stricter(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client)
    async with open_sender(redis_server.url, graph) as sender:
        await sender.send(idempotency_key="k", cc=[ANN])
    strict = {"ROLLOUT_MAX_RECIPIENTS": "1", "PROVIDER_MICROSOFT_ENABLED": "false"}
    async with open_sender(redis_server.url, graph, environment=strict) as sender:
        replay = await sender.outcome(idempotency_key="k", cc=[ANN])
    async with open_sender(redis_server.url, graph, environment={"ROLLOUT_MAX_RECIPIENTS": "1"}) as sender:
        again = await sender.outcome(idempotency_key="k", cc=[ANN])
        other = await sender.outcome(idempotency_key="other", cc=[ANN])
    assert replay.result
    assert again.result
    assert (other.code, graph.posts) == ("TOO_MANY_RECIPIENTS", 1)
    assert redis_client.exists(redis_key("outlook.send", "u1", "other")) == 0


async def test_a_key_outlives_its_send_whatever_is_configured(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client)
    graph.faults = Faults(hang=True)
    long = {"ROLLOUT_SEND_DEADLINE_S": "120", "ROLLOUT_IDEMPOTENCY_TTL_S": "60"}
    async with open_sender(redis_server.url, graph, environment=long) as sender:
        task = asyncio.create_task(sender.send(idempotency_key="k"))
        await graph.arrived.wait()
        assert int(str(redis_client.ttl(redis_key("outlook.send", "u1", "k")))) > 120 + 60
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


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
    assert told.error is not None
    assert not told.error.not_sent, "the first may have been"
    assert (last.code, last.posts) == ("MS_SEND_UNKNOWN", 0)


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


@pytest.mark.parametrize(
    "record",
    [
        {"state": "sent", "result": "{"},
        {"state": "sent", "result": "[]"},
        {"state": "sent", "result": ""},
        {"state": "pending", "until": "soon", "owner": "somebody"},
        {"state": "whatever"},
    ],
    ids=str,
)
async def test_a_record_that_cannot_be_read_sends_nothing(record: dict[str, str], sender: Sender) -> None:
    await sender.send(idempotency_key="k")
    with open_redis(sender.runtime.settings.redis_url, 5) as client:
        client.hset(key_prefix(client) + redis_key("outlook.send", "u1", "k"), mapping=record)
    outcome = await sender.outcome(idempotency_key="k")
    assert outcome.code in {"IDEMPOTENCY_UNAVAILABLE", "MS_SEND_UNKNOWN"}
    assert outcome.posts == 0
    assert outcome.error is not None
    assert not outcome.error.not_sent


async def test_a_sender_that_died_leaves_unknown_behind(sender: Sender) -> None:
    await sender.send(idempotency_key="k")
    with open_redis(sender.runtime.settings.redis_url, 5) as client:
        key = key_prefix(client) + redis_key("outlook.send", "u1", "k")
        client.hset(key, mapping={"state": "pending", "until": "1.0", "owner": "somebody"})
    outcome = await sender.outcome(idempotency_key="k")
    assert (outcome.code, outcome.posts) == ("MS_SEND_UNKNOWN", 0)


async def test_a_key_is_forgotten_after_its_time(sender: Sender) -> None:
    await sender.send(idempotency_key="k")
    with open_redis(sender.runtime.settings.redis_url, 5) as client:
        key = key_prefix(client) + redis_key("outlook.send", "u1", "k")
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
