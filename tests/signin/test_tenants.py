"""Several tenants and clouds: who is let in, where each is asked, and that no token of another gets in."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kit.sending import open_flags, open_sender
from kit.servers import RedisServer
from kit.signin import Browser, environment, link_user
from prometheus_client import CollectorRegistry
from redis import Redis

from adapter import Attachment
from adapter.sandbox.entra.directory import Tenant
from adapter.sandbox.graph import Sandbox
from adapter.sandbox.issuer import IssuerFault
from adapter.sandbox.signin import TENANT, SandboxSignIn
from adapter.settings import Settings, SettingsError
from adapter.signin.errors import SignInError
from adapter.signin.handshake import Handshake
from adapter.signin.mailbox_tokens import MailboxTokens
from adapter.signin.microsoft.app_only import AppOnly
from adapter.signin.microsoft.manager import MicrosoftTokenManager
from adapter.signin.microsoft.settings import MicrosoftSettings
from controller.shared.microsoft_cloud import CLOUDS

FABRIKAM = "fab00000-0000-4000-8000-000000000002"
CONTOSO = "c0000000-0000-4000-8000-000000000003"


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[SandboxSignIn]:
    """Run a sign-in server with three tenants."""
    async with SandboxSignIn(tmp_path / "certificates") as server:
        server.issuer.directory.tenants += [
            Tenant(FABRIKAM, ("fabrikam.example",), federated=True),
            Tenant(CONTOSO, ("contoso.example",)),
        ]
        yield server


@pytest.fixture
def env(sandbox: SandboxSignIn, redis_server: RedisServer) -> dict[str, str]:
    """Let two of the three tenants in, one of them by its domain."""
    return {
        **environment(sandbox, redis_server.url),
        "MS_TENANT_ID": "organizations",
        "MS_ALLOWED_TENANTS": f"{TENANT}, fabrikam.example",
        "MS_AUTHORITY": sandbox.base,
    }


async def test_people_of_two_tenants_sign_in_and_are_refreshed_at_their_own(
    browser: Browser, manager: MicrosoftTokenManager, sandbox: SandboxSignIn
) -> None:
    for user, account, tenant in (
        ("user-1", "ann@corp.example", TENANT),
        ("user-2", "bob@fabrikam.example", FABRIKAM),
    ):
        page = await browser.sign_in(await Handshake(manager).link_for(user), account)
        assert page.status_code == 200, page.text
        assert (await manager.status(user)).tenant == tenant
        assert sandbox.issuer.accepts(await manager.refresh_access_token(user))


async def test_a_tenant_that_is_not_listed_is_refused_by_name(
    browser: Browser, manager: MicrosoftTokenManager
) -> None:
    page = await browser.sign_in(await Handshake(manager).link_for("user-3"), "eve@contoso.example")
    assert page.status_code == 400
    assert f"{CONTOSO} (contoso.example), which is not let in" in page.text
    assert "MS_ALLOWED_TENANTS" in page.text
    assert not (await manager.status("user-3")).linked


@pytest.mark.parametrize("fault", [IssuerFault.WRONG_ISSUER, IssuerFault.WRONG_TENANT])
async def test_a_token_whose_issuer_and_tenant_differ_is_refused(
    fault: IssuerFault, browser: Browser, manager: MicrosoftTokenManager, sandbox: SandboxSignIn
) -> None:
    sandbox.issuer.fail(fault)
    page = await browser.sign_in(await Handshake(manager).link_for("user-1"))
    assert "&#x27;iss&#x27; is not the one expected" in page.text
    assert not (await manager.status("user-1")).linked


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"MS_ALLOWED_TENANTS": TENANT}, "MS_ALLOWED_TENANTS"),
        ({"MS_ALLOWED_TENANTS": "contoso.example"}, "MS_ALLOWED_TENANTS"),
        ({"MS_ALLOWED_TENANTS": "", "MS_TENANT_ID": TENANT}, "MS_TENANT_ID"),
    ],
)
async def test_a_tenant_that_is_let_in_no_more_gets_no_token_not_even_the_last(
    changed: dict[str, str], name: str, env: dict[str, str], browser: Browser, manager: MicrosoftTokenManager
) -> None:
    await browser.sign_in(await Handshake(manager).link_for("user-2"), "bob@fabrikam.example")
    assert await manager.get_access_token("user-2")
    fewer = MicrosoftSettings.from_environment({**env, **changed})
    async with MicrosoftTokenManager(fewer, registry=CollectorRegistry()) as later:
        for asked in (later.get_access_token, later.refresh_access_token):
            with pytest.raises(SignInError, match=f"{FABRIKAM}, which is no longer in {name}") as refused:
                await asked("user-2")
            assert refused.value.code == "MS_AUTH_CLIENT_CONFIG"
    assert await manager.get_access_token("user-2")


async def test_a_kept_token_of_a_tenant_that_is_named_by_its_id_needs_no_sign_in_server(
    env: dict[str, str], sandbox: SandboxSignIn, browser: Browser, manager: MicrosoftTokenManager
) -> None:
    await link_user(browser, manager, "user-1")
    token = await manager.get_access_token("user-1")
    away = {"MS_AUTHORITY": "https://127.0.0.1:1", "MS_ALLOWED_TENANTS": TENANT}
    settings = MicrosoftSettings.from_environment({**env, **away})
    async with MicrosoftTokenManager(settings, registry=CollectorRegistry()) as later:
        assert await later.get_access_token("user-1") == token


async def test_tokens_of_one_cloud_never_go_to_another(
    env: dict[str, str], sandbox: SandboxSignIn, browser: Browser, manager: MicrosoftTokenManager
) -> None:
    await link_user(browser, manager, "user-1")
    token = await manager.get_access_token("user-1")
    refreshes = sandbox.issuer.requests["refresh_token"]
    moved = MicrosoftSettings.from_environment({**env, "MS_CLOUD": "usgov"})
    async with MicrosoftTokenManager(moved, registry=CollectorRegistry()) as later:
        for asked in (later.get_access_token, later.refresh_access_token):
            with pytest.raises(SignInError, match="moved here from another user or another MS_CLOUD"):
                await asked("user-1")
        assert sandbox.issuer.requests["refresh_token"] == refreshes
        assert await later.linked_account("user-1") is None
    assert await manager.get_access_token("user-1") == token


async def test_an_account_of_another_tenant_does_not_get_in_at_a_single_one(
    env: dict[str, str], sandbox: SandboxSignIn, pages: list[str], registry: CollectorRegistry
) -> None:
    single = {name: text for name, text in env.items() if name != "MS_ALLOWED_TENANTS"}
    settings = MicrosoftSettings.from_environment({**single, "MS_TENANT_ID": TENANT})
    async with (
        MicrosoftTokenManager(settings, registry=CollectorRegistry()) as manager,
        Browser(manager, sandbox.ca_file, pages) as browser,
    ):
        await link_user(browser, manager, "user-1")
        sandbox.issuer.fail(IssuerFault.OTHER_ORGANISATION)
        with pytest.raises(SignInError, match="is no guest of this one") as refused:
            await manager.refresh_access_token("user-1")
    assert refused.value.code == "MS_AUTH_INTERACTION_REQUIRED"
    assert "AADSTS90072" in refused.value.provider_code


async def test_the_app_gets_a_token_at_the_tenant_of_each_mailbox(
    env: dict[str, str], sandbox: SandboxSignIn, registry: CollectorRegistry
) -> None:
    listed = "*@corp.example, bob@fabrikam.example, eve@contoso.example, zoe@nowhere.example"
    settings = MicrosoftSettings.from_environment({**env, "MS_AUTH_MODE": "app", "MS_APP_MAILBOXES": listed})
    tokens = MailboxTokens(AppOnly(settings), registry=registry)
    ann, bob = [
        await tokens.get_access_token(f"{name}") for name in ("ann@corp.example", "bob@fabrikam.example")
    ]
    assert ann != bob
    assert await tokens.get_access_token("joe@corp.example") == ann
    with pytest.raises(
        SignInError, match=f"contoso.example belongs to tenant {CONTOSO}, which MS_ALLOWED_TENANTS"
    ):
        await tokens.get_access_token("eve@contoso.example")
    with pytest.raises(SignInError, match=r"nowhere.example belongs to no tenant of this cloud"):
        await tokens.get_access_token("zoe@nowhere.example")
    await tokens.aclose()


async def test_a_user_of_mailboxes_in_two_tenants_sends_from_each_with_the_token_of_its_tenant(
    env: dict[str, str], sandbox: SandboxSignIn, registry: CollectorRegistry, redis_client: Redis
) -> None:
    app = {"MS_AUTH_MODE": "app", "MS_APP_MAILBOXES": "svc=ann@corp.example, svc=bob@fabrikam.example"}
    large = {**app, "MS_LARGE_ATTACHMENTS": "true"}
    tokens = MailboxTokens(AppOnly(MicrosoftSettings.from_environment({**env, **app})), registry=registry)
    open_flags(redis_client)
    seen: list[str] = []

    def accepts(token: str) -> bool:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        seen.append(claims["tid"])
        return sandbox.issuer.accepts(token)

    async with (
        Sandbox(token_prefix="", accepts=accepts) as graph,
        open_sender(env["ROLLOUT_REDIS_URL"], graph, tokens=tokens, environment=large) as sender,
    ):
        for size in (1, 5_000_000):
            files = [Attachment("scan.pdf", "application/pdf", b"x" * size)]
            for mailbox, tenant in (("ann@corp.example", TENANT), ("bob@fabrikam.example", FABRIKAM)):
                seen.clear()
                outcome = await sender.outcome(user_id="svc", sender=mailbox, attachments=files)
                assert (outcome.code, graph.messages[-1].mailbox, set(seen)) == ("", mailbox, {tenant})
    await tokens.aclose()


@pytest.mark.parametrize(
    ("domain", "sentence"),
    [
        ("corp.example", f"corp.example: tenant {TENANT} (signs in at Microsoft, microsoftonline.com), may"),
        ("fabrikam.example", f"tenant {FABRIKAM} (signs in at its own server"),
        ("contoso.example", "; not among the tenants that are let in"),
        ("nowhere.example", "nowhere.example: no tenant of Microsoft's, so no mailbox in Exchange Online"),
    ],
)
async def test_the_sign_in_server_tells_whose_a_domain_is(
    domain: str, sentence: str, manager: MicrosoftTokenManager
) -> None:
    told = await manager.organisation(domain)
    assert told
    assert sentence in told.sentence()
    assert told.exchange_online == (domain != "nowhere.example")


@pytest.mark.parametrize("name", [name for name in CLOUDS if name != "global"])
async def test_in_each_cloud_people_sign_in_for_its_own_graph_and_send(
    name: str,
    env: dict[str, str],
    sandbox: SandboxSignIn,
    pages: list[str],
    redis_client: Redis,
    registry: CollectorRegistry,
) -> None:
    sandbox.issuer.graph = CLOUDS[name].graph
    settings = MicrosoftSettings.from_environment({**env, "MS_CLOUD": name})
    open_flags(redis_client)
    async with (
        MicrosoftTokenManager(settings, registry=registry) as manager,
        Browser(manager, sandbox.ca_file, pages) as browser,
        Sandbox(token_prefix="", accepts=sandbox.issuer.accepts) as graph,
        open_sender(
            env["ROLLOUT_REDIS_URL"], graph, tokens=manager, environment={"MS_CLOUD": name}
        ) as sender,
    ):
        await link_user(browser, manager, "user-1")
        assert (await sender.outcome(user_id="user-1")).code == ""
        assert sandbox.issuer.accepts(await manager.refresh_access_token("user-1"))
        scope = (await browser.to_consent(await Handshake(manager).link_for("user-1"))).url.params["scope"]
        assert f"{CLOUDS[name].graph}/Mail.Send" in scope.split()


@pytest.mark.parametrize("cloud", CLOUDS.values(), ids=str)
def test_each_cloud_has_its_own_addresses(cloud: object, env: dict[str, str]) -> None:
    named = {"MS_CLOUD": cloud.name, "MS_AUTHORITY": ""}  # type: ignore[attr-defined]
    settings = MicrosoftSettings.from_environment({**env, **named})
    assert settings.authority_url == f"{cloud.sign_in}/organizations"  # type: ignore[attr-defined]
    urls = Settings.from_environment(named).base_urls
    assert urls.get("microsoft", "https://graph.microsoft.com/v1.0") == f"{cloud.graph}/v1.0"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"MS_CLOUD": "mars"}, "MS_CLOUD = 'mars' is not one of global, usgov, usgovdod, china"),
        (
            {"MS_GRAPH_URL": "https://graph.microsoft.us/v1.0"},
            "belongs to MS_CLOUD=usgov, and MS_CLOUD is global",
        ),
        (
            {"MS_CLOUD": "usgov", "MS_GRAPH_URL": "https://dod-graph.microsoft.us/v1.0"},
            "belongs to MS_CLOUD=usgovdod",
        ),
        ({"MS_CLOUD": "china", "PROVIDER_MICROSOFT_URL": "https://graph.microsoft.com"}, "MS_CLOUD=global"),
    ],
)
def test_a_graph_of_another_cloud_is_refused(given: dict[str, str], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        Settings.from_environment(given)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"MS_ALLOWED_TENANTS": ""}, "MS_TENANT_ID=organizations needs MS_ALLOWED_TENANTS"),
        ({"MS_TENANT_ID": "consumers"}, "MS_TENANT_ID=consumers"),
        ({"MS_TENANT_ID": TENANT}, "MS_ALLOWED_TENANTS is only for"),
        (
            {"MS_AUTH_MODE": "app", "MS_APP_MAILBOXES": f"u=ann@corp.example, v={FABRIKAM}"},
            f"MS_APP_MAILBOXES has {FABRIKAM}, which names no tenant",
        ),
        ({"MS_AUTHORITY": "https://login.microsoftonline.us"}, "belongs to MS_CLOUD=usgov"),
        ({"MS_MANAGED_IDENTITY": "system"}, "are both set: keep one"),
    ],
)
def test_settings_of_tenants_that_contradict_each_other_are_refused(
    given: dict[str, str], why: str, env: dict[str, str]
) -> None:
    with pytest.raises(SettingsError, match=why):
        MicrosoftSettings.from_environment({**env, **given})
