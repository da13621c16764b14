"""Large mails go by a draft: whatever breaks on the way, one mail leaves, and no draft stays."""

import asyncio
import base64
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import redis
from kit.sending import ANN, Outcome, Sender, open_flags, open_sender
from kit.servers import RedisServer
from kit.waiting import until
from starlette.applications import Starlette

from adapter import Attachment, InlineImage, attach_file
from adapter.checks.message_checks import check
from adapter.errors import MessageRefusedError
from adapter.gate.rule import GateAnswer, GateReason
from adapter.message import Limits, OutgoingMessage, SendIds
from adapter.providers.outlook import Outlook
from adapter.providers.outlook_drafts import draft_request
from adapter.providers.outlook_upload import RANGE_BYTES, OutlookUpload
from adapter.providers.provider import Reply
from adapter.sandbox.faults import Dice, Faults
from adapter.sandbox.graph import Sandbox
from adapter.sending.runtime import is_server_of
from adapter.web.service import routes
from controller.shared.api_tokens import Tokens

IDS = SendIds("5b8f1c0e-0000-4000-8000-000000000001", "<m1@x>")
MEGABYTE = 1024 * 1024
LARGE = {"MS_LARGE_ATTACHMENTS": "true", "ROLLOUT_SEND_DEADLINE_S": "30"}


@pytest.fixture
async def large(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Sender]:
    """Yield a sender of large mails that waits little between its tries."""
    monkeypatch.setattr("adapter.sending.delivery.FIRST_WAIT_S", 0.01)
    open_flags(redis_client)
    async with open_sender(redis_server.url, graph, environment=LARGE) as opened:
        yield opened


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Return a file that needs two ranges."""
    path = tmp_path / "film.mp4"
    path.write_bytes(hashlib.sha256(b"seed").digest() * (4 * MEGABYTE // 32) + b"end")
    return path


class Open:
    """A gate that lets everybody in."""

    reason = GateReason.IN_ROLLOUT

    def check(self, *_: object) -> GateAnswer:
        return GateAnswer(self.reason is GateReason.IN_ROLLOUT, self.reason, 0)

    def count(self, *_: object) -> None: ...

    def revision(self, _: str) -> int:
        return 0

    def percent(self, _: str) -> float:
        return 0.0


class Closed(Open):
    """A gate that somebody has just paused."""

    reason = GateReason.PAUSED


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sent_once(graph: Sandbox, outcome: Outcome, *names: str) -> None:
    """Check that one mail left with these files, that it is known, and that nothing of it stays."""
    assert outcome.result, outcome.error
    assert list(graph.copies.values()) == [1]
    assert sorted(name for name, _, _ in graph.messages[-1].mail.attachments) == sorted(names)
    assert graph.drafts.drafts == {}
    assert graph.tokens_at_uploads == 0


def none_sent(graph: Sandbox, redis_client: redis.Redis) -> None:
    assert graph.copies == {}
    assert graph.drafts.drafts == {}
    assert redis_client.exists("rollout:drafts:microsoft") == 0


async def test_a_large_file_goes_in_ranges_beside_small_ones(
    large: Sender, graph: Sandbox, film: Path, redis_client: redis.Redis
) -> None:
    told: list[tuple[int, int]] = []
    outcome = await large.outcome(
        body_html='<p>Hi</p><img src="cid:logo">',
        attachments=[attach_file(film), Attachment("note.txt", "text/plain", b"hello")],
        inline_images=[InlineImage("logo.png", "image/png", b"png", "logo")],
        progress=lambda done, total: told.append((done, total)),
    )
    sent_once(graph, outcome, "film.mp4", "note.txt", "logo.png")
    assert graph.drafts.digests["film.mp4"] == digest(film)
    assert graph.steps["range"] == -(-len(attach_file(film).content) // RANGE_BYTES)
    assert ("logo.png", 3, "logo") in graph.messages[-1].mail.attachments
    assert told[-1][0] == told[-1][1] == len(attach_file(film).content) + 8
    assert redis_client.exists("rollout:drafts:microsoft") == 0
    assert outcome.moved["action_exec_total{status=ok}"] == 1


FAULTS = [
    Faults(step="create", status=503, times=2),
    Faults(step="create", reset="after", delivered_share=1, times=1),
    Faults(step="create", status=503, delivered_share=1, times=1),
    Faults(step="create", status=429, retry_after=0, times=1),
    Faults(step="create", status=401, times=1),
    Faults(step="attach", status=503, delivered_share=1, times=1),
    Faults(step="attach", reset="after", delivered_share=1, times=1),
    Faults(step="attach", reset="before", times=1),
    Faults(step="open", status=500, delivered_share=1, times=1),
    Faults(step="open", status=429, retry_after=0, times=2),
    Faults(step="range", status=429, retry_after=0, times=3),
    Faults(step="range", status=503, times=1),
    Faults(step="range", status=404, times=1),
    Faults(step="range", reset="in", times=5),
    Faults(step="range", reset="after", times=2),
    Faults(step="range", reset="before", times=2),
    Faults(step="send", status=503, times=1),
    Faults(step="send", status=503, delivered_share=1, times=1),
    Faults(step="send", reset="after", times=1),
    Faults(step="send", reset="after", delivered_share=1, times=1),
    Faults(step="send", status=429, retry_after=0, times=1),
    Faults(step="send", status=401, times=1),
]


def described(faults: Faults) -> str:
    how = f"{faults.status or faults.reset} x{faults.times}"
    return f"{faults.step} {how}{' carried out' if faults.delivered_share else ''}"


@pytest.mark.parametrize("faults", FAULTS, ids=described)
async def test_whatever_breaks_one_mail_leaves_with_each_file_once(
    faults: Faults, large: Sender, graph: Sandbox, film: Path, redis_client: redis.Redis
) -> None:
    graph.faults = faults
    files = [attach_file(film), Attachment("note.txt", "text/plain", b"hello")]
    outcome = await large.outcome(attachments=files, idempotency_key="k")
    assert isinstance(graph.dice, Dice)
    assert graph.dice._left == 0, "the fault was met"
    sent_once(graph, outcome, "film.mp4", "note.txt")
    assert graph.drafts.digests["film.mp4"] == digest(film)
    assert redis_client.exists("rollout:drafts:microsoft") == 0
    assert (await large.outcome(attachments=files, idempotency_key="k")).result.replayed  # type: ignore[union-attr]


REFUSED = [
    (Faults(step="create", status=403), "MS_AUTH_INSUFFICIENT_PERMS"),
    (Faults(step="create", status=503), "MS_API_UNREACHABLE"),
    (Faults(step="attach", status=507, error_code="ErrorQuotaExceeded"), "MS_API_UNREACHABLE"),
    (Faults(step="attach", status=400, error_code="ErrorQuotaExceeded"), "MS_MAILBOX_FULL"),
    (Faults(step="open", status=403), "MS_AUTH_INSUFFICIENT_PERMS"),
    (Faults(step="range", status=404), "MS_API_UNREACHABLE"),
    (Faults(step="send", status=413, error_code="ErrorMessageSizeExceeded"), "ATTACHMENT_TOO_LARGE"),
    (Faults(step="send", status=403, error_code="ErrorSendAsDenied"), "MS_SEND_AS_DENIED"),
    (Faults(step="send", status=503), "MS_API_UNREACHABLE"),
    (Faults(step="send", status=429, retry_after=100), "MS_API_THROTTLED_429"),
]


@pytest.mark.parametrize(("faults", "code"), REFUSED, ids=lambda given: str(given)[:40])
async def test_a_send_that_fails_leaves_no_draft_and_a_free_key(
    faults: Faults, code: str, large: Sender, graph: Sandbox, film: Path, redis_client: redis.Redis
) -> None:
    graph.faults = faults
    files = [attach_file(film), Attachment("note.txt", "text/plain", b"hello")]
    outcome = await large.outcome(attachments=files, idempotency_key="k")
    assert outcome.code == code
    assert outcome.error
    assert outcome.error.not_sent
    assert graph.copies == {}
    assert graph.drafts.drafts == {}
    in_doubt = faults.step == "create" and faults.status == 503
    assert redis_client.exists("rollout:drafts:microsoft") == in_doubt, (
        "one may be there of which nobody told"
    )
    graph.faults = Faults()
    sent_once(graph, await large.outcome(attachments=files, idempotency_key="k"), "film.mp4", "note.txt")


@pytest.mark.parametrize(
    ("missing", "named"), [("Mail.ReadWrite", "Mail.ReadWrite"), ("Mail.Send", "Mail.Send")]
)
async def test_a_missing_right_is_named(
    missing: str, named: str, large: Sender, graph: Sandbox, film: Path, redis_client: redis.Redis
) -> None:
    graph.rights.remove(missing)
    outcome = await large.outcome(attachments=[attach_file(film)])
    assert outcome.code == "MS_AUTH_INSUFFICIENT_PERMS"
    assert f"It needs {named}:" in str(outcome.error)
    assert graph.copies == {}
    shared = await large.outcome(attachments=[attach_file(film)], sender="desk@corp.example")
    assert f"{named}.Shared and Full Access" in str(shared.error)


async def test_a_pause_between_two_ranges_stops_the_mail_and_removes_the_draft(
    large: Sender, graph: Sandbox, film: Path, redis_client: redis.Redis
) -> None:
    def pause(done: int, total: int) -> None:
        if done:
            large.runtime.gate = Closed()

    outcome = await large.outcome(attachments=[attach_file(film)], progress=pause, idempotency_key="k")
    assert (outcome.code, graph.steps["range"]) == ("ACTION_GATED", 1)
    none_sent(graph, redis_client)


async def test_a_caller_who_gives_up_leaves_no_draft(
    large: Sender, graph: Sandbox, film: Path, redis_client: redis.Redis
) -> None:
    graph.faults = Faults(step="open", latency_s=30)
    task = asyncio.create_task(large.send(attachments=[attach_file(film)], idempotency_key="k"))
    await until(lambda: graph.steps["open"] > 0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    none_sent(graph, redis_client)


async def test_a_file_that_changes_while_it_is_sent_is_not_sent(
    large: Sender, graph: Sandbox, film: Path, redis_client: redis.Redis
) -> None:
    file = attach_file(film)
    await asyncio.to_thread(film.write_bytes, b"other")
    outcome = await large.outcome(attachments=[file])
    assert (outcome.code, outcome.error and outcome.error.field) == ("INVALID_REQUEST", "attachments")
    none_sent(graph, redis_client)


async def test_files_of_one_name_each_arrive_once_though_an_answer_is_lost(
    large: Sender, graph: Sandbox, film: Path
) -> None:
    graph.faults = Faults(step="attach", status=503, delivered_share=1, times=2)
    notes = [Attachment("note.txt", "text/plain", text) for text in (b"a", b"b", b"a")]
    outcome = await large.outcome(attachments=[attach_file(film), *notes])
    sent_once(graph, outcome, "film.mp4", "note.txt", "note.txt", "note.txt")


async def test_several_files_go_side_by_side_and_never_more_than_the_mailbox_takes(
    large: Sender, graph: Sandbox, film: Path
) -> None:
    graph.faults = Faults(step="attach", latency_s=0.2, per_mailbox=4)
    notes = [Attachment(f"note-{n}.txt", "text/plain", b"hello") for n in range(6)]
    mails = (large.outcome(attachments=[attach_file(film), *notes]) for _ in range(4))
    outcomes = await asyncio.gather(*mails)
    assert [outcome.code for outcome in outcomes] == [""] * 4
    assert 2 <= graph.most_at_once <= 4
    assert graph.drafts.drafts == {}


async def test_no_file_goes_to_a_server_that_is_not_microsofts(
    large: Sender, graph: Sandbox, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sandbox, "base", "http://evil.example")
    outcome = await large.outcome(attachments=[attach_file(film)])
    assert outcome.code == "MS_API_UNREACHABLE"
    assert "evil.example" in str(outcome.error)
    assert graph.steps["range"] == 0


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://outlook.office.com", True),
        ("https://outlook.office365.us", True),
        ("https://partner.outlook.cn", True),
        ("http://outlook.office.com", False),
        ("https://outlook.office.com.evil.example", False),
        ("https://evil-office.com", False),
        ("https://graph.example:8443", True),
        ("https://graph.example", False),
    ],
)
def test_which_servers_take_files(url: str, may: bool) -> None:
    assert is_server_of(Outlook(), "https://graph.example:8443/v1.0", url) is may


@pytest.mark.parametrize(
    "url",
    [
        "javascript:1",
        "https:///x",
        "https://a b/x",
        "http://[::1",
        "https://outlook.office.com:x/y",
        "https://outlook.office.com@evil.example/x",
        "//evil.example/x",
        "https://outlook.office.com\r\nX: y/",
        "https://outlook.office\u3002com/x",
        "https://outlook.office.com/" + "x" * 8192,
        "https://xn--.office.com/x",
        "https://a^b.office.com/x",
        "https://a[v1.a].office.com/x",
        5,
        None,
    ],
)
def test_an_upload_address_that_is_none_opens_no_session(url: object) -> None:
    reply = Reply(201, {}, json.dumps({"uploadUrl": url}).encode())
    assert OutlookUpload(b"x").opened(reply) is None


@pytest.mark.parametrize(
    ("ranges", "received"),
    [
        (["5-10"], 5),
        (["7"], 7),
        ([3], 3),
        (["999"], 100),
        (["-5"], None),
        ([], None),
        ("5", None),
        ([{}], None),
    ],
)
def test_how_far_an_upload_came_is_read_or_is_nothing(ranges: object, received: int | None) -> None:
    reply = Reply(200, {}, json.dumps({"nextExpectedRanges": ranges}).encode())
    assert OutlookUpload(b"x" * 100).received(reply) == received


async def test_without_redis_no_draft_is_written(
    large: Sender, graph: Sandbox, film: Path, redis_server: RedisServer
) -> None:
    large.runtime.gate = Open()
    await asyncio.to_thread(redis_server.kill)
    outcome = await large.outcome(attachments=[attach_file(film)])
    assert outcome.code == "IDEMPOTENCY_UNAVAILABLE"
    assert graph.steps["create"] == 0


WORKER = """
import asyncio, sys
from adapter import EmailAddress, Runtime, StaticTokens, attach_file, outlook_send
from adapter.sending.drafts import notes

notes.MARGIN_S = -60.0  # the note of a draft is due at once

async def work():
    async with Runtime.open(tokens={"microsoft": StaticTokens("sandbox-token")}) as runtime:
        await outlook_send(
            [EmailAddress("ann@corp.example", "Ann")], "Hi", "<p>Hi</p>", user_id="u1",
            attachments=[attach_file(sys.argv[1])], idempotency_key="k", runtime=runtime,
        )

asyncio.run(work())
"""


@pytest.mark.parametrize(
    ("step", "carried_out"),
    [("create", True), ("open", False), ("range", True), ("send", False), ("send", True)],
)
async def test_a_process_killed_at_any_step_leaves_one_mail_or_none_and_no_draft(
    step: str,
    carried_out: bool,
    graph: Sandbox,
    film: Path,
    redis_client: redis.Redis,
    redis_server: RedisServer,
) -> None:
    open_flags(redis_client)
    graph.faults = Faults(step=step, hang=True, delivered_share=float(carried_out))
    environment = {
        **os.environ,
        **LARGE,
        "ROLLOUT_REDIS_URL": redis_server.url,
        "MS_GRAPH_URL": graph.url,
        "PROVIDER_MICROSOFT_ENABLED": "true",
    }
    command = (sys.executable, "-c", WORKER, str(film))
    process = await asyncio.create_subprocess_exec(*command, env=environment)
    try:
        await until(lambda: graph.steps[step] > 0 or process.returncode is not None, 60)
        assert process.returncode is None
    finally:
        process.kill()
        await process.wait()
    graph.faults = Faults()
    async with open_sender(redis_server.url, graph, environment=LARGE) as restarted:
        await until(lambda: not redis_client.exists("rollout:drafts:microsoft"))
        assert graph.drafts.drafts == {}
        again = await restarted.outcome(attachments=[attach_file(film)], idempotency_key="k")
    assert again.result
    assert again.result.replayed is (step == "send" and carried_out)
    assert list(graph.copies.values()) == [1]


async def test_the_time_of_the_files_is_not_graphs_latency(large: Sender, graph: Sandbox, film: Path) -> None:
    graph.faults = Faults(step="open", latency_s=1.5)
    assert (await large.outcome(attachments=[attach_file(film)])).result
    seconds = [
        sample.value
        for family in large.registry.collect()
        for sample in family.samples
        if sample.name == "action_latency_seconds_sum" and sample.labels["status"] == "ok"
    ]
    assert 0 < max(seconds) < 1.5


async def test_a_file_on_disk_is_the_same_mail_as_its_bytes(
    large: Sender, graph: Sandbox, film: Path
) -> None:
    first = await large.send(attachments=[attach_file(film)], idempotency_key="k")
    content = await asyncio.to_thread(film.read_bytes)
    same = [Attachment("film.mp4", attach_file(film).content_type, content)]
    again = await large.send(attachments=same, idempotency_key="k")
    assert (first.replayed, again.replayed) == (False, True)
    other = [Attachment("film.mp4", attach_file(film).content_type, content[:-1] + b"x")]
    assert (await large.outcome(attachments=other, idempotency_key="k")).code == "IDEMPOTENCY_KEY_REUSED"


async def test_a_large_mail_goes_over_http_too(large: Sender, graph: Sandbox, film: Path) -> None:
    content = base64.b64encode(await asyncio.to_thread(film.read_bytes)).decode()
    files = [{"name": "film.mp4", "content_base64": content}]
    mail = {"to": [{"address": "ann@corp.example"}], "subject": "Hi", "body_text": "Hi", "user_id": "u1"}
    everybody = Tokens.parse("t").caller
    app = Starlette(routes=routes(large.runtime, caller=everybody))
    headers = {"Authorization": "Bearer t"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://adapter", headers=headers
    ) as client:
        answer = await client.post("/actions/outlook.send", json={**mail, "attachments": files})
    assert answer.status_code == 200, answer.text
    assert graph.drafts.digests["film.mp4"] == digest(film)


def test_a_small_mail_needs_no_draft_though_large_ones_may_have_one() -> None:
    limits = Limits(large_attachments=True)
    message = OutgoingMessage(to=(ANN,), subject="Hi", body_text="Hi")
    assert Outlook().prepare(check(message, limits), IDS, limits).path == "/me/sendMail"
    huge = replace(message, body_text="x" * (5 * MEGABYTE))
    with pytest.raises(MessageRefusedError, match="ATTACHMENT_TOO_LARGE"):
        Outlook().prepare(check(huge, limits), IDS, limits)


def test_a_file_is_named_as_its_place_though_it_is_called_like_the_mark_of_its_content() -> None:
    draft = draft_request(OutgoingMessage(to=(ANN,)), {}, IDS).draft
    assert draft is not None
    body = json.loads(bytes(draft.attach("id", Attachment("@content@", "", b"hello")).body))
    assert (body["name"], base64.b64decode(body["contentBytes"])) == ("@content@", b"hello")
