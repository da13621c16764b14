"""Signing in with Google: what is Google's own, and that the rest is the mechanism that Microsoft has too."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import redis
from click.testing import CliRunner, Result
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from kit.sending import GOOGLE as GMAIL
from kit.sending import open_flags, open_sender
from kit.servers import RedisServer
from kit.signin import API_TOKEN, Browser, link_user, quick
from kit.signin_processes import ended, start
from prometheus_client import CollectorRegistry

from adapter.commands.auth import auth
from adapter.sandbox.gmail import GmailSandbox
from adapter.sandbox.google_accounts import SandboxGoogle
from adapter.sandbox.google_issuer import MOST_LIVE_TOKENS, TESTING_S
from adapter.sandbox.issuer import IssuerFault
from adapter.settings import SettingsError
from adapter.signin.encryption import TokenCipher
from adapter.signin.errors import SignInError
from adapter.signin.google.accounts import Delegation
from adapter.signin.google.errors import GOOGLE, from_reply
from adapter.signin.google.manager import GoogleTokenManager
from adapter.signin.google.settings import DelegationSettings, GoogleSettings
from adapter.signin.handshake import Handshake, RefusedError
from adapter.signin.mailbox_tokens import MailboxTokens
from adapter.signin.microsoft.errors import MICROSOFT
from adapter.signin.store import TokenKeys, TokenStore

ACCESS, REFRESH = TokenKeys("google").access("user-1"), TokenKeys("google").refresh("user-1")
BEARER = {"Authorization": f"Bearer {API_TOKEN}"}


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[SandboxGoogle]:
    async with SandboxGoogle(tmp_path / "certificates") as server:
        yield server


@pytest.fixture
def env(sandbox: SandboxGoogle, redis_server: RedisServer) -> dict[str, str]:
    keys = {"ROLLOUT_TOKEN_KEYS": Fernet.generate_key().decode(), "WORKER_PROVIDER": "google"}
    return {**sandbox.environment(), "ROLLOUT_REDIS_URL": redis_server.url, **keys}


@pytest.fixture
async def manager(env: dict[str, str], registry: CollectorRegistry) -> AsyncIterator[GoogleTokenManager]:
    settings = quick(GoogleSettings.from_environment(env))
    async with GoogleTokenManager(settings, registry=registry) as made:
        yield made


@pytest.fixture
async def linked(browser: Browser, manager: GoogleTokenManager) -> GoogleTokenManager:
    await link_user(browser, manager, "user-1")
    return manager


async def failed_sign_in(browser: Browser, manager: GoogleTokenManager) -> str:
    page = await browser.sign_in(await Handshake(manager).link_for("user-1"))
    assert page.status_code in {400, 503}
    assert not (await manager.status("user-1")).linked
    return page.text


async def test_a_sign_in_asks_for_offline_access_with_pkce_and_a_consent(
    browser: Browser, manager: GoogleTokenManager
) -> None:
    answer = await browser.confirmed(await Handshake(manager).link_for("user-1", account="ann@corp.example"))
    asked = parse_qs(urlsplit(answer.headers["location"]).query)
    assert asked["access_type"] == ["offline"]
    assert asked["prompt"] == ["consent"]
    assert asked["login_hint"] == ["ann@corp.example"]
    assert (asked["code_challenge_method"], len(asked["code_challenge"][0])) == (["S256"], 43)
    assert asked["scope"] == ["https://www.googleapis.com/auth/gmail.send openid email"]
    assert set(asked) >= {"state", "nonce", "redirect_uri", "client_id"}


async def test_a_link_leads_to_a_mailbox_that_sends(
    browser: Browser,
    linked: GoogleTokenManager,
    sandbox: SandboxGoogle,
    redis_server: RedisServer,
    redis_client: redis.Redis,
) -> None:
    status = await linked.status("user-1")
    assert (status.account, status.tenant) == ("ann@corp.example", "corp.example")
    open_flags(redis_client, "google")
    async with (
        GmailSandbox(token_prefix="", accepts=sandbox.issuer.accepts) as gmail,
        open_sender(redis_server.url, gmail, service=GMAIL, tokens=linked) as sender,
    ):
        assert (await sender.send(user_id="user-1")).message_id
        sandbox.issuer.access_tokens.clear()
        outcome = await sender.outcome(user_id="user-1")
    assert (outcome.code, outcome.posts) == ("", 2)


async def test_a_hundred_callers_with_one_expired_token_make_one_refresh(
    linked: GoogleTokenManager, sandbox: SandboxGoogle, redis_client: redis.Redis
) -> None:
    redis_client.delete(ACCESS)
    sandbox.issuer.latency_s = 0.1
    async with GoogleTokenManager(linked.settings, registry=CollectorRegistry()) as other:
        asked = [one.get_access_token("user-1") for one in (linked, other) for _ in range(50)]
        tokens = await asyncio.gather(*asked)
    assert len(set(tokens)) == 1
    assert sandbox.issuer.requests["refresh_token"] == 1


async def test_a_crash_at_any_point_of_a_refresh_leaves_a_working_refresh_token(
    browser: Browser,
    linked: GoogleTokenManager,
    sandbox: SandboxGoogle,
    env: dict[str, str],
    outputs: list[str],
) -> None:
    sandbox.issuer.rotate = True
    deaths = await ended(await start(env, "crash", "user-1", "8"), outputs)
    assert [death["killed"] for death in deaths] == [True] * 16
    assert {death["after"] for death in deaths} == {"ok"}
    assert {death["asked"] for death in deaths} == {True, False}
    assert sandbox.issuer.accepts(await linked.get_access_token("user-1"))


@pytest.mark.parametrize("rotate", [False, True])
async def test_the_refresh_token_is_kept_unless_a_new_one_comes(
    linked: GoogleTokenManager, sandbox: SandboxGoogle, rotate: bool
) -> None:
    sandbox.issuer.rotate = rotate
    grants = [await linked.store.grant("user-1")]
    for _ in range(2):
        assert sandbox.issuer.accepts(await linked.refresh_access_token("user-1"))
        grants.append(await linked.store.grant("user-1"))
    assert len({grant.refresh_token for grant in grants if grant}) == (3 if rotate else 1)


async def test_revoking_ends_the_tokens_at_google_and_here(
    browser: Browser, linked: GoogleTokenManager, sandbox: SandboxGoogle, redis_client: redis.Redis
) -> None:
    token = await linked.get_access_token("user-1")
    answer = await browser.post(f"{browser.base}/revoke", json={"user_id": "user-1"}, headers=BEARER)
    assert answer.json() == {"user_id": "user-1", "revoked": True, "server_revoked": True}
    assert not sandbox.issuer.accepts(token)
    assert redis_client.keys("oauth:*") == []


async def test_a_revocation_that_google_does_not_answer_forgets_the_tokens_and_says_so(
    linked: GoogleTokenManager, sandbox: SandboxGoogle, redis_client: redis.Redis
) -> None:
    sandbox.issuer.fail(IssuerFault.SERVER_ERROR)
    gone = await linked.revoke_tokens("user-1")
    assert (gone.revoked, gone.server_revoked) == (True, False)
    assert redis_client.keys("oauth:*") == []


async def test_a_token_that_google_revoked_before_counts_as_revoked(
    linked: GoogleTokenManager, sandbox: SandboxGoogle
) -> None:
    sandbox.issuer.revoke_all()
    assert (await linked.revoke_tokens("user-1")).server_revoked


async def test_a_refresh_token_of_an_app_in_testing_ends_after_seven_days(
    browser: Browser, manager: GoogleTokenManager, sandbox: SandboxGoogle
) -> None:
    sandbox.issuer.testing = True
    await link_user(browser, manager, "user-1")
    assert await manager.refresh_access_token("user-1")
    sandbox.issuer.clock = TESTING_S + 1.0
    with pytest.raises(SignInError, match="seven days old") as error:
        await manager.refresh_access_token("user-1")
    assert error.value.code == "GOOGLE_AUTH_EXPIRED"
    assert "--provider google" in error.value.message


async def test_a_hundred_newer_sign_ins_push_out_the_oldest_without_a_word(
    linked: GoogleTokenManager, sandbox: SandboxGoogle
) -> None:
    for _ in range(MOST_LIVE_TOKENS):
        sandbox.issuer._refresh_token_for("ann@corp.example")
    with pytest.raises(SignInError) as error:
        await linked.refresh_access_token("user-1")
    assert error.value.code == "GOOGLE_AUTH_EXPIRED"


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (IssuerFault.NO_REFRESH_TOKEN, "myaccount.google.com/permissions"),
        (IssuerFault.NO_MAIL_SCOPE, "gmail.send was not granted"),
        (IssuerFault.WRONG_ISSUER, "GOOGLE_AUTH_URL"),
        (IssuerFault.WRONG_AUDIENCE, "GOOGLE_CLIENT_ID"),
        (IssuerFault.WRONG_NONCE, "fresh link"),
        (IssuerFault.EXPIRED_ID_TOKEN, "clock"),
        (IssuerFault.NO_ID_TOKEN, "no id_token"),
        (IssuerFault.INVALID_CLIENT, "GOOGLE-OAUTH-SETUP-GUIDE"),
    ],
)
async def test_an_answer_that_is_not_right_links_nothing_and_says_why(
    browser: Browser, manager: GoogleTokenManager, sandbox: SandboxGoogle, fault: IssuerFault, told: str
) -> None:
    sandbox.issuer.fail(fault)
    assert told in await failed_sign_in(browser, manager)


@pytest.mark.parametrize(("account", "linked"), [("ann@corp.example", True), ("eve@gmail.example", False)])
async def test_with_a_hosted_domain_nobody_else_signs_in(
    manager: GoogleTokenManager, sandbox: SandboxGoogle, pages: list[str], account: str, linked: bool
) -> None:
    assert isinstance(manager.settings, GoogleSettings)
    settings = replace(manager.settings, hosted_domain="corp.example")
    async with (
        GoogleTokenManager(settings, registry=CollectorRegistry()) as strict,
        Browser(strict, sandbox.ca_file, pages) as browser,
    ):
        page = await browser.sign_in(await Handshake(strict).link_for("user-1"), account=account)
        assert (page.status_code == 200) is linked
        assert linked or "GOOGLE_HOSTED_DOMAIN" in page.text


async def test_a_domain_that_is_the_hosted_one_no_more_gets_no_token(linked: GoogleTokenManager) -> None:
    assert isinstance(linked.settings, GoogleSettings)
    settings = replace(linked.settings, hosted_domain="other.example")
    async with GoogleTokenManager(settings, registry=CollectorRegistry()) as later:
        with pytest.raises(SignInError, match=r"corp\.example, which is no longer GOOGLE_HOSTED_DOMAIN"):
            await later.get_access_token("user-1")
    assert await linked.get_access_token("user-1")


FAULTS = {
    IssuerFault.INVALID_GRANT: "EXPIRED",
    IssuerFault.INTERACTION_REQUIRED: "INTERACTION_REQUIRED",
    IssuerFault.CONSENT_REQUIRED: "INSUFFICIENT_PERMS",
    IssuerFault.INVALID_CLIENT: "CLIENT_CONFIG",
    IssuerFault.THROTTLED: "UNAVAILABLE",
    IssuerFault.SERVER_ERROR: "UNAVAILABLE",
    IssuerFault.HTML: "UNAVAILABLE",
    IssuerFault.WRONG_AUDIENCE: "CLIENT_CONFIG",
    IssuerFault.NO_MAIL_SCOPE: "INSUFFICIENT_PERMS",
}


async def test_a_fault_at_a_refresh_gives_its_code_and_is_over_when_it_is_over(
    linked: GoogleTokenManager, sandbox: SandboxGoogle, redis_client: redis.Redis, registry: CollectorRegistry
) -> None:
    before = redis_client.get(REFRESH)
    for fault, failure in FAULTS.items():
        redis_client.delete(ACCESS)
        sandbox.issuer.fail(fault)
        with pytest.raises(SignInError) as error:
            await linked.get_access_token("user-1")
        assert (error.value.code, error.value.source) == (f"GOOGLE_AUTH_{failure}", "auth"), fault
        assert redis_client.get(REFRESH) == before
    assert registry.get_sample_value("google_token_refresh_total", {"outcome": "unavailable"}) == 3
    sandbox.issuer.fail(None)
    assert sandbox.issuer.accepts(await linked.get_access_token("user-1"))


async def test_no_token_or_link_opens_as_another_providers(
    linked: GoogleTokenManager, redis_client: redis.Redis, env: dict[str, str]
) -> None:
    moved = str(redis_client.get(REFRESH))
    cipher = TokenCipher(env["ROLLOUT_TOKEN_KEYS"].split(","))
    microsoft = TokenStore(linked.store._redis, cipher, MICROSOFT)
    with pytest.raises(SignInError):
        microsoft.open_grant("user-1", moved)
    link = await Handshake(linked).link_for("user-1")
    other = Handshake(linked)
    other._subject = "microsoft"
    with pytest.raises(RefusedError):
        await other.look_at_link(link)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ({"error": "invalid_grant", "error_subtype": "invalid_rapt"}, "GOOGLE_AUTH_INTERACTION_REQUIRED"),
        ({"error": "access_denied"}, "GOOGLE_AUTH_INTERACTION_REQUIRED"),
        ({"error": "org_internal"}, "GOOGLE_AUTH_INTERACTION_REQUIRED"),
        ({"error": "admin_policy_enforced"}, "GOOGLE_AUTH_INSUFFICIENT_PERMS"),
        ({"error": "redirect_uri_mismatch"}, "GOOGLE_AUTH_CLIENT_CONFIG"),
        ({"error": "something_new"}, "GOOGLE_AUTH_CLIENT_CONFIG"),
        ({"error": ["no", "text"]}, "GOOGLE_AUTH_CLIENT_CONFIG"),
        ({}, "GOOGLE_AUTH_CLIENT_CONFIG"),
    ],
)
def test_an_answer_becomes_its_code(reply: dict[str, object], code: str) -> None:
    assert from_reply(reply).code == code
    told = from_reply({**reply, "error_description": "ann@corp.example 1//SECRET"})
    assert "SECRET" not in f"{told!s} {vars(told)}"


def test_what_is_missing_is_named() -> None:
    keys = {"ROLLOUT_TOKEN_KEYS": Fernet.generate_key().decode()}
    with pytest.raises(SignInError, match=r"GOOGLE_CLIENT_ID.*GOOGLE-OAUTH-SETUP-GUIDE"):
        GoogleTokenManager.from_env(keys)
    with pytest.raises(SettingsError, match="GOOGLE_CLIENT_SECRET"):
        GoogleSettings.from_environment({**keys, "GOOGLE_CLIENT_ID": "a"})
    app = {**keys, "GOOGLE_CLIENT_ID": "a", "GOOGLE_CLIENT_SECRET": "b"}
    with pytest.raises(SettingsError, match="GOOGLE_TOKEN_URL"):
        GoogleSettings.from_environment({**app, "GOOGLE_TOKEN_URL": "http://plain.example/token"})


def service_account(sandbox: SandboxGoogle, email: str = "sender@project.example") -> str:
    """Return the JSON key of a service account that the domain has delegated to."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    sandbox.issuer.service_accounts[email] = public.decode()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return json.dumps({"type": "service_account", "client_email": email, "private_key": private})


async def test_a_service_account_sends_for_every_mailbox_of_its_domain(
    sandbox: SandboxGoogle, env: dict[str, str], tmp_path: Path, registry: CollectorRegistry
) -> None:
    (tmp_path / "key.json").write_text(service_account(sandbox))
    given = {**env, "GOOGLE_SERVICE_ACCOUNT_FILE": str(tmp_path / "key.json")}
    settings = DelegationSettings.from_environment(given)
    assert settings
    tokens = MailboxTokens(Delegation(settings), registry=registry)
    asked = [tokens.get_access_token("ann@corp.example") for _ in range(100)]
    first = set(await asyncio.gather(*asked))
    assert len(first) == 1
    assert await tokens.get_access_token("ann@corp.example") in first
    assert await tokens.get_access_token("bob@corp.example") not in first
    assert await tokens.refresh_access_token("ann@corp.example") not in first
    assert sandbox.issuer.requests["urn:ietf:params:oauth:grant-type:jwt-bearer"] == 3
    for stranger in ("eve@elsewhere.example", "user-1"):
        with pytest.raises(SignInError) as error:
            await tokens.get_access_token(stranger)
        assert (error.value.code, error.value.source) == (GOOGLE.not_linked().code, "caller")
    sandbox.issuer.service_accounts.clear()
    with pytest.raises(SignInError, match="delegated") as error:
        await tokens.refresh_access_token("ann@corp.example")
    assert error.value.code == "GOOGLE_AUTH_INSUFFICIENT_PERMS"
    await tokens.aclose()


async def test_the_command_links_tells_and_revokes_with_google_when_asked(
    browser: Browser, manager: GoogleTokenManager, env: dict[str, str]
) -> None:
    async def ask(*arguments: str) -> Result:
        return await asyncio.to_thread(
            CliRunner().invoke, auth, [*arguments, "--provider", "google"], env=env
        )

    printed = await ask("link", "user-1")
    assert printed.stdout.startswith("http://127.0.0.1:8003/oauth/google/authorize?link="), printed.output
    unlinked = await ask("status", "user-1")
    assert (unlinked.exit_code, "rollout auth link user-1 --provider google" in unlinked.stdout) == (1, True)
    link = parse_qs(urlsplit(printed.stdout.strip()).query)["link"][0]
    assert (await browser.sign_in(link)).status_code == 200
    told = await ask("status", "user-1")
    assert "linked to ann@corp.example in tenant corp.example" in told.stdout
    gone = await ask("revoke", "user-1", "--json")
    assert json.loads(gone.stdout) == {"user_id": "user-1", "revoked": True, "server_revoked": True}


@pytest.mark.parametrize("written", ["{", "[]", "{}", '{"type": "service_account", "client_email": "a"}'])
def test_a_file_that_is_no_service_accounts_key_is_refused_without_its_content(written: str) -> None:
    with pytest.raises(SettingsError, match="GOOGLE_SERVICE_ACCOUNT") as refusal:
        DelegationSettings.from_environment({"GOOGLE_SERVICE_ACCOUNT": written})
    assert written not in str(refusal.value) or len(written) < 3
