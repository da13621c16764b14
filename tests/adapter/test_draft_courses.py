"""Whatever goes wrong with a mail by a draft: what is said of it is true, and no draft is forgotten."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import redis
from kit.examples import amount
from kit.sending import Sender, open_flags, open_sender
from kit.servers import RedisServer

from adapter import Attachment
from adapter.errors import StructuredError
from adapter.providers.outlook import Outlook
from adapter.sandbox.faults import Faults
from adapter.sandbox.graph import Sandbox
from adapter.sending.one_send import new_ids

FAR_AHEAD = 1e11
COURSES = amount("COURSES", soak=3000, usually=40)
NOTES = [Attachment(f"{name}.txt", "text/plain", b"hello" * 300) for name in ("a", "b", "b")]
NAMES = sorted(note.name for note in NOTES)
CERTAIN = {400, 401, 403, 404, 413, 429}
"""Answers that are believed: what they refuse is not carried out."""
STATUSES = (0, 400, 401, 403, 404, 413, 429, 500, 503, 504, 200, 302)


class Changing:
    """The faults of each request, drawn by chance."""

    def __init__(self, dice: random.Random, share: float) -> None:
        self._dice, self._share = dice, share

    def throw(self) -> Faults:
        if self._dice.random() > self._share:
            return Faults()
        status = self._dice.choice(STATUSES)
        return Faults(
            status=status,
            retry_after=0 if status == 429 else None,
            reset="" if status else self._dice.choice(["before", "in", "after"]),
            delivered_share=float(status not in CERTAIN and self._dice.random() < 0.5),
        )


class AnyStep(Sandbox):
    """Graph whose every step may fail."""

    def _faults_of(self, step: str) -> Faults:
        self.steps[step] += 1
        return self.dice.throw()


@pytest.fixture
async def sender(
    redis_server: RedisServer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Sender]:
    monkeypatch.setattr("adapter.sending.delivery.FIRST_WAIT_S", 0.001)
    monkeypatch.setattr("adapter.sending.drafts.notes.MARGIN_S", -60.0)
    open_flags(redis_client)
    environment = {"MS_LARGE_ATTACHMENTS": "true", "ROLLOUT_MAX_BODY_BYTES": "4096"}
    async with AnyStep() as graph, open_sender(redis_server.url, graph, environment=environment) as opened:
        yield opened


def copies(graph: Sandbox, key: str) -> int:
    return graph.copies[new_ids("outlook.send", "u1", key).internet_message_id]


async def check_course(sender: Sender, key: str, seed: int, send_at: str | None) -> None:
    """Send, perhaps give up, then settle what is left; every word on the way has to be true."""
    graph, dice = sender.graph, random.Random(seed)
    assert isinstance(graph, AnyStep)
    mail = {"attachments": NOTES, "idempotency_key": key, "send_at": send_at}
    graph.dice = Changing(dice, dice.choice([0.1, 0.3, 0.6]))
    task = asyncio.create_task(sender.send(**mail))
    if dice.random() < 0.3:
        await asyncio.sleep(dice.uniform(0, 0.05))
        task.cancel()
    (ended,) = await asyncio.gather(task, return_exceptions=True)
    is_sent = not isinstance(ended, BaseException)
    graph.dice = Changing(dice, 0)
    provider = Outlook()
    await sender.runtime.sweeper(provider, provider.drafts).sweep()
    left = [draft.is_submitted for draft in graph.drafts.drafts.values()]
    given_up = isinstance(ended, asyncio.CancelledError)  # perhaps just after it was submitted
    assert left == [True] * bool(send_at and is_sent) or (send_at and given_up and left == [True]), (
        seed,
        ended,
    )
    graph.drafts.deliver_due(FAR_AHEAD)
    if is_sent or (isinstance(ended, StructuredError) and ended.not_sent):
        assert copies(graph, key) == is_sent, (seed, ended)
    again = await sender.outcome(**mail)
    graph.drafts.deliver_due(FAR_AHEAD)
    assert copies(graph, key) == 1 or again.code == "MS_SEND_UNKNOWN", (seed, ended, again.error)
    assert copies(graph, key) <= 1, (seed, ended)
    for message in graph.messages:
        assert sorted(name for name, _, _ in message.mail.attachments) == NAMES, seed
    graph.messages.clear()


@pytest.mark.parametrize("waits", [False, True], ids=["sent at once", "sent at a time"])
async def test_what_is_said_of_a_mail_is_true_whatever_goes_wrong(waits: bool, sender: Sender) -> None:
    send_at = datetime.fromtimestamp(time.time() + 86_400, UTC).isoformat() if waits else None
    for course in range(COURSES):
        await check_course(sender, f"k{course}", course, send_at)
