"""A mail with `send_at` waits as a draft until its time, and can be taken back until then."""

import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import redis
from click.testing import CliRunner
from kit.sending import ANN, Sender, open_flags, open_sender
from kit.servers import RedisServer

from adapter import Attachment
from adapter.checks.message_checks import check
from adapter.errors import MessageRefusedError, StructuredError
from adapter.message import Limits, OutgoingMessage, SendIds
from adapter.providers.gmail import Gmail
from adapter.providers.outlook import Outlook
from adapter.sandbox.faults import Faults
from adapter.sandbox.graph import Sandbox
from adapter.sandbox.http import Head
from adapter.sending.delivery import Deadline
from adapter.sending.drafts.scheduled import cancel_scheduled
from adapter.web.payload import parse_send
from controller.cli import rollout

NOW = 1_800_000_000.0
HEAD = Head("POST", "", {})
IDS = SendIds("5b8f1c0e-0000-4000-8000-000000000001", "<m1@x>")


def in_an_hour() -> datetime:
    return datetime.fromtimestamp(time.time() + 3600, UTC)


@pytest.fixture
async def waiting(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Sender]:
    monkeypatch.setattr("adapter.sending.delivery.FIRST_WAIT_S", 0.01)
    open_flags(redis_client)
    async with open_sender(redis_server.url, graph) as opened:
        yield opened


async def cancelled(sender: Sender, message_id: str) -> bool:
    provider = Outlook()
    delivery = sender.runtime.delivery(provider, "u1", IDS, Deadline(5))
    return await cancel_scheduled(delivery, provider.drafts, "/me", message_id)


async def test_it_waits_as_a_draft_and_is_delivered_once_at_its_time(waiting: Sender, graph: Sandbox) -> None:
    outcome = await waiting.outcome(send_at=in_an_hour(), attachments=[Attachment("n.txt", "", b"n")])
    assert outcome.result
    (draft,) = graph.drafts.drafts.values()
    assert (outcome.result.message_id, draft.is_submitted) == (draft.draft_id, True)
    assert graph.copies == {}
    graph.drafts.deliver_due(draft.due_at - 1)
    assert graph.copies == {}
    graph.drafts.deliver_due(draft.due_at)
    assert list(graph.copies.values()) == [1]
    assert not await cancelled(waiting, outcome.result.message_id), "it was sent"


async def test_it_can_be_taken_back_until_then(waiting: Sender, graph: Sandbox) -> None:
    result = await waiting.send(send_at=in_an_hour())
    assert await cancelled(waiting, result.message_id)
    graph.drafts.deliver_due(NOW * 2)
    assert graph.copies == {}
    assert not await cancelled(waiting, result.message_id)


async def test_nobodys_own_draft_is_taken_away(waiting: Sender, graph: Sandbox) -> None:
    body = json.dumps({"subject": "My own", "toRecipients": [{"emailAddress": {"address": ANN.address}}]})
    await waiting.outcome(send_at=in_an_hour())
    mailbox = next(iter(graph.drafts.drafts.values())).mailbox
    graph.drafts.drafts.clear()
    graph.drafts.create(HEAD, mailbox, body.encode())
    (draft_id,) = graph.drafts.drafts
    with pytest.raises(StructuredError, match="waits for no time"):
        await cancelled(waiting, draft_id)
    assert list(graph.drafts.drafts) == [draft_id]


@pytest.mark.parametrize("carried_out", [False, True])
async def test_a_lost_answer_takes_it_back_because_a_waiting_draft_tells_nothing(
    carried_out: bool, waiting: Sender, graph: Sandbox, redis_client: redis.Redis
) -> None:
    graph.faults = Faults(step="send", status=503, delivered_share=float(carried_out), times=1)
    outcome = await waiting.outcome(send_at=in_an_hour(), idempotency_key="k")
    assert outcome.error
    assert (outcome.code, outcome.error.not_sent) == ("MS_API_UNREACHABLE", True)
    assert graph.drafts.drafts == {}
    assert redis_client.exists("rollout:drafts:microsoft") == 0


async def test_a_second_call_with_the_key_gives_the_first_result_though_the_time_is_past(
    waiting: Sender, graph: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = in_an_hour()
    first = await waiting.send(send_at=at, idempotency_key="k")
    monkeypatch.setattr("adapter.sending.one_send.time.time", lambda: at.timestamp() + 60)
    again = await waiting.send(send_at=at, idempotency_key="k")
    assert (again.replayed, again.message_id) == (True, first.message_id)
    late = await waiting.outcome(send_at=at)
    assert (late.code, late.error and late.error.field) == ("INVALID_REQUEST", "send_at")


def text_of(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


@pytest.mark.parametrize(
    "given",
    [
        text_of(NOW),
        text_of(NOW - 1),
        text_of(NOW + 365 * 86_400 + 1),
        "2027-01-20T09:00:00",
        "2027-02-30T09:00:00Z",
        "2027-01-20T25:00:00Z",
        "2027-13-20T09:00:00Z",
        "0027-01-20T09:00:00Z",
        "2027-01-20",
        "tomorrow",
        "",
        "2027-01-20T09:00:00Z\r\nBcc: x@y.z",
        5,
    ],
)
def test_a_time_that_graph_would_not_keep_is_refused_before_any_post(given: object) -> None:
    message = OutgoingMessage(to=(ANN,), subject="Hi", body_html="<p>Hi</p>", send_at=given)  # type: ignore[arg-type]
    with pytest.raises(MessageRefusedError) as refused:
        check(message, Limits(), now=NOW)
    assert refused.value.field == "send_at"


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("2027-01-20T09:00:00Z", "2027-01-20T09:00:00Z"),
        ("2027-01-20t10:00:00.5+01:00", "2027-01-20T09:00:00Z"),
        ("2027-01-20 04:30-04:30", "2027-01-20T09:00:00Z"),
        ("2028-01-15T08:00:00Z", "2028-01-15T08:00:00Z"),
    ],
)
def test_a_time_of_any_zone_is_written_in_utc_in_both_properties(given: str, written: str) -> None:
    message = OutgoingMessage(to=(ANN,), subject="Hi", body_html="<p>Hi</p>", send_at=given)
    request = Outlook().prepare(check(message, Limits(), now=NOW), IDS, Limits())
    properties = json.loads(bytes(request.body))["singleValueExtendedProperties"]
    found = {one["id"]: one["value"] for one in properties}
    assert (found["SystemTime 0x3FEF"], found["SystemTime 0x000F"]) == (written, written)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"save_to_sent_items": False}, "save_to_sent_items"),
        ({"headers": (("List-Id", "<l>"),)}, "headers"),
    ],
)
def test_what_a_draft_has_no_place_for_is_refused_by_name(given: dict[str, object], field: str) -> None:
    message = OutgoingMessage(to=(ANN,), subject="Hi", body_text="Hi", send_at=text_of(NOW + 60), **given)  # type: ignore[arg-type]
    with pytest.raises(MessageRefusedError) as refused:
        Outlook().prepare(check(message, Limits(), now=NOW), IDS, Limits())
    assert refused.value.field == field


def test_gmail_schedules_nothing_and_says_so() -> None:
    message = OutgoingMessage(to=(ANN,), subject="Hi", body_text="Hi", send_at=text_of(NOW + 60))
    with pytest.raises(MessageRefusedError) as refused:
        Gmail().prepare(check(message, Limits(), now=NOW), IDS, Limits())
    assert refused.value.field == "send_at"


def test_over_http_and_from_a_shell_it_is_the_same_field() -> None:
    at = in_an_hour().isoformat()
    assert parse_send({"to": [{"address": "b@c.d"}], "user_id": "u", "send_at": at})["send_at"] == at
    command = ["send", "--user", "u", "--to", "b@corp.example", "--text", "-", "--send-at", at]
    shown = CliRunner().invoke(rollout, [*command, "--dry-run", "--json"], input="Hi")
    request = json.loads(shown.stdout)
    assert request["url"].endswith("/me/messages")
    assert "SystemTime 0x3FEF" in str(request["body"])
    refused = CliRunner().invoke(rollout, [*command[:-1], "yesterday", "--dry-run"], input="Hi")
    assert (refused.exit_code, refused.stdout) == (2, "")
