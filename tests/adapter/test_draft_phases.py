"""What is known of a mail by a draft is written down before it is acted on: none removed is called sent."""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from kit.sending import Sender, open_flags, open_sender
from kit.servers import RedisServer

from adapter import Attachment, attach_file
from adapter.errors import MessageRefusedError, SendUnknownError
from adapter.gate.rule import GateAnswer, GateReason
from adapter.message import SendIds
from adapter.providers.outlook import Outlook
from adapter.sandbox.faults import Faults
from adapter.sandbox.graph import Sandbox
from adapter.sandbox.graph_drafts import Draft
from adapter.sandbox.http import Head
from adapter.sending.delivery import Deadline
from adapter.sending.drafts.notes import Note, OpenDrafts, Phase
from adapter.sending.drafts.scheduled import cancel_scheduled
from adapter.sending.drafts.sweep import Sweeper
from adapter.sending.idempotency import IdempotencyKeys, Wanted

NOTES = "rollout:drafts:microsoft"
HEAD = Head("POST", "", {})
THROTTLED = Faults(status=429, retry_after=0)
KEEP, FORGET, FINISH = OpenDrafts.keep, OpenDrafts.forget, IdempotencyKeys.finish


class Planned(Sandbox):
    """Graph whose requests fail one by one as planned, and where something happens before a step."""

    def __init__(self) -> None:
        super().__init__()
        self.plan: dict[str, list[Faults]] = {}
        self.before: dict[str, Callable[[], Any]] = defaultdict(lambda: lambda: None)

    def _faults_of(self, step: str) -> Faults:
        self.steps[step] += 1
        self.before[step]()
        planned = self.plan.get(step)
        return planned.pop(0) if planned else Faults()

    def send_all(self) -> None:
        """Carry out what a request began that was answered before."""
        for draft in list(self.drafts.drafts.values()):
            self.drafts.send(Head("POST", "", {"client-request-id": draft.client_request_id}), draft)


@pytest.fixture
async def graph() -> AsyncIterator[Planned]:
    async with Planned() as planned:
        yield planned


@pytest.fixture
async def sender(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Planned, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Sender]:
    """Yield a sender of mails by draft whose notes are due at once."""
    monkeypatch.setattr("adapter.sending.delivery.FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("adapter.sending.drafts.flow.NOTE_AGAIN_S", 0.05)
    monkeypatch.setattr("adapter.sending.drafts.notes.MARGIN_S", -60.0)
    open_flags(redis_client)
    environment = {
        "MS_LARGE_ATTACHMENTS": "true",
        "ROLLOUT_MAX_BODY_BYTES": "4096",
        "ROLLOUT_SEND_DEADLINE_S": "20",
    }
    async with open_sender(redis_server.url, graph, environment=environment) as opened:
        opened.defaults |= {"attachments": [Attachment("a.txt", "text/plain", b"hello" * 1000)]}
        yield opened


def in_a_day() -> str:
    return datetime.fromtimestamp(time.time() + 86_400, UTC).isoformat()


async def swept(sender: Sender) -> int:
    provider = Outlook()
    return await sender.runtime.sweeper(provider, provider.drafts).sweep()


def fail_to_keep(monkeypatch: pytest.MonkeyPatch, *phases: Phase) -> None:
    """Let Redis be away whenever a note of one of these phases is written for a draft that is there."""

    async def keep(self: OpenDrafts, note: Note, left_s: float, after: Phase | None = None) -> bool:
        if note.phase in phases and note.draft_id and after is not Phase.UNSENT:
            raise redis.ConnectionError("away")
        return await KEEP(self, note, left_s, after)

    monkeypatch.setattr(OpenDrafts, "keep", keep)


class Paused:
    """A gate that somebody has just paused."""

    def check(self, *_: object) -> GateAnswer:
        return GateAnswer(False, GateReason.PAUSED, 0)

    def count(self, *_: object) -> None: ...

    def revision(self, _: str) -> int:
        return 0

    def percent(self, _: str) -> float:
        return 0.0


@pytest.mark.parametrize("then", ["throttled", "paused"])
async def test_a_draft_in_doubt_that_is_gone_when_it_is_removed_may_have_been_sent(
    then: str, sender: Sender, graph: Planned
) -> None:
    gate = sender.runtime.gate

    def pause() -> None:
        if then == "paused" and graph.steps["look"] == 2:
            sender.runtime.gate = Paused()

    graph.plan = {"send": [Faults(status=504), *[THROTTLED] * 5]}
    graph.before |= {"remove": graph.send_all, "look": pause}
    outcome = await sender.outcome(idempotency_key="k")
    assert (outcome.code, list(graph.copies.values())) == ("MS_SEND_UNKNOWN", [1])
    graph.plan, sender.runtime.gate = {}, gate
    await swept(sender)
    assert (await sender.outcome(idempotency_key="k")).code == "MS_SEND_UNKNOWN"
    assert list(graph.copies.values()) == [1]


async def test_a_draft_in_doubt_that_is_removed_while_it_is_one_was_not_sent(
    sender: Sender, graph: Planned, redis_client: redis.Redis
) -> None:
    graph.plan = {"send": [Faults(status=504), *[THROTTLED] * 5]}
    outcome = await sender.outcome(idempotency_key="k")
    assert outcome.code == "MS_API_THROTTLED_429"
    assert (graph.drafts.drafts, redis_client.exists(NOTES)) == ({}, 0)
    graph.plan = {}
    assert (await sender.send(idempotency_key="k")).replayed is False
    assert list(graph.copies.values()) == [1]


async def test_whoever_gives_up_while_a_draft_in_doubt_is_removed_learns_that_nothing_is_known(
    sender: Sender, graph: Planned
) -> None:
    graph.plan = {
        "send": [Faults(status=504), *[THROTTLED] * 5],
        "remove": [Faults(latency_s=0.5)],
    }
    task = asyncio.create_task(sender.send(idempotency_key="k"))
    graph.before |= {"remove": task.cancel}
    await asyncio.gather(task, return_exceptions=True)
    assert (await sender.outcome(idempotency_key="k")).code == "MS_SEND_UNKNOWN"


async def test_a_draft_that_a_person_took_away_is_not_called_sent(sender: Sender, graph: Planned) -> None:
    graph.before |= {"send": graph.drafts.drafts.clear}
    assert (await sender.outcome(idempotency_key="k")).code == "MS_SEND_UNKNOWN"
    assert await swept(sender) == 1
    assert (await sender.outcome(idempotency_key="k")).code == "MS_SEND_UNKNOWN"
    assert graph.copies == {}


@pytest.mark.parametrize("is_redis_away", [False, True], ids=["killed", "Redis away"])
async def test_a_refused_mail_whose_draft_was_removed_is_not_called_sent(
    is_redis_away: bool, sender: Sender, graph: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> None: ...

    if is_redis_away:
        fail_to_keep(monkeypatch, Phase.UNSENT)
    else:
        monkeypatch.setattr(OpenDrafts, "forget", nothing)
    monkeypatch.setattr(IdempotencyKeys, "finish", nothing)
    graph.plan = {"send": [Faults(status=403, error_code="ErrorSendAsDenied")]}
    assert (await sender.outcome(idempotency_key="k")).code == "MS_SEND_AS_DENIED"
    assert bool(graph.drafts.drafts) is is_redis_away
    monkeypatch.setattr(OpenDrafts, "keep", KEEP)
    monkeypatch.setattr(OpenDrafts, "forget", FORGET)
    monkeypatch.setattr(IdempotencyKeys, "finish", FINISH)
    assert await swept(sender) == 1
    assert graph.drafts.drafts == {}
    assert (await sender.send(idempotency_key="k")).replayed is False
    assert list(graph.copies.values()) == [1]


async def test_a_mail_that_waits_is_not_taken_back_though_its_note_stays(
    sender: Sender, graph: Planned, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> None: ...

    with monkeypatch.context() as away:
        away.setattr(OpenDrafts, "forget", nothing)
        away.setattr(IdempotencyKeys, "finish", nothing)
        first = await sender.send(send_at=(at := in_a_day()), idempotency_key="k")
    assert await swept(sender) == 1
    assert list(graph.drafts.drafts) == [first.message_id]
    assert redis_client.exists(NOTES) == 0
    again = await sender.send(send_at=at, idempotency_key="k")
    assert (again.replayed, again.message_id) == (True, first.message_id)


async def test_a_mail_that_waits_is_no_success_where_no_note_of_that_could_be_kept(
    sender: Sender, graph: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        fail_to_keep(away, Phase.SENT)
        sender.runtime.settings = replace(sender.runtime.settings, send_deadline_s=2.0)
        outcome = await sender.outcome(send_at=in_a_day(), idempotency_key="k")
    assert (outcome.code, len(graph.drafts.drafts)) == ("MS_SEND_UNKNOWN", 1)
    assert await swept(sender) == 1
    assert graph.drafts.drafts == {}


async def test_a_mail_that_may_wait_stays_unknown_where_redis_keeps_it_from_being_taken_back(
    sender: Sender, graph: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph.plan = {"send": [Faults(reset="after", delivered_share=1)]}
    at = in_a_day()
    with monkeypatch.context() as away:
        fail_to_keep(away, Phase.REMOVING)
        outcome = await sender.outcome(send_at=at, idempotency_key="k")
    assert (outcome.code, len(graph.drafts.drafts)) == ("MS_SEND_UNKNOWN", 1)
    assert (await sender.outcome(send_at=at, idempotency_key="k")).code == "MS_SEND_UNKNOWN"


async def test_a_draft_whose_creation_was_lost_is_found_by_the_next_sweep(
    sender: Sender, graph: Planned, redis_client: redis.Redis
) -> None:
    graph.plan = {"create": [Faults(reset="after", delivered_share=1)], "find": [THROTTLED] * 99}
    assert (await sender.outcome(idempotency_key="k")).code == "MS_API_THROTTLED_429"
    graph.plan = {}
    assert len(graph.drafts.drafts) == 1
    await swept(sender)
    assert (graph.drafts.drafts, redis_client.exists(NOTES)) == ({}, 0)


async def test_a_second_draft_that_shows_late_is_removed_and_the_one_that_waits_is_not(
    sender: Sender, graph: Planned
) -> None:
    hidden: dict[str, Draft] = {}

    def hide() -> None:
        if graph.steps["find"] == 1:
            hidden.update(graph.drafts.drafts)
            graph.drafts.drafts.clear()

    graph.before |= {"find": hide, "attach": lambda: graph.drafts.drafts.update(hidden)}
    graph.plan = {
        "create": [Faults(status=503, delivered_share=1)],
        "find": [Faults(), *[THROTTLED] * 99],
    }
    sent = await sender.send(send_at=in_a_day())
    assert len(graph.drafts.drafts) == 2
    graph.plan = {}
    assert await swept(sender) == 1
    assert list(graph.drafts.drafts) == [sent.message_id]


async def test_what_one_sweeper_removed_another_one_does_not_call_sent(
    sender: Sender, graph: Planned, redis_client: redis.Redis
) -> None:
    note = Note("u1", "/me", "mark", "<m@x>", "AAMkgone", Phase.SENDING, "a-key")
    await sender.runtime.keys.claim("a-key", "print", "mark", Wanted.CLAIM, pending_s=60)
    notes = sender.runtime.drafts(Outlook())
    await notes.keep(replace(note, phase=Phase.REMOVING), 600)

    class Late(OpenDrafts):
        async def due(self) -> AsyncIterator[Note]:
            yield note

    late = Late(sender.runtime._redis, "microsoft")
    sweeper = sender.runtime.sweeper(Outlook(), Outlook().drafts)
    assert await replace(sweeper, notes=late).sweep() == 0
    assert redis_client.hget("a-key", "state") in {"pending", b"pending"}


async def test_a_fault_at_one_note_keeps_no_other_one_waiting(
    sender: Sender, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    notes = sender.runtime.drafts(Outlook())
    for user in ("bad", "good"):
        await notes.keep(Note(user, "/me", user, "<m@x>"), 0.001)
    sweeper: Sweeper = sender.runtime.sweeper(Outlook(), Outlook().drafts)

    def delivery(user_id: str) -> Any:
        if user_id == "bad":
            raise ZeroDivisionError
        return sweeper.delivery(user_id)

    assert await replace(sweeper, delivery=delivery).sweep() == 1
    assert [name.decode() if isinstance(name, bytes) else name for name in redis_client.hkeys(NOTES)] == [
        "bad"
    ]
    assert "an open draft of bad is not settled yet: ZeroDivisionError" in caplog.text


async def test_a_draft_is_known_though_graph_answers_with_the_whole_long_mail(
    sender: Sender, graph: Planned
) -> None:
    settings = sender.runtime.settings
    limits = replace(settings.limits, max_body_bytes=0)
    sender.runtime.settings = replace(settings, limits=limits)
    await sender.send(send_at=in_a_day(), body_html=f"<p>{'long ' * 400}</p>" * 100, attachments=[])
    assert (graph.steps["create"], graph.steps["find"]) == (1, 0)


async def test_a_range_that_stalls_goes_on_at_another_connection(
    sender: Sender, graph: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapter.sending.delivery.STALLED_S", 0.5)
    film = tmp_path / "film.mp4"
    film.write_bytes(b"x" * 5_000_000)
    graph.plan = {"range": [Faults(hang=True)]}
    assert (await sender.send(attachments=[attach_file(film)])).success
    assert list(graph.copies.values()) == [1]


async def test_a_mail_that_went_while_its_removal_was_not_answered_is_not_called_cancelled_or_sent(
    sender: Sender, graph: Planned
) -> None:
    sent = await sender.send(send_at=in_a_day())
    graph.plan = {"remove": [Faults(status=503, delivered_share=1)]}
    ids = SendIds("5b8f1c0e-0000-4000-8000-000000000001", "")
    delivery = sender.runtime.delivery(Outlook(), "u1", ids, Deadline(5))
    with pytest.raises(SendUnknownError, match="taken back, or sent just before"):
        await cancel_scheduled(delivery, Outlook().drafts, "/me", sent.message_id)


def test_a_pipe_is_refused_because_its_size_says_nothing(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(MessageRefusedError, match="no regular file"):
        attach_file(pipe)


@pytest.mark.parametrize("by", ["draft", "sendMail"])
@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize("instead", [os.mkfifo, lambda _: None], ids=["a pipe", "nothing"])
async def test_a_file_that_vanishes_before_it_is_read_is_named(
    instead: Callable[[Path], None], key: str | None, by: str, sender: Sender, graph: Planned, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"hello" * (1000 if by == "draft" else 10))
    file = attach_file(path)
    path.unlink()
    instead(path)
    outcome = await sender.outcome(attachments=[file], idempotency_key=key)
    assert (outcome.code, outcome.error and outcome.error.field) == ("INVALID_REQUEST", "attachments")
    assert (graph.copies, graph.drafts.drafts) == ({}, {})
