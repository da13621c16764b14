"""Refreshing: one at a time, never losing a token, each fault by its name, healed as soon as it is over."""

import asyncio
from dataclasses import replace

import pytest
import redis
from kit.servers import Proxy, RedisServer
from kit.signin import Browser, link_user
from kit.waiting import until
from prometheus_client import CollectorRegistry

from adapter.sandbox.entra.refusal import CLAIMS_CHALLENGE
from adapter.sandbox.issuer import IssuerFault
from adapter.sandbox.signin import SandboxSignIn
from adapter.signin.errors import SignInError
from adapter.signin.microsoft.errors import MICROSOFT
from adapter.signin.microsoft.manager import MicrosoftTokenManager
from adapter.signin.microsoft.settings import MicrosoftSettings
from adapter.signin.store import RefreshClaim, TokenKeys

ACCESS = "oauth:microsoft:access_token:user-1"
REFRESH = "oauth:microsoft:refresh_token:user-1"
LOCK = "oauth:microsoft:lock:user-1"


@pytest.fixture
async def linked(browser: Browser, manager: MicrosoftTokenManager) -> MicrosoftTokenManager:
    """Return a manager with a user who is linked."""
    await link_user(browser, manager, "user-1")
    return manager


def refreshes(sandbox: SandboxSignIn) -> int:
    return sandbox.issuer.requests["refresh_token"]


async def test_a_kept_token_costs_no_request(linked: MicrosoftTokenManager, sandbox: SandboxSignIn) -> None:
    tokens = {await linked.get_access_token("user-1") for _ in range(10)}
    assert len(tokens) == 1
    assert refreshes(sandbox) == 0


async def test_an_expired_token_is_refreshed_and_the_refresh_token_rotates(
    linked: MicrosoftTokenManager, sandbox: SandboxSignIn, redis_client: redis.Redis
) -> None:
    before = redis_client.get(REFRESH)
    redis_client.delete(ACCESS)
    assert sandbox.issuer.accepts(await linked.get_access_token("user-1"))
    assert redis_client.get(REFRESH) != before
    assert redis_client.exists(LOCK) == 0


async def test_a_server_that_does_not_rotate_keeps_the_old_refresh_token(
    linked: MicrosoftTokenManager, sandbox: SandboxSignIn
) -> None:
    sandbox.issuer.rotate = False
    first = await linked.refresh_access_token("user-1")
    assert await linked.refresh_access_token("user-1") != first


async def test_the_way_to_the_sign_in_server_is_prepared_before_the_first_refresh(
    linked: MicrosoftTokenManager, sandbox: SandboxSignIn
) -> None:
    before = sandbox.discoveries
    async with MicrosoftTokenManager(linked.settings, registry=CollectorRegistry()) as fresh:
        await until(lambda: fresh._made and vars(fresh._made)["_authority"]._http._discovered)
        for _ in range(3):
            await fresh.refresh_access_token("user-1")
    assert sandbox.discoveries == before + 1


async def test_who_only_looks_asks_the_sign_in_server_nothing(
    linked: MicrosoftTokenManager, env: dict[str, str], sandbox: SandboxSignIn
) -> None:
    before = sandbox.discoveries
    async with MicrosoftTokenManager.from_env(env, ahead=False) as idle:
        assert (await idle.status("user-1")).linked
        assert (await idle.revoke_tokens("user-1")).revoked
    assert sandbox.discoveries == before


@pytest.mark.parametrize("waited_s", [0.0, 0.01, 0.04, 0.1, 0.3, 1.0, 20.0])
def test_who_waits_looks_again_soon_and_seldom_enough(env: dict[str, str], waited_s: float) -> None:
    pause_s = MicrosoftSettings.from_environment(env).poll_after_s(waited_s)
    assert 0.005 <= pause_s <= 0.05
    assert pause_s <= max(0.005, waited_s / 8)


async def test_a_hundred_callers_of_one_process_make_one_request(
    linked: MicrosoftTokenManager, sandbox: SandboxSignIn, redis_client: redis.Redis
) -> None:
    redis_client.delete(ACCESS)
    sandbox.issuer.latency_s = 0.1
    tokens = await asyncio.gather(*(linked.get_access_token("user-1") for _ in range(100)))
    assert len(set(tokens)) == 1
    assert refreshes(sandbox) == 1


async def test_callers_who_were_all_refused_the_same_token_make_one_request(
    linked: MicrosoftTokenManager, sandbox: SandboxSignIn, redis_client: redis.Redis
) -> None:
    redis_client.set(LOCK, "holds them all back", px=60_000)
    async with MicrosoftTokenManager(linked.settings, registry=CollectorRegistry()) as other:
        both = [manager.refresh_access_token("user-1") for manager in (linked, other) for _ in range(10)]
        asked = asyncio.gather(*both)
        await until(lambda: linked._flights and other._flights)
        await asyncio.sleep(0.3)
        redis_client.delete(LOCK)
        tokens = await asked
    assert len(set(tokens)) == 1
    assert refreshes(sandbox) == 1


async def test_users_do_not_wait_for_each_other(
    browser: Browser, linked: MicrosoftTokenManager, sandbox: SandboxSignIn
) -> None:
    await link_user(browser, linked, "user-2")
    sandbox.issuer.latency_s = 0.1
    one, two = await asyncio.gather(*(linked.refresh_access_token(u) for u in ("user-1", "user-2")))
    assert one != two
    assert refreshes(sandbox) == 2


async def test_a_caller_who_gives_up_does_not_end_the_refresh(
    linked: MicrosoftTokenManager, sandbox: SandboxSignIn, redis_client: redis.Redis
) -> None:
    redis_client.delete(ACCESS)
    sandbox.issuer.latency_s = 0.2
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(linked.get_access_token("user-1"), 0.05)
    assert await linked.get_access_token("user-1")
    assert refreshes(sandbox) == 1


async def test_the_lock_of_a_dead_process_is_waited_for(
    linked: MicrosoftTokenManager, redis_client: redis.Redis
) -> None:
    redis_client.delete(ACCESS)
    redis_client.set(LOCK, "a process that died", px=500)
    assert await linked.get_access_token("user-1")


async def test_a_lock_is_given_back_even_by_who_never_heard_that_he_has_it(
    linked: MicrosoftTokenManager, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = linked.store.claim

    async def unheard(user_id: str, owner: str, ttl_s: float, known: str, *, any_new: bool) -> RefreshClaim:
        await claim(user_id, owner, ttl_s, known, any_new=any_new)
        assert redis_client.get(LOCK) == owner
        raise MICROSOFT.unavailable("The answer was lost")

    monkeypatch.setattr(linked.store, "claim", unheard)
    with pytest.raises(SignInError, match="The answer was lost"):
        await linked.refresh_access_token("user-1")
    assert redis_client.get(LOCK) is None


async def test_a_lock_that_never_ends_gives_up_at_the_deadline(
    linked: MicrosoftTokenManager, redis_client: redis.Redis, sandbox: SandboxSignIn
) -> None:
    redis_client.delete(ACCESS)
    redis_client.set(LOCK, "somebody")
    settings = replace(linked.settings, wait_s=0.3)
    async with MicrosoftTokenManager(settings, registry=CollectorRegistry()) as impatient:
        with pytest.raises(SignInError) as error:
            await impatient.get_access_token("user-1")
    assert error.value.code == "MS_AUTH_UNAVAILABLE"
    assert redis_client.get(LOCK) == "somebody"
    assert refreshes(sandbox) == 0


async def test_a_lock_lost_during_a_slow_refresh_stays_with_its_new_owner(
    linked: MicrosoftTokenManager, sandbox: SandboxSignIn, redis_client: redis.Redis
) -> None:
    sandbox.issuer.latency_s = 0.2
    slow = asyncio.create_task(linked.refresh_access_token("user-1"))
    await asyncio.sleep(0.1)
    redis_client.set(LOCK, "another", px=60_000)
    await slow
    assert redis_client.get(LOCK) == "another"


async def test_a_token_about_to_expire_bridges_a_failure_and_a_fresh_one_is_preferred(
    linked: MicrosoftTokenManager, sandbox: SandboxSignIn, redis_client: redis.Redis
) -> None:
    sandbox.issuer.expires_in_s = 301
    short = await linked.refresh_access_token("user-1")
    await asyncio.sleep(1.1)
    assert redis_client.exists(ACCESS) == 0
    sandbox.issuer.fail(IssuerFault.SERVER_ERROR)
    assert await linked.get_access_token("user-1") == short
    sandbox.issuer.fail(None)
    assert await linked.get_access_token("user-1") != short


FAULTS = {
    IssuerFault.INVALID_GRANT: "MS_AUTH_EXPIRED",
    IssuerFault.INTERACTION_REQUIRED: "MS_AUTH_INTERACTION_REQUIRED",
    IssuerFault.CONSENT_REQUIRED: "MS_AUTH_INTERACTION_REQUIRED",
    IssuerFault.INVALID_CLIENT: "MS_AUTH_CLIENT_CONFIG",
    IssuerFault.THROTTLED: "MS_AUTH_UNAVAILABLE",
    IssuerFault.SERVER_ERROR: "MS_AUTH_UNAVAILABLE",
    IssuerFault.HTML: "MS_AUTH_UNAVAILABLE",
    IssuerFault.SLOW: "MS_AUTH_UNAVAILABLE",
    IssuerFault.WRONG_ISSUER: "MS_AUTH_CLIENT_CONFIG",
    IssuerFault.WRONG_AUDIENCE: "MS_AUTH_CLIENT_CONFIG",
    IssuerFault.WRONG_TENANT: "MS_AUTH_CLIENT_CONFIG",
    IssuerFault.NO_MAIL_SCOPE: "MS_AUTH_INSUFFICIENT_PERMS",
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_at_a_refresh_gives_its_code_changes_nothing_and_is_over_when_it_is_over(
    linked: MicrosoftTokenManager,
    sandbox: SandboxSignIn,
    redis_client: redis.Redis,
    registry: CollectorRegistry,
    fault: IssuerFault,
) -> None:
    before = redis_client.get(REFRESH)
    redis_client.delete(ACCESS)
    sandbox.issuer.fail(fault)
    for _ in range(2):
        with pytest.raises(SignInError) as error:
            await linked.get_access_token("user-1")
        assert error.value.code == FAULTS[fault]
        assert error.value.source == "auth"
    assert redis_client.get(REFRESH) == before
    assert set(redis_client.keys("*")) - {TokenKeys("microsoft").claims("user-1")} == {REFRESH}
    outcome = FAULTS[fault].removeprefix("MS_AUTH_").lower()
    assert registry.get_sample_value("ms_token_refresh_total", {"outcome": outcome}) == 2
    sandbox.issuer.fail(None)
    assert sandbox.issuer.accepts(await linked.get_access_token("user-1"))


async def test_throttling_tells_how_long_to_wait(
    linked: MicrosoftTokenManager, sandbox: SandboxSignIn
) -> None:
    sandbox.issuer.fail(IssuerFault.THROTTLED)
    with pytest.raises(SignInError) as error:
        await linked.refresh_access_token("user-1")
    assert error.value.retry_after_s == 3


async def test_an_interaction_hands_its_claims_on(
    linked: MicrosoftTokenManager, sandbox: SandboxSignIn
) -> None:
    sandbox.issuer.fail(IssuerFault.INTERACTION_REQUIRED)
    with pytest.raises(SignInError) as error:
        await linked.refresh_access_token("user-1")
    assert error.value.claims == CLAIMS_CHALLENGE
    assert await linked.store.claims("user-1") == CLAIMS_CHALLENGE


async def test_claims_of_a_challenge_reach_the_server_with_what_we_understand(
    linked: MicrosoftTokenManager, sandbox: SandboxSignIn
) -> None:
    await linked.refresh_access_token("user-1", claims='{"access_token":{"nbf":{"essential":true}}}')
    assert "nbf" in sandbox.issuer.claims_seen[-1]
    assert "CP1" in sandbox.issuer.claims_seen[-1]


async def test_a_user_who_never_signed_in_is_told_how(
    manager: MicrosoftTokenManager, sandbox: SandboxSignIn
) -> None:
    with pytest.raises(SignInError, match="rollout auth link") as error:
        await manager.get_access_token("nobody")
    assert error.value.code == "MS_AUTH_INTERACTION_REQUIRED"
    assert refreshes(sandbox) == 0


@pytest.mark.parametrize("user_id", ["", "a\nb", "x" * 257, "nul\0"])
async def test_a_user_id_that_cannot_be_a_key_is_refused(
    manager: MicrosoftTokenManager, sandbox: SandboxSignIn, user_id: str
) -> None:
    with pytest.raises(SignInError):
        await manager.get_access_token(user_id)


async def test_a_revocation_during_a_refresh_wins(
    linked: MicrosoftTokenManager, sandbox: SandboxSignIn, redis_client: redis.Redis
) -> None:
    sandbox.issuer.latency_s = 0.2
    refresh = asyncio.create_task(linked.refresh_access_token("user-1"))
    await asyncio.sleep(0.1)
    assert (await linked.revoke_tokens("user-1")).revoked
    with pytest.raises(SignInError) as error:
        await refresh
    assert error.value.code == "MS_AUTH_EXPIRED"
    assert redis_client.keys("*") == []


async def test_a_new_sign_in_during_a_refresh_wins(
    browser: Browser, linked: MicrosoftTokenManager, sandbox: SandboxSignIn, redis_client: redis.Redis
) -> None:
    sandbox.issuer.latency_s = 0.2
    refresh = asyncio.create_task(linked.refresh_access_token("user-1"))
    await asyncio.sleep(0.1)
    sandbox.issuer.latency_s = 0.0
    await link_user(browser, linked, "user-1")
    kept = redis_client.get(REFRESH)
    await refresh
    assert redis_client.get(REFRESH) == kept


async def test_revoking_twice_is_no_error(linked: MicrosoftTokenManager) -> None:
    assert (await linked.revoke_tokens("user-1")).revoked
    again = await linked.revoke_tokens("user-1")
    assert not again.revoked
    assert not again.server_revoked


async def test_keys_rotate_by_adding_one_in_front(
    linked: MicrosoftTokenManager, env: dict[str, str], redis_client: redis.Redis
) -> None:
    old = env["ROLLOUT_TOKEN_KEYS"]
    new = "bmV3LWtleS1uZXcta2V5LW5ldy1rZXktbmV3LWtleS0="
    for keys in (f"{new},{old}", new):
        settings = replace(linked.settings, token_keys=tuple(keys.split(",")))
        async with MicrosoftTokenManager(settings, registry=CollectorRegistry()) as rotated:
            redis_client.delete(ACCESS)
            assert await rotated.get_access_token("user-1")
    redis_client.delete(ACCESS)
    with pytest.raises(SignInError, match="ROLLOUT_TOKEN_KEYS") as error:
        await linked.get_access_token("user-1")
    assert error.value.code == "MS_AUTH_CLIENT_CONFIG"


async def test_tokens_moved_to_another_user_s_keys_are_not_taken(
    linked: MicrosoftTokenManager, redis_client: redis.Redis
) -> None:
    redis_client.rename(ACCESS, "oauth:microsoft:access_token:user-2")
    redis_client.rename(REFRESH, "oauth:microsoft:refresh_token:user-2")
    with pytest.raises(SignInError):
        await linked.get_access_token("user-2")


async def test_an_environment_with_another_ca_bundle_does_not_decide_whom_we_trust(
    linked: MicrosoftTokenManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "/etc/ssl/certs/ca-certificates.crt")
    async with MicrosoftTokenManager(linked.settings, registry=CollectorRegistry()) as fresh:
        assert await fresh.refresh_access_token("user-1")


async def test_an_untrusted_certificate_is_a_setting_to_mend(
    linked: MicrosoftTokenManager,
) -> None:
    settings = replace(linked.settings, ca_file="")
    async with MicrosoftTokenManager(settings, registry=CollectorRegistry()) as fresh:
        with pytest.raises(SignInError, match="MS_CA_FILE") as error:
            await fresh.refresh_access_token("user-1")
    assert error.value.code == "MS_AUTH_CLIENT_CONFIG"


@pytest.fixture
async def behind_proxy(
    linked: MicrosoftTokenManager, redis_proxy: Proxy, registry: CollectorRegistry
) -> MicrosoftTokenManager:
    settings = replace(linked.settings, redis_url=redis_proxy.redis_url)
    return MicrosoftTokenManager(settings, registry=CollectorRegistry())


async def test_redis_lost_during_a_refresh_is_named_and_the_old_token_still_works(
    behind_proxy: MicrosoftTokenManager, redis_proxy: Proxy, sandbox: SandboxSignIn, redis_client: redis.Redis
) -> None:
    redis_client.delete(ACCESS)
    sandbox.issuer.latency_s = 0.2
    async with behind_proxy as manager:
        asked = asyncio.create_task(manager.get_access_token("user-1"))
        await until(lambda: refreshes(sandbox))
        redis_proxy.refuse()
        with pytest.raises(SignInError) as error:
            await asked
        assert error.value.code == "MS_AUTH_UNAVAILABLE"
        redis_proxy.heal()
        assert sandbox.issuer.accepts(await manager.get_access_token("user-1"))


async def test_redis_lost_for_a_moment_before_the_write_loses_nothing(
    behind_proxy: MicrosoftTokenManager, redis_proxy: Proxy, sandbox: SandboxSignIn, redis_client: redis.Redis
) -> None:
    before = redis_client.get(REFRESH)
    sandbox.issuer.latency_s = 0.2
    async with behind_proxy as manager:
        asked = asyncio.create_task(manager.refresh_access_token("user-1"))
        await until(lambda: refreshes(sandbox))
        redis_proxy.refuse()
        await asyncio.sleep(0.3)
        redis_proxy.heal()
        assert sandbox.issuer.accepts(await asked)
    assert redis_client.get(REFRESH) != before


async def test_without_redis_every_call_ends_soon_and_says_so(
    linked: MicrosoftTokenManager, redis_server: RedisServer
) -> None:
    redis_server.kill()
    for ask in (linked.get_access_token, linked.refresh_access_token, linked.revoke_tokens, linked.status):
        with pytest.raises(SignInError, match="Redis") as error:
            await ask("user-1")
        assert error.value.code == "MS_AUTH_UNAVAILABLE"


async def test_an_unreachable_sign_in_server_is_unavailable(
    linked: MicrosoftTokenManager, sandbox: SandboxSignIn
) -> None:
    assert isinstance(linked.settings, MicrosoftSettings)
    settings = replace(linked.settings, authority=f"https://localhost:1/{linked.settings.tenant_id}")
    async with MicrosoftTokenManager(settings, registry=CollectorRegistry()) as fresh:
        with pytest.raises(SignInError) as error:
            await fresh.refresh_access_token("user-1")
    assert error.value.code == "MS_AUTH_UNAVAILABLE"


def test_a_lock_shorter_than_two_time_outs_is_refused(env: dict[str, str]) -> None:
    settings = MicrosoftSettings.from_environment(env)
    assert settings.lock_ttl_s == 10
    with pytest.raises(ValueError, match="twice"):
        replace(settings, http_timeout_s=5.0)
