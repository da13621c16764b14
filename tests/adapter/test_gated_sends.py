"""A send that the rollout does not let in: which error, which counts, and never a POST."""

import asyncio
import json
from typing import Any

import pytest
import redis
from kit.sending import ANN, Sender, open_flags, open_sender
from kit.servers import RedisServer
from kit.waiting import until
from prometheus_client import CollectorRegistry

from adapter import ActionDisabledError, ActionGatedError, EmailAddress, Runtime, Settings, outlook_send
from adapter.sandbox.faults import Faults
from adapter.sandbox.graph import Sandbox
from adapter.sending.mailer import NoticeMailer
from controller.contract import flag_key, live_key

DISABLED, GATED = ActionDisabledError, ActionGatedError
OUTSIDER = EmailAddress("x@evil-corp.example")


@pytest.mark.parametrize(
    ("flags", "kind", "code", "reason"),
    [
        ({"enabled": "false"}, DISABLED, "ACTION_DISABLED", "disabled"),
        ({"paused": "true"}, GATED, "ACTION_GATED", "paused"),
        ({"rollout_percent": "0"}, GATED, "ACTION_GATED", "not_in_rollout"),
        ({"rollout_percent": "1e1"}, GATED, "ACTION_GATED", "unreadable"),
        ({"internal_only": "true"}, DISABLED, "ACTION_DISABLED", "external_recipient"),
    ],
)
async def test_a_closed_gate_is_told_and_counted_once(
    flags: dict[str, str],
    kind: type[ActionDisabledError | ActionGatedError],
    code: str,
    reason: str,
    redis_server: RedisServer,
    redis_client: redis.Redis,
    graph: Sandbox,
) -> None:
    open_flags(redis_client, **flags)
    async with open_sender(redis_server.url, graph) as sender:
        outcome = await sender.outcome()
    assert isinstance(outcome.error, kind)
    assert (outcome.code, outcome.error.reason, outcome.posts) == (code, reason, 0)
    assert outcome.moved == {
        f"rollout_gate_total{{feature=microsoft,outcome=closed,reason={reason}}}": 1.0,
        f"structured_error_total{{code={code},source=adapter}}": 1.0,
    }


async def test_the_providers_own_switch_comes_first(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client, enabled="false")
    off = {"PROVIDER_MICROSOFT_ENABLED": "false"}
    async with open_sender(redis_server.url, graph, environment=off) as sender:
        outcome = await sender.outcome()
    assert isinstance(outcome.error, ActionDisabledError)
    assert outcome.error.reason == "provider_disabled"


@pytest.mark.parametrize("place", ["to", "cc", "bcc"])
async def test_one_outsider_anywhere_keeps_an_internal_mail_inside(
    place: str, redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client, internal_only="true")
    inside = {"INTERNAL_DOMAINS": "corp.example"}
    async with open_sender(redis_server.url, graph, environment=inside) as sender:
        allowed = await sender.outcome(cc=[EmailAddress("bob@CORP.example")])
        denied = await sender.outcome(**{place: [ANN, OUTSIDER]})
    assert (allowed.code, denied.code, denied.posts) == ("", "ACTION_DISABLED", 0)


async def test_the_gate_comes_before_the_checks(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client, paused="true")
    async with open_sender(redis_server.url, graph) as sender:
        assert (await sender.outcome(subject="a\r\nb")).code == "ACTION_GATED"


async def test_an_invalid_mail_is_no_execution(sender: Sender) -> None:
    outcome = await sender.outcome(subject="a\r\nb")
    assert outcome.moved == {
        "rollout_gate_total{feature=microsoft,outcome=open,reason=in_rollout}": 1.0,
        "structured_error_total{code=INVALID_HEADER,source=caller}": 1.0,
    }


async def test_a_pause_stops_sends_that_wait_for_their_turn(
    sender: Sender, graph: Sandbox, redis_client: redis.Redis
) -> None:
    """They were let in before the pause; they are asked about again before they leave."""
    graph.faults = Faults(latency_s=2.0)
    waiting = [asyncio.create_task(sender.outcome()) for _ in range(8)]
    await until(lambda: graph.posts == 4)
    redis_client.set(flag_key("microsoft", "paused"), "true")
    outcomes = await asyncio.gather(*waiting)
    assert graph.posts == 4
    assert sorted(outcome.code for outcome in outcomes) == [""] * 4 + ["ACTION_GATED"] * 4
    counts = sender.metrics()
    assert counts["rollout_gate_total{feature=microsoft,outcome=closed,reason=paused}"] == 4
    assert counts["action_exec_total{status=error}"] == 0


async def test_a_pause_ends_the_retries_of_a_throttled_send(
    sender: Sender, graph: Sandbox, redis_client: redis.Redis
) -> None:
    graph.faults = Faults(throttle=True, retry_after=1.5)
    task = asyncio.create_task(sender.outcome())
    await graph.arrived.wait()
    redis_client.set(flag_key("microsoft", "paused"), "true")
    outcome = await task
    assert (outcome.code, graph.posts) == ("ACTION_GATED", 1)
    assert not [name for name in outcome.moved if name.startswith("action_")], "a denial is no execution"


async def test_without_redis_nobody_is_in(sender: Sender, redis_server: RedisServer) -> None:
    redis_server.kill()
    await until(lambda: sender.runtime.gate.check("microsoft", "u1").reason == "stale")
    outcome = await sender.outcome()
    assert isinstance(outcome.error, ActionGatedError)
    assert outcome.error.reason == "stale"


async def test_no_set_up_call_is_needed(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    graph: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_flags(redis_client)
    environment = {
        "ROLLOUT_REDIS_URL": redis_server.url,
        "MS_GRAPH_URL": graph.url,
        "PROVIDER_MICROSOFT_ENABLED": "true",
        "INTEGRATION_TESTS_ENABLED": "true",
        "MS_INTEGRATION_TOKEN": "sandbox-environment",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    results = await asyncio.gather(
        *(outlook_send([ANN], "Hi", body_text="Hi", user_id=f"u{n}") for n in range(5))
    )
    assert all(result.success for result in results)
    assert {received.mailbox for received in graph.messages} == {"sandbox-environment"}


async def test_notices_to_several_receivers_at_once_open_one_runtime(
    redis_server: RedisServer, graph: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {
        "ROLLOUT_REDIS_URL": redis_server.url,
        "MS_GRAPH_URL": graph.url,
        "PROVIDER_MICROSOFT_ENABLED": "true",
        "INTEGRATION_TESTS_ENABLED": "true",
        "MS_INTEGRATION_TOKEN": "sandbox-notices",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    opened, start, mailer = [], Runtime.start, NoticeMailer()

    async def noted(**given: Any) -> Runtime:
        await asyncio.sleep(0.01)  # as when msal is loaded in a thread
        opened.append(await start(**given))
        return opened[-1]

    monkeypatch.setattr(Runtime, "start", noted)
    await asyncio.gather(*(mailer("u", ["ann@corp.example"], "Hi", "Hi", f"k{n}") for n in range(3)))
    for runtime in opened:
        await runtime.aclose()
    assert (len(opened), graph.posts) == (1, 3)


async def test_the_recipients_that_the_gate_sees_are_those_of_the_mail(
    sender: Sender, graph: Sandbox
) -> None:
    """Whatever they come in, even what can be gone through only once."""
    people = [EmailAddress(f"{name}@corp.example") for name in ("to", "cc", "bcc")]
    await sender.send(to=iter(people[:1]), cc=iter(people[1:2]), bcc=iter(people[2:]))
    assert graph.messages[-1].mail.recipients == tuple(person.address for person in people)


async def test_the_gauges_tell_which_flags_are_obeyed(sender: Sender) -> None:
    assert sender.registry.get_sample_value("rollout_gate_percent", {"feature": "microsoft"}) == 100
    assert sender.registry.get_sample_value("rollout_gate_revision", {"feature": "microsoft"}) == 0


async def test_the_use_of_the_integration_token_is_said_in_the_log(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    graph: Sandbox,
    caplog: pytest.LogCaptureFixture,
) -> None:
    open_flags(redis_client)
    token = {"INTEGRATION_TESTS_ENABLED": "true", "MS_INTEGRATION_TOKEN": "sandbox-s3cret"}
    settings = Settings.from_environment(
        token | {"ROLLOUT_REDIS_URL": redis_server.url, "MS_GRAPH_URL": graph.url}
    )
    async with Runtime.open(settings, registry=CollectorRegistry()):
        pass
    assert "MS_INTEGRATION_TOKEN" in caplog.text
    assert "s3cret" not in caplog.text


async def test_executions_alone_are_counted_live_and_failures_by_the_mailbox_that_sends(
    sender: Sender, graph: Sandbox, redis_client: redis.Redis
) -> None:
    """Refused mails are no executions; a recipient that the provider refuses is no failure of the feature."""
    await sender.outcome(subject="a\r\nb")
    await sender.outcome()
    graph.faults = Faults(status=400, error_code="ErrorInvalidRecipients")
    await sender.outcome()
    graph.faults = Faults(status=503)
    for user_id in ("u1", "u2"):
        await sender.outcome(user_id=user_id)
    await sender.outcome(user_id="u3", sender="shared@corp.example")
    await sender.outcome(user_id="u4", sender="shared@corp.example")
    await until(lambda: _live(redis_client).get("sends") == 6)
    latest = _live(redis_client)
    assert (latest["errors"], latest["slow"]) == (4, 0)
    assert 3 <= latest["failed_mailboxes"] <= 4, "a mailbox counts again where a second begins between"


def _live(client: redis.Redis) -> dict[str, Any]:
    values: list[Any] = client.hvals(live_key("microsoft"))
    return json.loads(values[0]) if values else {}
