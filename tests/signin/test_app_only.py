"""An app that signs in for itself: from whose mailboxes it sends, how it proves itself, what goes wrong."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import jwt
import pytest
from click.testing import CliRunner
from kit.certificates import KEY, OTHER, PUBLIC, certificate, pem
from kit.sending import Sender, open_flags, open_sender
from kit.signin import API_TOKEN
from prometheus_client import CollectorRegistry
from redis import Redis
from starlette.applications import Starlette

from adapter import Attachment
from adapter.checks.app_mailboxes import AppMailboxes
from adapter.sandbox.faults import Faults
from adapter.sandbox.graph import Sandbox
from adapter.sandbox.http import Body, Head, SandboxReply, Server
from adapter.sandbox.issuer import IssuerFault
from adapter.sandbox.signin import SandboxSignIn
from adapter.settings import Settings, SettingsError
from adapter.signin.errors import SignInError
from adapter.signin.mailbox_tokens import MailboxTokens
from adapter.signin.microsoft.app_only import AppOnly
from adapter.signin.microsoft.manager import MicrosoftTokenManager
from adapter.signin.microsoft.settings import IDENTITIES_AT, MicrosoftSettings
from adapter.web import service
from controller.cli import rollout
from controller.shared.api_tokens import Tokens

APP = {"MS_AUTH_MODE": "app", "MS_APP_MAILBOXES": "u1=ann@corp.example, u1=info@corp.example, *@corp.example"}


@pytest.fixture
def env(env: dict[str, str]) -> dict[str, str]:
    return {**env, **APP}


def tokens_of(env: dict[str, str], registry: CollectorRegistry, **changed: str) -> MailboxTokens:
    settings = MicrosoftSettings.from_environment({**env, **changed})
    return MailboxTokens(AppOnly(settings), registry=registry)


@asynccontextmanager
async def sending(
    env: dict[str, str], sandbox: SandboxSignIn, registry: CollectorRegistry, redis_client: Redis
) -> AsyncIterator[Sender]:
    """Open a sender whose app signs in at the sandbox."""
    open_flags(redis_client)
    tokens = tokens_of(env, registry)
    listed = {name: env[name] for name in (*APP, "MS_LARGE_ATTACHMENTS") if name in env}
    async with (
        Sandbox(token_prefix="", accepts=sandbox.issuer.accepts) as graph,
        open_sender(env["ROLLOUT_REDIS_URL"], graph, tokens=tokens, environment=listed) as sender,
    ):
        yield sender
    await tokens.aclose()


async def test_mail_goes_out_from_the_users_mailbox_with_one_token_for_all(
    env: dict[str, str], sandbox: SandboxSignIn, registry: CollectorRegistry, redis_client: Redis
) -> None:
    async with sending(env, sandbox, registry, redis_client) as sender:
        for user, asked in (("u1", None), ("u1", "INFO@corp.example"), ("bob@corp.example", None)):
            outcome = await sender.outcome(user_id=user, sender=asked)
            assert outcome.code == ""
        assert [mail.mailbox for mail in sender.graph.messages] == [
            "ann@corp.example",
            "info@corp.example",
            "bob@corp.example",
        ]
    assert sandbox.issuer.requests == {"client_credentials": 1}


@pytest.mark.parametrize(
    ("user", "asked"),
    [
        ("u2", None),
        ("u1", "ceo@corp.example"),
        ("bob@corp.example", "ann@corp.example"),
        ("bob@other.example", None),
        ("*@corp.example", None),
        ("bob@corp.example.evil.example", None),
    ],
)
async def test_nobody_sends_from_a_mailbox_that_is_not_listed_for_them(
    user: str,
    asked: str | None,
    env: dict[str, str],
    sandbox: SandboxSignIn,
    registry: CollectorRegistry,
    redis_client: Redis,
) -> None:
    async with sending(env, sandbox, registry, redis_client) as sender:
        outcome = await sender.outcome(user_id=user, sender=asked)
    assert (outcome.code, outcome.posts) == ("MAILBOX_NOT_ALLOWED", 0)
    assert sandbox.issuer.requests == {}


async def test_a_challenge_of_graph_reaches_the_sign_in_server(
    env: dict[str, str], sandbox: SandboxSignIn, registry: CollectorRegistry, redis_client: Redis
) -> None:
    async with sending(env, sandbox, registry, redis_client) as sender:
        sender.graph.faults = Faults(
            status=401, claims="eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7InZhbHVlIjoiNDIifX19", times=1
        )
        outcome = await sender.outcome(user_id="u1")
    assert (outcome.code, outcome.posts) == ("", 2)
    assert '"42"' in sandbox.issuer.claims_seen[-1]


async def test_a_large_mail_goes_by_a_draft_in_the_same_mailbox(
    env: dict[str, str], sandbox: SandboxSignIn, registry: CollectorRegistry, redis_client: Redis
) -> None:
    large = Attachment("scan.pdf", "application/pdf", b"x" * 5_000_000)
    async with sending({**env, "MS_LARGE_ATTACHMENTS": "true"}, sandbox, registry, redis_client) as sender:
        outcome = await sender.outcome(user_id="u1", attachments=[large])
        assert outcome.code == ""
        assert [mail.mailbox for mail in sender.graph.messages] == ["ann@corp.example"]


Change = Callable[[SandboxSignIn], object]
WRONG: dict[str, tuple[Change, str, str, str]] = {
    "a wrong secret": (
        lambda s: setattr(s.issuer.app, "client_secret", "another"),
        "MS_AUTH_CLIENT_CONFIG",
        "AADSTS7000215",
        "MS_CLIENT_SECRET",
    ),
    "an app of another tenant": (
        lambda s: setattr(s.issuer.app, "client_id", "another"),
        "MS_AUTH_CLIENT_CONFIG",
        "AADSTS700016",
        "MS_CLIENT_ID",
    ),
    "an app that was never let in": (
        lambda s: s.issuer.fail(IssuerFault.NO_SERVICE_PRINCIPAL),
        "MS_AUTH_INSUFFICIENT_PERMS",
        "AADSTS7000229",
        "adminconsent",
    ),
    "no consent": (
        lambda s: s.issuer.fail(IssuerFault.CONSENT_REQUIRED),
        "MS_AUTH_INSUFFICIENT_PERMS",
        "AADSTS65001",
        "adminconsent",
    ),
    "a cloud without this Graph": (
        lambda s: setattr(s.issuer, "graph", "https://graph.microsoft.us"),
        "MS_AUTH_CLIENT_CONFIG",
        "AADSTS500011",
        "MS_CLOUD",
    ),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_wrong_with_the_app_is_named_with_what_to_do(
    name: str,
    env: dict[str, str],
    sandbox: SandboxSignIn,
    registry: CollectorRegistry,
    redis_client: Redis,
) -> None:
    change, code, number, act = WRONG[name]
    change(sandbox)
    async with sending(env, sandbox, registry, redis_client) as sender:
        outcome = await sender.outcome(user_id="u1")
    assert (outcome.code, outcome.posts) == (code, 0)
    assert outcome.error
    assert act in outcome.error.message
    assert number in outcome.error.provider_code
    assert "auth link" not in outcome.error.message


async def test_a_certificate_is_taken_and_another_one_is_named(
    env: dict[str, str], sandbox: SandboxSignIn, registry: CollectorRegistry, tmp_path: Path
) -> None:
    file = tmp_path / "app.pem"
    file.write_text(pem(KEY) + PUBLIC)
    proof = {"MS_CLIENT_SECRET": "", "MS_CLIENT_CERTIFICATE_FILE": str(file)}
    sandbox.issuer.app.certificate = PUBLIC
    tokens = tokens_of(env, registry, **proof)
    assert sandbox.issuer.accepts(await tokens.get_access_token("ann@corp.example"))
    sandbox.issuer.app.certificate = certificate(OTHER)
    with pytest.raises(SignInError, match="certificate is not the one registered") as refused:
        await tokens.refresh_access_token("ann@corp.example")
    assert refused.value.code == "MS_AUTH_CLIENT_CONFIG"
    assert "AADSTS700027" in refused.value.provider_code
    await tokens.aclose()


SIGNED_BY = "a key of the other issuer, of 32 bytes or more"
FEDERATED = {
    "iss": "https://cluster.example",
    "sub": "system:serviceaccount:mail:rollout",
    "aud": IDENTITIES_AT,
}


async def test_a_federated_token_is_read_again_each_time(
    env: dict[str, str], sandbox: SandboxSignIn, registry: CollectorRegistry, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(jwt.encode({**FEDERATED, "sub": "somebody-else"}, SIGNED_BY, algorithm="HS256"))
    sandbox.issuer.app.federated = FEDERATED
    tokens = tokens_of(env, registry, MS_CLIENT_SECRET="", MS_FEDERATED_TOKEN_FILE=str(file))
    with pytest.raises(SignInError, match="no federated credential of the app has the token's subject"):
        await tokens.get_access_token("ann@corp.example")
    file.write_text(jwt.encode(FEDERATED, SIGNED_BY, algorithm="HS256"))
    assert sandbox.issuer.accepts(await tokens.get_access_token("ann@corp.example"))
    file.unlink()
    with pytest.raises(SignInError, match=r"MS_FEDERATED_TOKEN_FILE names .* cannot be read"):
        await tokens.refresh_access_token("ann@corp.example")
    await tokens.aclose()


async def test_the_identity_of_a_machine_in_azure_proves_the_app(
    env: dict[str, str], sandbox: SandboxSignIn, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def metadata(head: Head, body: Body) -> SandboxReply:
        asked.append(head.path)
        if "client_id=stranger" in head.path:
            return SandboxReply(400, {}, b'{"statusCode": 400, "message": "no such identity"}')
        token = jwt.encode(FEDERATED, SIGNED_BY, algorithm="HS256")
        answer = {"access_token": token, "expires_on": str(int(time.time()) + 3600)}
        return SandboxReply(200, {}, json.dumps(answer).encode())

    sandbox.issuer.app.federated = FEDERATED
    async with Server(metadata) as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{server.port}/token")
        monkeypatch.setenv("IDENTITY_HEADER", "the-header")
        tokens = tokens_of(env, registry, MS_CLIENT_SECRET="", MS_MANAGED_IDENTITY="system")
        assert sandbox.issuer.accepts(await tokens.get_access_token("ann@corp.example"))
        assert sandbox.issuer.accepts(await tokens.refresh_access_token("ann@corp.example"))
        assert len(asked) == 1  # the machine's token lives on
        stranger = tokens_of(env, registry, MS_CLIENT_SECRET="", MS_MANAGED_IDENTITY="stranger")
        with pytest.raises(SignInError, match="no identity 'stranger'"):
            await stranger.get_access_token("ann@corp.example")
    gone = tokens_of(env, registry, MS_CLIENT_SECRET="", MS_MANAGED_IDENTITY="system")
    with pytest.raises(SignInError, match="identity cannot be asked for") as away:
        await gone.get_access_token("ann@corp.example")
    assert away.value.code == "MS_AUTH_UNAVAILABLE"
    for one in (tokens, stranger, gone):
        await one.aclose()


async def test_the_last_token_serves_while_a_new_one_cannot_be_had(
    env: dict[str, str], sandbox: SandboxSignIn, registry: CollectorRegistry
) -> None:
    tokens = tokens_of(env, registry)
    sandbox.issuer.expires_in_s = 310
    first = await tokens.get_access_token("ann@corp.example")
    kept = tokens._kept[""]
    object.__setattr__(kept, "issued_at", kept.issued_at - 20)
    object.__setattr__(kept, "expires_at", kept.expires_at - 20)
    sandbox.issuer.fail(IssuerFault.SERVER_ERROR)
    assert await tokens.get_access_token("ann@corp.example") == first
    with pytest.raises(SignInError):
        await tokens.refresh_access_token("ann@corp.example")
    sandbox.issuer.fail(None)
    assert await tokens.get_access_token("ann@corp.example") != first
    await tokens.aclose()


def test_who_would_sign_in_is_told_that_nobody_has_to(env: dict[str, str]) -> None:
    with pytest.raises(SignInError, match="nobody signs in") as refused:
        MicrosoftTokenManager.from_env(env)
    assert refused.value.code == "MS_AUTH_CLIENT_CONFIG"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"MS_APP_MAILBOXES": ""}, "MS_AUTH_MODE=app needs MS_APP_MAILBOXES"),
        ({"MS_APP_MAILBOXES": ","}, "names no mailbox"),
        ({"MS_APP_MAILBOXES": "*"}, "MS_APP_MAILBOXES"),
        ({"MS_APP_MAILBOXES": "*@"}, "MS_APP_MAILBOXES"),
        ({"MS_APP_MAILBOXES": "u1=*@corp.example"}, "MS_APP_MAILBOXES"),
        ({"MS_APP_MAILBOXES": "a@corp.example/../x"}, "MS_APP_MAILBOXES"),
        ({"MS_AUTH_MODE": "delegated"}, "only for MS_AUTH_MODE=app"),
        ({"MS_AUTH_MODE": "daemon"}, "is not one of delegated, app"),
    ],
)
def test_settings_that_do_not_say_who_may_be_sent_for_are_refused(changed: dict[str, str], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        Settings.from_environment({**APP, **changed})


def test_mailboxes_are_compared_in_one_spelling() -> None:
    object_id = "12345678-1234-1234-1234-1234567890AB"
    listed = AppMailboxes.parse(f"u=1=Ann@CORP.example,*@bücher.example, {object_id}")
    assert listed.of("u=1") == "ann@corp.example"
    assert listed.of("Bob@xn--bcher-kva.example") == "bob@xn--bcher-kva.example"
    assert listed.of(object_id) == object_id.lower()
    assert listed.domains == ("corp.example", "xn--bcher-kva.example")
    for mailbox in ("ANN@corp.example", "bob@bücher.example", object_id):
        assert listed.has(mailbox)
    for mailbox in ("bob@corp.example", "u=1", "*@bücher.example", "*@corp.example", "", "@"):
        assert not listed.has(mailbox)


async def test_over_http_and_from_a_shell_a_wrong_secret_is_named_too(
    env: dict[str, str],
    sandbox: SandboxSignIn,
    registry: CollectorRegistry,
    redis_client: Redis,
    tmp_path: Path,
) -> None:
    sandbox.issuer.app.client_secret = "another"
    mail = {"user_id": "u1", "to": [{"address": "bob@corp.example"}], "subject": "Hi", "body_text": "Hi"}
    async with sending(env, sandbox, registry, redis_client) as sender:
        app = Starlette(routes=service.routes(runtime=sender.runtime, caller=Tokens.parse(API_TOKEN).caller))
        bearer = {"Authorization": f"Bearer {API_TOKEN}"}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            answer = await client.post("/actions/outlook.send", json=mail, headers=bearer)
        body = tmp_path / "mail.json"
        body.write_text(json.dumps(mail))
        shell = {**env, "PROVIDER_MICROSOFT_ENABLED": "true", "MS_GRAPH_URL": sender.graph.url}
        arguments = ["send", "--message", str(body)]
        done = await asyncio.to_thread(CliRunner().invoke, rollout, arguments, env=shell)
    told = answer.json()["error"]
    assert (answer.status_code, told["code"]) == (502, "MS_AUTH_CLIENT_CONFIG")
    assert "the client secret is wrong. Set MS_CLIENT_SECRET to a secret's Value" in told["message"]
    assert done.exit_code == 2
    assert "AADSTS7000215" in done.stderr
    assert "Set MS_CLIENT_SECRET" in done.stderr
