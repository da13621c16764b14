"""The demo's users: whatever the providers do, each mail is delivered, and once."""

import io
import json
from functools import partial

import pytest
import redis
from kit.sending import open_flags
from kit.servers import RedisServer
from prometheus_client import CollectorRegistry

from adapter import Runtime, Settings, StaticTokens, gmail_send, outlook_send
from adapter.sandbox import sender
from adapter.sandbox.faults import Faults
from adapter.sandbox.gmail import GmailSandbox
from adapter.sandbox.graph import Sandbox

MAILS = [f"mail-{number}" for number in range(40)]
FAILING = Faults(error_share=0.5, delivered_share=0.5, seed=7)


@pytest.mark.parametrize(
    ("graph_faults", "gmail_faults", "by"),
    [
        (Faults(), Faults(), {"microsoft"}),
        (Faults(status=403), Faults(), {"google"}),
        (FAILING, Faults(), {"microsoft", "google"}),
        (FAILING, FAILING, {"microsoft", "google"}),
    ],
    ids=["nothing fails", "graph refuses", "graph fails", "both fail"],
)
async def test_each_mail_arrives_once_whatever_fails(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    graph_faults: Faults,
    gmail_faults: Faults,
    by: set[str],
) -> None:
    for feature in ("microsoft", "google"):
        open_flags(redis_client, feature)
    monkeypatch.setattr(sender, "_PAUSE_S", 0.01)
    async with Sandbox(faults=graph_faults) as graph, GmailSandbox(faults=gmail_faults) as gmail:
        settings = Settings.from_environment(
            {
                "ROLLOUT_REDIS_URL": redis_server.url,
                "MS_GRAPH_URL": graph.url,
                "GOOGLE_API_URL": gmail.url,
                "PROVIDER_MICROSOFT_ENABLED": "true",
                "PROVIDER_GOOGLE_ENABLED": "true",
            }
        )
        tokens = {name: StaticTokens("sandbox-t") for name in ("microsoft", "google")}
        async with Runtime.open(settings, tokens=tokens, registry=CollectorRegistry()) as runtime:
            for name, send in (("microsoft", outlook_send), ("google", gmail_send)):
                monkeypatch.setitem(sender.PROVIDERS, name, partial(send, runtime=runtime))
            log = io.StringIO()
            post = sender.Post(log, {"microsoft": graph.base, "google": gmail.base})
            for mail in MAILS:
                await post.deliver("ann", mail)
            await post.aclose()
    said = {line["mail"]: line["by"] for line in map(json.loads, log.getvalue().splitlines())}
    assert {mail: graph.subjects[mail] + gmail.subjects[mail] for mail in MAILS} == dict.fromkeys(MAILS, 1)
    assert set(said) == set(MAILS)
    assert set(said.values()) == by
