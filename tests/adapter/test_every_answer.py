"""Every answer of Graph, over real sockets: how many POSTs, which code, which metrics."""

import time
from email.utils import formatdate

import pytest
import redis
from cryptography.fernet import Fernet
from kit.answers import Case
from kit.sending import Sender, open_flags, open_sender
from kit.servers import RedisServer
from kit.waiting import until

from adapter import AuthError, MicrosoftTokenManager, NotLinkedError, SendUnknownError
from adapter.sandbox.faults import Faults
from adapter.sandbox.graph import Sandbox
from controller.contract import flag_key

UNKNOWN = "MS_SEND_UNKNOWN"
THROTTLED = "MS_API_THROTTLED_429"


def refused(name: str, status: int, code: str, source: str, **given: object) -> Case:
    return Case(name, Faults(status=status, **given), 1, code, source)  # type: ignore[arg-type]


FAST = {"ROLLOUT_SEND_DEADLINE_S": "1.2"}
CASES = [
    Case("202", Faults(), 1),
    Case("202 with Retry-After", Faults(status=202, retry_after=30), 1),
    refused("200", 200, UNKNOWN, "provider"),
    refused("204", 204, UNKNOWN, "provider", body="empty"),
    refused("302", 302, UNKNOWN, "provider", body="html"),
    refused("400", 400, "MS_INVALID_REQUEST", "adapter"),
    refused("400 without a code", 400, UNKNOWN, "provider", body="empty"),
    refused("400 of a new kind", 400, UNKNOWN, "provider", error_code="NeverHeardOf"),
    refused("400 after a start", 400, UNKNOWN, "provider", error_code="ErrorTimeoutExpired"),
    refused(
        "400 of a token without a user",
        400,
        "MS_AUTH_APP_ONLY",
        "caller",
        error_code="BadRequest",
        error_message="/me request is only valid with delegated authentication flow.",
    ),
    refused("400 recipients", 400, "INVALID_RECIPIENT", "caller", error_code="ErrorInvalidRecipients"),
    refused("400 half a JSON", 400, UNKNOWN, "provider", body="half"),
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
    refused("404 of a draft", 404, UNKNOWN, "provider", error_code="ErrorItemNotFound"),
    refused("404 HTML", 404, UNKNOWN, "provider", body="html"),
    *(
        refused(str(status), status, UNKNOWN, "provider", body="empty")
        for status in (408, 409, 412, 421, 425, 499)
    ),
    refused("413", 413, "ATTACHMENT_TOO_LARGE", "caller"),
    refused("413 HTML", 413, "ATTACHMENT_TOO_LARGE", "caller", body="html"),
    refused("424", 424, UNKNOWN, "provider", body="empty"),
    Case("429 in seconds, once", Faults(status=429, retry_after=0.05, times=1), 2),
    Case(
        "429 with a date, once",
        Faults(status=429, retry_after=formatdate(time.time() - 5, usegmt=True), times=1),
        2,
    ),
    Case("429 without a time, once", Faults(status=429, times=1), 2),
    Case(
        "429 of a busy server, once",
        Faults(status=429, retry_after=0.05, error_code="ErrorServerBusy", times=1),
        2,
    ),
    Case("429 in 400 digits", Faults(throttle=True, retry_after="9" * 400), 1, THROTTLED, "provider"),
    Case("429 in garbage, once", Faults(status=429, retry_after="-1, soon", times=1), 2),
    Case(
        "429 where that is not believed",
        Faults(status=429, retry_after=0.05, times=1),
        1,
        UNKNOWN,
        "provider",
        {"ROLLOUT_THROTTLED_IS_UNKNOWN": "true"},
    ),
    Case("429 always", Faults(throttle=True, retry_after=0.01), 5, THROTTLED, "provider"),
    Case("429 beyond the deadline", Faults(throttle=True, retry_after=3600), 1, THROTTLED, "provider"),
    refused("429 quota", 429, "MS_QUOTA_EXCEEDED", "caller", error_code="ErrorExceededMessageLimit"),
    refused("500", 500, UNKNOWN, "provider"),
    refused("501", 501, UNKNOWN, "provider"),
    refused("502 HTML", 502, UNKNOWN, "provider", body="html"),
    refused("503", 503, UNKNOWN, "provider", retry_after=1),
    refused("503 throttled", 503, UNKNOWN, "provider", error_code="ApplicationThrottled"),
    refused("504", 504, UNKNOWN, "provider"),
    refused("504 empty", 504, UNKNOWN, "provider", body="empty"),
    refused("507", 507, UNKNOWN, "provider"),
    refused("400 full", 400, "MS_MAILBOX_FULL", "caller", error_code="ErrorQuotaExceeded"),
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


async def test_a_user_who_never_linked_a_mailbox_is_refused_before_the_execution(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client)
    environment = {
        "MS_CLIENT_ID": "app",
        "MS_CLIENT_SECRET": "s3cret",
        "MS_TENANT_ID": "corp.example",
        "MS_REDIRECT_URI": "http://127.0.0.1:8003/oauth/microsoft/callback",
        "ROLLOUT_TOKEN_KEYS": Fernet.generate_key().decode(),
        "ROLLOUT_REDIS_URL": redis_server.url,
    }
    async with (
        MicrosoftTokenManager.from_env(environment, ahead=False) as tokens,
        open_sender(redis_server.url, graph, tokens=tokens) as sender,
    ):
        outcomes = [await sender.outcome(idempotency_key=key) for key in (None, "k", "k")]
    for outcome in outcomes:
        assert isinstance(outcome.error, NotLinkedError)
        assert (outcome.code, outcome.error.source) == ("MS_AUTH_INTERACTION_REQUIRED", "caller")
        assert (outcome.error.not_sent, outcome.posts) == (True, 0)
        assert outcome.moved == {
            "rollout_gate_total{feature=microsoft,outcome=open,reason=in_rollout}": 1.0,
            "structured_error_total{code=MS_AUTH_INTERACTION_REQUIRED,source=caller}": 1.0,
        }


async def test_a_pause_during_a_token_refresh_is_obeyed_by_the_next_post(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client)
    graph.faults = Faults(status=401, times=1)

    class PausesMeanwhile(Renewing):
        async def refresh_access_token(self, user_id: str, *, claims: str | None = None) -> str:
            redis_client.set(flag_key("microsoft", "paused"), "true")
            await until(lambda: not sender.runtime.gate.check("microsoft", user_id))
            return "sandbox-new"

    async with open_sender(redis_server.url, graph, tokens=PausesMeanwhile()) as sender:
        outcome = await sender.outcome(idempotency_key="k")
    assert (outcome.code, outcome.posts) == ("ACTION_GATED", 1)
    assert not [name for name in outcome.moved if name.startswith("action_")]
    assert redis_client.keys("rollout:idempotency:*") == []


async def test_a_token_that_comes_too_late_sends_nothing(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client)

    class Late(Renewing):
        async def get_access_token(self, user_id: str) -> str:
            time.sleep(1.1)  # noqa: ASYNC251 (as when the whole process is stopped)
            return "sandbox-old"

    short = {"ROLLOUT_SEND_DEADLINE_S": "1"}
    async with open_sender(redis_server.url, graph, tokens=Late(), environment=short) as sender:
        outcome = await sender.outcome()
    assert (outcome.code, outcome.posts) == ("MS_AUTH_UNAVAILABLE", 0)


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
