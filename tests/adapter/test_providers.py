"""What every provider must keep to, and that a second one is one file and one line."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from kit.sending import ANN, GOOGLE, MICROSOFT, Service, open_flags, open_sender
from kit.servers import RedisServer
from prometheus_client import CollectorRegistry
from worlds.example_provider import Example

from adapter import ActionDisabledError, ActionGatedError, Runtime, SendUnknownError, Settings, StaticTokens
from adapter.checks.message_checks import check
from adapter.errors import MessageRefusedError, Source
from adapter.message import Attachment, Limits, OutgoingMessage, SendIds
from adapter.providers.gmail import Gmail
from adapter.providers.outlook import Outlook
from adapter.providers.provider import Accepted, Provider, Refused, Reply, RetryAction
from adapter.providers.registry import PROVIDERS
from adapter.sandbox.faults import Faults
from adapter.sandbox.graph import Sandbox
from adapter.sending.actions import Action

IDS = SendIds("id-1", "<m@x>")
MAIL = OutgoingMessage(to=(ANN,), subject="Hi", body_html="<p>Hi</p>")
every_provider = pytest.mark.parametrize(
    "provider", [Outlook(), Gmail(), Example()], ids=lambda provider: provider.name
)


@every_provider
def test_a_provider_knows_the_codes_it_gives(provider: Provider) -> None:
    own = {provider.unknown_code, provider.unreachable_code, provider.auth_code}
    assert own <= provider.codes.keys()
    assert provider.codes[provider.unknown_code].http == 504
    assert all(name == code.name for name, code in provider.codes.items())


@every_provider
def test_every_status_means_something_and_no_5xx_is_tried_again(provider: Provider) -> None:
    for status in range(200, 600):
        outcome = provider.interpret(Reply(status, {}, b""), now=0.0)
        if isinstance(outcome, Accepted):
            assert status < 300
            continue
        assert outcome.code
        assert outcome.detail
        assert status < 500 or outcome.then in {RetryAction.UNKNOWN, RetryAction.FAIL}


@every_provider
def test_an_answer_that_nobody_listed_leaves_the_outcome_unknown(provider: Provider) -> None:
    """Other 2xx, redirects, time-outs of front ends, conflicts, 5xx, and what is no status at all."""
    unlisted = (
        204,
        226,
        302,
        307,
        400,
        402,
        404,
        405,
        408,
        409,
        410,
        412,
        421,
        425,
        499,
        500,
        504,
        507,
        599,
        999,
    )
    for status in unlisted:
        outcome = provider.interpret(Reply(status, {}, b""), now=0.0)
        assert isinstance(outcome, Refused)
        assert (outcome.code, outcome.then) == (provider.unknown_code, RetryAction.UNKNOWN), status


@every_provider
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"error":', b"[]", b"null", b'{"error": 1}', b"\xff" * 99]
)
def test_any_body_is_understood_or_passed_over(provider: Provider, body: bytes) -> None:
    outcome = provider.interpret(Reply(400, {}, body), now=0.0)
    assert isinstance(outcome, Refused)


@every_provider
def test_preparing_is_pure(provider: Provider) -> None:
    checked = check(MAIL, Limits())
    first, second = (provider.prepare(checked, IDS, Limits()) for _ in range(2))
    assert (first.path, dict(first.headers), bytes(first.body)) == (
        second.path,
        dict(second.headers),
        bytes(second.body),
    )
    assert "authorization" not in {name.lower() for name in first.headers}


@every_provider
def test_a_body_over_the_cap_is_refused(provider: Provider) -> None:
    big = OutgoingMessage(to=(ANN,), body_text="Hi", attachments=(Attachment("a", "a/b", b"x" * 5000),))
    with pytest.raises(MessageRefusedError):
        provider.prepare(big, IDS, Limits(max_body_bytes=5000))


every_service = pytest.mark.parametrize("service", [MICROSOFT, GOOGLE], ids=lambda service: service.provider)
BROKEN = [
    Faults(status=500),
    Faults(status=502, body="html"),
    Faults(status=503),
    Faults(status=504, body="empty"),
    Faults(status=400, body="half"),
    Faults(status=409),
    Faults(status=307),
    Faults(reset="before"),
    Faults(reset="in"),
    Faults(reset="after"),
]


@every_service
async def test_every_provider_takes_a_mail_once_and_replays_its_result(
    service: Service, redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    open_flags(redis_client, service.provider)
    async with service.sandbox() as mail, open_sender(redis_server.url, mail, service=service) as sender:
        first, second = [await sender.send(idempotency_key="k") for _ in range(2)]
        assert (mail.posts, second.replayed) == (1, True)
        assert replace(second, replayed=False) == first
        assert mail.messages[0].mail.recipients == (ANN.address,)
        mail.faults = Faults(status=401, times=1)
        outcome = await sender.outcome()
    assert (outcome.code, outcome.posts) == ("", 2)
    assert outcome.moved == {
        service.gate_open: 1.0,
        "action_exec_total{status=ok}": 1.0,
        "action_latency_seconds_count{status=ok}": 1.0,
    }


@every_service
async def test_what_no_provider_can_say_is_unknown_posted_once_and_never_sent_again(
    service: Service, redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """Delivered all the same or not, by a status, a front end or a cut connection."""
    open_flags(redis_client, service.provider)
    async with service.sandbox() as mail, open_sender(redis_server.url, mail, service=service) as sender:
        for number, faults in enumerate(BROKEN):
            mail.faults = replace(faults, delivered_share=1.0)
            mail.copies.clear()
            first = await sender.outcome(idempotency_key=str(number))
            mail.faults = Faults()
            second = await sender.outcome(idempotency_key=str(number))
            assert isinstance(first.error, SendUnknownError), faults
            assert not first.error.not_sent
            assert (first.posts, second.posts, second.code) == (1, 0, first.code), faults
            assert first.moved["action_error_total{}"] == 1.0
            assert sum(mail.copies.values()) <= 1


@every_service
async def test_every_code_of_a_provider_has_its_counter_before_it_is_needed(
    service: Service, redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    open_flags(redis_client, service.provider)
    async with service.sandbox() as mail, open_sender(redis_server.url, mail, service=service) as sender:
        counters = sender.metrics()
    for code in PROVIDERS[service.action].codes.values():
        assert f"structured_error_total{{code={code.name},source={code.source}}}" in counters
    unlinked = PROVIDERS[service.action].auth_code.replace("UNAVAILABLE", "INTERACTION_REQUIRED")
    assert f"structured_error_total{{code={unlinked},source=caller}}" in counters


@pytest.fixture
def example() -> Iterator[Action]:
    """The action of the second provider, on offer during this test alone."""
    PROVIDERS["example.send"] = Example()
    yield Action("example.send", PROVIDERS["example.send"])
    del PROVIDERS["example.send"]


@pytest.fixture
def environment(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox, tmp_path: Path
) -> Mapping[str, str]:
    """A rollout of the example; its feature has the provider's name when none is configured."""
    config = tmp_path / "rollout.toml"
    config.write_text('[features.example]\nprovider = "example"\naction = "example.send"\n')
    open_flags(redis_client, "example")
    return {
        "ROLLOUT_REDIS_URL": redis_server.url,
        "ROLLOUT_CONFIG": str(config),
        "PROVIDER_EXAMPLE_ENABLED": "true",
        "PROVIDER_EXAMPLE_URL": graph.url,
    }


async def test_a_second_provider_has_gate_metrics_errors_and_keys_from_one_line(
    environment: Mapping[str, str], redis_client: redis.Redis, graph: Sandbox, example: Action
) -> None:
    settings, registry = Settings.from_environment(environment), CollectorRegistry()
    tokens = {"example": StaticTokens("sandbox-example")}
    async with Runtime.open(settings, tokens=tokens, registry=registry) as runtime:
        for _ in range(2):
            await example.send([ANN], "Hi", body_text="Hi", user_id="u", idempotency_key="k", runtime=runtime)
        graph.faults = Faults(status=503)
        with pytest.raises(SendUnknownError) as unknown:
            await example.send([ANN], "Hi", body_text="Hi", user_id="u", runtime=runtime)
    labels = {"provider": "example", "action": "example.send"}
    assert (graph.posts, unknown.value.code, unknown.value.source) == (2, "EXAMPLE_UNKNOWN", Source.PROVIDER)
    for status in ("ok", "error"):
        assert registry.get_sample_value("action_exec_total", {**labels, "status": status}) == 1
    assert registry.get_sample_value("action_error_total", labels) == 1
    assert json.loads(graph.messages[0].body)["message"]["body"]["content"] == "Hi"


async def test_a_second_provider_is_gated_as_the_first(
    environment: Mapping[str, str], redis_client: redis.Redis, graph: Sandbox, example: Action
) -> None:
    open_flags(redis_client, "example", rollout_percent="0")
    registry = CollectorRegistry()
    async with Runtime.open(Settings.from_environment(environment), registry=registry) as runtime:
        with pytest.raises(ActionGatedError):
            await example.send([ANN], "Hi", body_text="Hi", user_id="u", runtime=runtime)
    off = {**environment, "PROVIDER_EXAMPLE_ENABLED": "false"}
    async with Runtime.open(Settings.from_environment(off), registry=registry) as runtime:
        with pytest.raises(ActionDisabledError):
            await example.send([ANN], "Hi", body_text="Hi", user_id="u", runtime=runtime)
    assert graph.posts == 0
