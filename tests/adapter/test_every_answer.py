"""Every answer of Graph, over real sockets: how many POSTs, which code, which metrics."""

from dataclasses import dataclass, field
from email.utils import formatdate
from time import time

import pytest
import redis
from kit.sending import Sender, open_flags, open_sender
from kit.servers import RedisServer

from adapter import AuthError, SendUnknownError
from adapter.sandbox.faults import Faults
from adapter.sandbox.graph import Sandbox

UNKNOWN = "MS_SEND_UNKNOWN"
THROTTLED = "MS_API_THROTTLED_429"


@dataclass(frozen=True)
class Case:
    """One answer and what must follow from it; `source` is empty where the mail was taken."""

    name: str
    faults: Faults
    posts: int
    code: str = ""
    source: str = ""
    environment: dict[str, str] = field(default_factory=dict)


def refused(name: str, status: int, code: str, source: str, **given: object) -> Case:
    return Case(name, Faults(status=status, **given), 1, code, source)  # type: ignore[arg-type]


FAST = {"ROLLOUT_SEND_DEADLINE_S": "1.2"}
CASES = [
    Case("202", Faults(), 1),
    Case("202 with Retry-After", Faults(status=202, retry_after=30), 1),
    refused("200", 200, "MS_UNKNOWN_200", "provider"),
    refused("204", 204, "MS_UNKNOWN_204", "provider", body="empty"),
    refused("302", 302, "MS_UNKNOWN_302", "provider", body="html"),
    refused("400", 400, "MS_INVALID_REQUEST", "adapter"),
    refused("400 without a code", 400, "MS_UNKNOWN_400", "provider", body="empty"),
    refused("400 recipients", 400, "INVALID_RECIPIENT", "caller", error_code="ErrorInvalidRecipients"),
    refused("400 half a JSON", 400, "MS_UNKNOWN_400", "provider", body="half"),
    Case("401", Faults(status=401), 2, "MS_AUTH_INVALID", "auth"),
    Case("401 once", Faults(status=401, times=1), 2),
    refused("403", 403, "MS_AUTH_INSUFFICIENT_PERMS", "auth"),
    refused("403 SendAs", 403, "MS_SEND_AS_DENIED", "caller", error_code="ErrorSendAsDenied"),
    refused("403 blocked", 403, "MS_PROVIDER_POLICY_BLOCKED", "caller", error_code="ErrorMessageBlocked"),
    refused("403 HTML", 403, "MS_AUTH_INSUFFICIENT_PERMS", "auth", body="html"),
    refused("404", 404, "MS_SENDER_NOT_FOUND", "caller"),
    refused(
        "404 no mailbox", 404, "MS_MAILBOX_NOT_ENABLED", "caller", error_code="MailboxNotEnabledForRESTAPI"
    ),
    refused("408", 408, "MS_UNKNOWN_408", "provider", body="empty"),
    refused("413", 413, "ATTACHMENT_TOO_LARGE", "caller"),
    refused("413 HTML", 413, "ATTACHMENT_TOO_LARGE", "caller", body="html"),
    refused("424", 424, "MS_API_FAILED_DEPENDENCY_424", "provider", body="empty"),
    Case("429 in seconds, once", Faults(status=429, retry_after=0.05, times=1), 2),
    Case(
        "429 with a date, once",
        Faults(status=429, retry_after=formatdate(time() - 5, usegmt=True), times=1),
        2,
    ),
    Case("429 without a time, once", Faults(status=429, times=1), 2),
    Case(
        "429 of a busy server, once",
        Faults(status=429, retry_after=0.05, error_code="ErrorServerBusy", times=1),
        2,
    ),
    Case("429 always", Faults(throttle=True, retry_after=0.01), 5, THROTTLED, "provider"),
    Case("429 beyond the deadline", Faults(throttle=True, retry_after=3600), 1, THROTTLED, "provider"),
    refused("429 quota", 429, "MS_QUOTA_EXCEEDED", "caller", error_code="ErrorExceededMessageLimit"),
    refused("500", 500, UNKNOWN, "provider"),
    refused("501", 501, "MS_UNKNOWN_501", "provider"),
    refused("502 HTML", 502, UNKNOWN, "provider", body="html"),
    refused("503", 503, UNKNOWN, "provider", retry_after=1),
    refused("503 throttled", 503, UNKNOWN, "provider", error_code="ApplicationThrottled"),
    refused("504", 504, UNKNOWN, "provider"),
    refused("504 empty", 504, UNKNOWN, "provider", body="empty"),
    refused("507", 507, "MS_MAILBOX_FULL", "caller"),
    refused("507 without a code", 507, "MS_MAILBOX_FULL", "caller", body="empty"),
    Case("reset before the body is read", Faults(reset="before"), 1, UNKNOWN, "provider"),
    Case("reset in the body", Faults(reset="in"), 1, UNKNOWN, "provider"),
    Case("reset after the body", Faults(reset="after"), 1, UNKNOWN, "provider"),
    Case("no answer", Faults(hang=True), 1, UNKNOWN, "provider", FAST),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_an_answer_gives_its_posts_its_code_and_its_metrics(
    case: Case, redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client)
    graph.faults = case.faults
    async with open_sender(redis_server.url, graph, environment=case.environment) as sender:
        outcome = await sender.outcome()
    status = "error" if case.code else "ok"
    expected = {
        "rollout_gate_total{feature=microsoft,outcome=open,reason=in_rollout}": 1.0,
        f"action_exec_total{{status={status}}}": 1.0,
        f"action_latency_seconds_count{{status={status}}}": 1.0,
    }
    if case.code:
        expected[f"structured_error_total{{code={case.code},source={case.source}}}"] = 1.0
    if case.source not in {"", "caller"}:
        expected["action_error_total{}"] = 1.0
    assert (outcome.posts, outcome.code, outcome.moved) == (case.posts, case.code, expected)


async def test_every_code_had_its_counter_before_it_was_needed(sender: Sender) -> None:
    counters = sender.metrics()
    missing = [
        case.name
        for case in CASES
        if case.code and f"structured_error_total{{code={case.code},source={case.source}}}" not in counters
    ]
    assert missing == []


async def test_a_refused_connection_is_tried_again_and_then_told(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client)
    nobody = {"MS_GRAPH_URL": "http://127.0.0.1:1", "ROLLOUT_MAX_POSTS": "2"}
    async with open_sender(redis_server.url, graph, environment=nobody) as sender:
        outcome = await sender.outcome()
    assert outcome.code == "MS_API_UNREACHABLE"
    assert outcome.moved["action_error_total{}"] == 1


async def test_an_error_tells_status_and_request_ids_and_no_token(sender: Sender, graph: Sandbox) -> None:
    graph.faults = Faults(status=504)
    outcome = await sender.outcome()
    error = outcome.error
    assert isinstance(error, SendUnknownError)
    assert (error.status, error.provider, error.source) == (504, "microsoft", "provider")
    assert error.request_id
    assert error.client_request_id
    assert "sandbox-token" not in repr(vars(error)) + str(error)


async def test_a_claims_challenge_reaches_the_token_source(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client)
    tokens = Renewing()
    graph.faults = Faults(status=401, claims="eyJhIjoxfQ==", times=1)
    async with open_sender(redis_server.url, graph, tokens=tokens) as sender:
        outcome = await sender.outcome()
    assert (outcome.code, outcome.posts, tokens.claims) == ("", 2, ['{"a":1}'])


async def test_a_token_source_that_fails_gives_its_code_and_nothing_is_posted(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client)
    async with open_sender(redis_server.url, graph, tokens=NotSignedIn()) as sender:
        outcome = await sender.outcome()
    assert isinstance(outcome.error, AuthError)
    assert (outcome.code, outcome.error.source, outcome.posts) == ("MS_AUTH_EXPIRED", "auth", 0)
    assert "s3cret" not in str(outcome.error)


async def test_without_a_sign_in_configuration_it_says_what_is_missing(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    graph: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("MS_CLIENT_ID", "MS_CLIENT_SECRET", "MS_TENANT_ID", "ROLLOUT_TOKEN_KEYS"):
        monkeypatch.delenv(name, raising=False)
    open_flags(redis_client)
    async with open_sender(redis_server.url, graph) as sender:
        sender.runtime.tokens.clear()
        outcome = await sender.outcome()
    assert (outcome.code, outcome.posts) == ("MS_AUTH_CLIENT_CONFIG", 0)
    assert outcome.moved["action_error_total{}"] == 1
    assert "MS_" in str(outcome.error)


class Renewing:
    """Tokens that Graph takes; notes the claims it was asked to satisfy."""

    def __init__(self) -> None:
        self.claims: list[str | None] = []

    async def get_access_token(self, user_id: str) -> str:
        return "sandbox-old"

    async def refresh_access_token(self, user_id: str, *, claims: str | None = None) -> str:
        self.claims.append(claims)
        return "sandbox-new"


class NotSignedIn(Renewing):
    """No token for anybody, and an error that says too much."""

    async def get_access_token(self, user_id: str) -> str:
        raise TooTalkativeError


class TooTalkativeError(Exception):
    """An error of a foreign token source."""

    code = "MS_AUTH_EXPIRED"

    def __str__(self) -> str:
        return "token s3cret was refused"
