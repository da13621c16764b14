"""Every answer of Gmail, over real sockets: how many posts, which code, which metrics; and its uploads."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import redis
from kit.answers import Case
from kit.sending import GOOGLE, Sender, open_flags, open_sender
from kit.servers import RedisServer
from kit.waiting import until

from adapter import Attachment, SendUnknownError
from adapter.sandbox.faults import Faults
from adapter.sandbox.gmail import GmailSandbox
from controller.contract import flag_key

UNKNOWN = "GOOGLE_SEND_UNKNOWN"
THROTTLED = "GOOGLE_API_THROTTLED_429"
FAST = {"ROLLOUT_SEND_DEADLINE_S": "1.2"}


def refused(status: int, reason: str, code: str, source: str, **given: object) -> Case:
    faults = Faults(status=status, error_code=reason, **given)  # type: ignore[arg-type]
    return Case(f"{status} {reason or given}", faults, 1, code, source)


CASES = [
    Case("200", Faults(), 1),
    Case("200 that bounces later", Faults(bounce_share=1.0), 1),
    refused(204, "", UNKNOWN, "provider", body="empty"),
    refused(400, "invalidArgument", "GOOGLE_INVALID_REQUEST", "adapter"),
    refused(
        400, "invalidArgument", "INVALID_RECIPIENT", "caller", error_message="Recipient address required"
    ),
    refused(400, "failedPrecondition", "GOOGLE_MAILBOX_NOT_ENABLED", "caller"),
    refused(400, "neverHeardOf", UNKNOWN, "provider"),
    refused(400, "", UNKNOWN, "provider", body="half"),
    Case("401", Faults(status=401), 2, "GOOGLE_AUTH_INVALID", "auth"),
    Case("401 once", Faults(status=401, times=1), 2),
    refused(403, "domainPolicy", "GOOGLE_PROVIDER_POLICY_BLOCKED", "caller"),
    refused(403, "insufficientPermissions", "GOOGLE_AUTH_INSUFFICIENT_PERMS", "auth"),
    refused(403, "accessNotConfigured", "GOOGLE_AUTH_CLIENT_CONFIG", "auth"),
    refused(403, "dailyLimitExceeded", "GOOGLE_PROJECT_QUOTA_EXCEEDED", "provider"),
    refused(403, "quotaExceeded", "GOOGLE_PROJECT_QUOTA_EXCEEDED", "provider"),
    refused(403, "", "GOOGLE_AUTH_INSUFFICIENT_PERMS", "auth", body="html"),
    refused(404, "notFound", "GOOGLE_SENDER_NOT_FOUND", "caller"),
    refused(404, "", UNKNOWN, "provider", body="html"),
    refused(413, "uploadTooLarge", "ATTACHMENT_TOO_LARGE", "caller"),
    *(
        Case(
            f"{status} {reason}, once",
            Faults(status=status, error_code=reason, retry_after=0.1, times=1),
            2,
        )
        for status in (403, 429)
        for reason in ("userRateLimitExceeded", "rateLimitExceeded")
    ),
    refused(
        429,
        "userRateLimitExceeded",
        "GOOGLE_QUOTA_EXCEEDED",
        "caller",
        retry_after=60,
        error_message="(Mail sending)",
    ),
    Case("429 always", Faults(throttle=True, retry_after=0), 5, THROTTLED, "provider"),
    Case("429 for an hour", Faults(throttle=True, retry_after=3600), 1, THROTTLED, "provider"),
    Case(
        "429 where that is not believed",
        Faults(status=429, times=1),
        1,
        UNKNOWN,
        "provider",
        {"ROLLOUT_THROTTLED_IS_UNKNOWN": "true"},
    ),
    *(refused(status, "", UNKNOWN, "provider", body="empty") for status in (302, 408, 409, 412, 500, 504)),
    refused(500, "backendError", UNKNOWN, "provider"),
    refused(503, "rateLimitExceeded", UNKNOWN, "provider"),
    Case("reset after the body", Faults(reset="after"), 1, UNKNOWN, "provider"),
    Case("no answer", Faults(hang=True), 1, UNKNOWN, "provider", FAST),
]


@pytest.fixture
async def gmail() -> AsyncIterator[GmailSandbox]:
    async with GmailSandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def sender(
    redis_server: RedisServer, redis_client: redis.Redis, gmail: GmailSandbox
) -> AsyncIterator[Sender]:
    open_flags(redis_client, "google")
    async with open_sender(redis_server.url, gmail, service=GOOGLE) as opened:
        yield opened


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_an_answer_gives_its_posts_its_code_and_its_metrics(
    case: Case, redis_server: RedisServer, redis_client: redis.Redis, gmail: GmailSandbox
) -> None:
    open_flags(redis_client, "google")
    gmail.faults = case.faults
    async with open_sender(redis_server.url, gmail, service=GOOGLE, environment=case.environment) as sender:
        outcome = await sender.outcome()
    status = "error" if case.code else "ok"
    expected = {
        GOOGLE.gate_open: 1.0,
        f"action_exec_total{{status={status}}}": 1.0,
        f"action_latency_seconds_count{{status={status}}}": 1.0,
    }
    if case.code:
        expected[f"structured_error_total{{code={case.code},source={case.source}}}"] = 1.0
    if case.source not in {"", "caller"}:
        expected["action_error_total{}"] = 1.0
    assert (outcome.posts, outcome.code, outcome.moved) == (case.posts, case.code, expected)


async def test_a_result_has_gmails_ids_and_keeps_them_under_its_key(sender: Sender) -> None:
    first, second = [await sender.send(idempotency_key="k") for _ in range(2)]
    assert first.message_id == first.thread_id == second.message_id == second.thread_id
    assert len(first.message_id) == 16
    assert first.request_id
    assert (first.replayed, second.replayed) == (False, True)


def large(size: int = 6_000_000) -> dict[str, object]:
    return {
        "attachments": [Attachment("a.bin", "application/octet-stream", bytes(range(250)) * (size // 250))]
    }


async def test_a_large_mail_goes_in_a_session_and_arrives_whole(sender: Sender, gmail: GmailSandbox) -> None:
    result = await sender.send(**large())
    assert result.message_id
    assert gmail.posts == 1
    assert gmail.messages[0].mail.attachments == (("a.bin", 6_000_000, ""),)


async def test_an_upload_goes_on_where_its_connection_broke(sender: Sender, gmail: GmailSandbox) -> None:
    gmail.faults = Faults(reset="in")
    outcome = await sender.outcome(**large())
    assert (outcome.code, outcome.posts) == ("", 2)
    assert gmail.messages[0].mail.attachments == (("a.bin", 6_000_000, ""),)
    assert sum(gmail.copies.values()) == 1


@pytest.mark.parametrize(
    "fault", [Faults(reset="after"), Faults(status=503), Faults(status=500, body="html")]
)
async def test_an_upload_that_failed_after_its_end_is_asked_about_and_sent_once(
    sender: Sender, gmail: GmailSandbox, fault: Faults
) -> None:
    gmail.faults = replace(fault, times=1)
    outcome = await sender.outcome(**large())
    assert (outcome.code, outcome.posts) == ("", 2)
    assert sum(gmail.copies.values()) == 1


async def test_an_upload_nobody_can_tell_the_end_of_is_unknown(
    redis_server: RedisServer, redis_client: redis.Redis, gmail: GmailSandbox
) -> None:
    open_flags(redis_client, "google")
    gmail.faults = Faults(reset="after")
    once = {"ROLLOUT_MAX_POSTS": "1"}
    async with open_sender(redis_server.url, gmail, service=GOOGLE, environment=once) as sender:
        outcome = await sender.outcome(**large())
    assert isinstance(outcome.error, SendUnknownError)
    assert (outcome.code, outcome.posts) == (UNKNOWN, 1)


@pytest.mark.parametrize("status", [500, 503, 404])
async def test_a_session_that_does_not_open_has_sent_nothing(
    redis_server: RedisServer, redis_client: redis.Redis, gmail: GmailSandbox, status: int
) -> None:
    open_flags(redis_client, "google")
    gmail.opening_status = status
    twice = {"ROLLOUT_MAX_POSTS": "2"}
    async with open_sender(redis_server.url, gmail, service=GOOGLE, environment=twice) as sender:
        outcome = await sender.outcome(idempotency_key="k", **large())
        assert outcome.error
        assert outcome.error.not_sent
        gmail.opening_status = 0
        assert (await sender.send(idempotency_key="k", **large())).message_id
    assert (outcome.code, outcome.posts) == (
        "GOOGLE_SENDER_NOT_FOUND" if status == 404 else "GOOGLE_API_UNREACHABLE",
        0,
    )
    assert sum(gmail.copies.values()) == 1


async def test_a_pause_within_an_upload_sends_nothing(
    sender: Sender, gmail: GmailSandbox, redis_client: redis.Redis
) -> None:
    rest_of = gmail._rest_of

    async def pausing(*given: object) -> object:
        redis_client.set(flag_key("google", "paused"), "true")
        await until(lambda: not sender.runtime.gate.check("google", "u1").open)
        return await rest_of(*given)  # type: ignore[arg-type]

    gmail._rest_of = pausing  # type: ignore[method-assign,assignment]
    gmail.faults = Faults(reset="in")
    outcome = await sender.outcome(idempotency_key="k", **large())
    assert (outcome.code, sum(gmail.copies.values())) == ("ACTION_GATED", 0)
    assert redis_client.keys("rollout:idempotency:*") == []


async def test_a_token_that_ends_within_an_upload_is_renewed(sender: Sender, gmail: GmailSandbox) -> None:
    gmail.faults = Faults(status=401, times=1)
    outcome = await sender.outcome(**large())
    assert (outcome.code, outcome.posts, sum(gmail.copies.values())) == ("", 2, 1)
