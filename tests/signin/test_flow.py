"""The whole sign-in, from the printed link to a token that the sandbox takes."""

import json
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
import redis
from kit.signin import API_TOKEN, BASE, CALLBACK, Browser, link_user
from prometheus_client import CollectorRegistry

from adapter.sandbox.signin import SandboxSignIn
from adapter.signin.errors import SignInError
from adapter.signin.handshake import Handshake
from adapter.signin.microsoft.errors import MICROSOFT
from adapter.signin.microsoft.manager import MicrosoftTokenManager
from adapter.signin.microsoft.settings import MicrosoftSettings

AUTHORIZE = f"{BASE}/authorize"
BEARER = {"Authorization": f"Bearer {API_TOKEN}"}


async def test_a_link_leads_to_a_linked_mailbox_and_a_token_that_graph_would_take(
    browser: Browser, manager: MicrosoftTokenManager, sandbox: SandboxSignIn
) -> None:
    answer = await browser.sign_in(await Handshake(manager).link_for("user-1"))
    assert answer.status_code == 200
    assert "ann@corp.example" in answer.text
    assert "user-1" in answer.text
    assert sandbox.issuer.accepts(await manager.get_access_token("user-1"))
    assert sandbox.issuer.requests == {"authorization_code": 1}


async def test_the_answer_may_come_as_a_form(browser: Browser, manager: MicrosoftTokenManager) -> None:
    told = await browser.answer_after_consent(await Handshake(manager).link_for("user-1"))
    answer = await browser.post(CALLBACK, data=told)
    assert answer.status_code == 200


async def test_over_https_the_answer_is_asked_for_as_a_form_and_the_cookie_is_secure(
    manager: MicrosoftTokenManager, sandbox: SandboxSignIn, pages: list[str]
) -> None:
    settings = replace(manager.settings, redirect_uri="https://localhost:8003/oauth/microsoft/callback")
    async with (
        MicrosoftTokenManager(settings, registry=CollectorRegistry()) as public,
        Browser(public, sandbox.ca_file, pages) as browser,
    ):
        answer = await browser.confirmed(await Handshake(public).link_for("user-1"))
        cookie = answer.headers["set-cookie"].lower()
        assert "samesite=none" in cookie
        assert "secure" in cookie
        assert "response_mode=form_post" in answer.headers["location"]


async def test_the_address_carries_pkce_and_the_cookie_is_closed_to_scripts(
    browser: Browser, manager: MicrosoftTokenManager
) -> None:
    answer = await browser.confirmed(await Handshake(manager).link_for("user-1"))
    asked = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == manager.settings.redirect_uri
    assert set(asked["scope"].split()) == {"Mail.Send", "email", "openid", "profile", "offline_access"}
    assert len(asked["state"]) >= 16
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "max-age=600" in cookie


async def test_a_link_for_another_name_of_this_machine_first_goes_where_the_cookie_will_be_sent(
    browser: Browser, manager: MicrosoftTokenManager
) -> None:
    link = await Handshake(manager).link_for("user-1")
    answer = await browser.get(f"http://127.0.0.1:8003{MICROSOFT.path}/authorize", params={"link": link})
    assert answer.headers["location"].startswith(f"{AUTHORIZE}?")
    assert "set-cookie" not in answer.headers
    assert (await browser.get(answer.headers["location"])).status_code == 200


async def test_a_preview_does_not_use_a_link_up(browser: Browser, manager: MicrosoftTokenManager) -> None:
    link = await Handshake(manager).link_for("user-1")
    await browser.http.head(AUTHORIZE, params={"link": link})
    await browser.get(AUTHORIZE, params={"link": link}, headers={"Sec-Purpose": "prefetch"})
    assert (await browser.sign_in(link)).status_code == 200


async def test_opening_a_link_uses_nothing_up_and_its_page_leads_to_microsoft_alone(
    browser: Browser, manager: MicrosoftTokenManager, sandbox: SandboxSignIn
) -> None:
    link = await Handshake(manager).link_for("<user-1>", account="ann@corp.example")
    for _ in range(3):
        page = await browser.get(AUTHORIZE, params={"link": link})
    assert page.status_code == 200
    assert "&lt;user-1&gt;" in page.text
    assert "ann@corp.example" in page.text
    assert "set-cookie" not in page.headers
    assert f"form-action 'self' {sandbox.base};" in page.headers["content-security-policy"]
    forged = await browser.post(AUTHORIZE, data={"link": link}, headers={"Sec-Fetch-Site": "cross-site"})
    assert forged.status_code == 400
    assert (await browser.sign_in(link)).status_code == 200
    assert "LINK_USED" in (await browser.post(AUTHORIZE, data={"link": link})).text


async def test_another_account_takes_the_place_of_the_linked_one_only_where_the_link_says_so(
    browser: Browser, manager: MicrosoftTokenManager
) -> None:
    handshake = Handshake(manager)
    assert (await browser.sign_in(await handshake.link_for("user-1"))).status_code == 200
    assert (await browser.sign_in(await handshake.link_for("user-1"))).status_code == 200
    refused = await browser.sign_in(await handshake.link_for("user-1"), account="bob@corp.example")
    assert refused.status_code == 400
    assert "--replace" in refused.text
    assert (await manager.status("user-1")).account == "ann@corp.example"
    link = await handshake.link_for("user-1", replace=True)
    assert (await browser.sign_in(link, account="bob@corp.example")).status_code == 200
    assert (await manager.status("user-1")).account == "bob@corp.example"


async def test_a_link_for_one_account_links_no_other(
    browser: Browser, manager: MicrosoftTokenManager
) -> None:
    handshake = Handshake(manager)
    link = await handshake.link_for("user-1", account="Bob@corp.example")
    refused = await browser.sign_in(link, account="ann@corp.example")
    assert "OTHER_ACCOUNT" in refused.text
    assert not (await manager.status("user-1")).linked
    link = await handshake.link_for("user-1", account="Bob@corp.example")
    assert (await browser.sign_in(link, account="bob@corp.example")).status_code == 200


async def test_a_challenge_that_a_refresh_could_not_satisfy_is_carried_to_the_sign_in(
    browser: Browser, manager: MicrosoftTokenManager
) -> None:
    handshake = Handshake(manager)
    assert (await browser.sign_in(await handshake.link_for("user-1"))).status_code == 200
    claims = '{"access_token": {"acrs": {"essential": true, "value": "c1"}}}'
    await manager.store.keep_claims("user-1", claims)
    url = (await browser.confirmed(await handshake.link_for("user-1"))).headers["location"]
    asked = json.loads(parse_qs(urlsplit(url).query)["claims"][0])
    assert asked["access_token"]["acrs"]["value"] == "c1"
    assert (await browser.sign_in(await handshake.link_for("user-1"))).status_code == 200
    assert await manager.store.claims("user-1") is None


async def test_the_bearer_token_begins_a_sign_in_without_a_link(browser: Browser) -> None:
    answer = await browser.get(AUTHORIZE, params={"user_id": "user-1"}, headers=BEARER)
    assert answer.status_code == 302


@pytest.mark.parametrize(("headers", "status"), [({}, 401), ({"Authorization": "Bearer wrong"}, 403)])
@pytest.mark.parametrize("route", ["refresh", "revoke", "authorize"])
async def test_without_the_bearer_token_nothing_opens(
    browser: Browser, route: str, headers: dict[str, str], status: int
) -> None:
    url = f"{BASE}/{route}"
    call = browser.get if route == "authorize" else browser.post
    assert (await call(url, headers=headers)).status_code == status


@pytest.mark.parametrize("route", ["refresh", "revoke"])
@pytest.mark.parametrize("user_id", ["", "a\nb", "x" * 257, "\ud8f9", 1, None])
async def test_a_user_id_that_cannot_be_kept_is_the_callers_mistake(
    browser: Browser, route: str, user_id: object
) -> None:
    body = json.dumps({"user_id": user_id}).encode()
    answer = await browser.post(f"{BASE}/{route}", content=body, headers=BEARER)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "USER_ID_UNUSABLE")


async def test_refresh_and_revoke_answer_without_any_token(
    browser: Browser, manager: MicrosoftTokenManager, redis_client: redis.Redis
) -> None:
    await link_user(browser, manager, "user-1")
    old = await manager.get_access_token("user-1")
    body = {"user_id": "user-1"}
    refreshed = await browser.post(f"{BASE}/refresh", json=body, headers=BEARER)
    assert refreshed.json() == {"user_id": "user-1", "refreshed": True, "expires_in_s": 3300}
    assert await manager.get_access_token("user-1") != old
    revoked = await browser.post(f"{BASE}/revoke", json=body, headers=BEARER)
    assert revoked.json() == {"user_id": "user-1", "revoked": True, "server_revoked": False}
    assert redis_client.keys("*") == []


async def test_a_refresh_over_http_of_an_unlinked_user_says_what_to_do(browser: Browser) -> None:
    url = f"{BASE}/refresh"
    answer = await browser.post(url, content=json.dumps({"user_id": "nobody"}), headers=BEARER)
    error = answer.json()["error"]
    assert answer.status_code == 409
    assert error["code"] == "MS_AUTH_INTERACTION_REQUIRED"
    assert error["source"] == "auth"
    assert "rollout auth link" in error["message"]


async def test_every_answer_carries_the_security_headers(browser: Browser) -> None:
    for route in ("authorize", "callback"):
        headers = (await browser.get(f"{BASE}/{route}")).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert headers["x-frame-options"] == "DENY"


async def test_keys_and_times_to_live_are_the_documented_ones(
    browser: Browser, manager: MicrosoftTokenManager, redis_client: redis.Redis
) -> None:
    await link_user(browser, manager, "user-1")
    assert set(redis_client.keys("*")) == {
        "oauth:microsoft:access_token:user-1",
        "oauth:microsoft:refresh_token:user-1",
    }
    assert 3290 <= redis_client.ttl("oauth:microsoft:access_token:user-1") <= 3300
    assert redis_client.ttl("oauth:microsoft:refresh_token:user-1") > 89 * 86_400


async def test_the_plan_s_exchange_works_on_its_own_and_stores_nothing(
    browser: Browser, manager: MicrosoftTokenManager, sandbox: SandboxSignIn, redis_client: redis.Redis
) -> None:
    attempt = await manager.begin()
    sandbox.auto_consent = True
    back = await browser.get(attempt.url)
    code = parse_qs(urlsplit(back.headers["location"]).query)["code"][0]
    pair = await manager.exchange_code_for_tokens(code, attempt.code_verifier)
    assert sandbox.issuer.accepts(pair.access_token)
    assert pair.refresh_token
    assert pair.access_token not in repr(pair)
    assert redis_client.keys("*") == []
    with pytest.raises(SignInError) as again:
        await manager.exchange_code_for_tokens(code, attempt.code_verifier)
    assert again.value.code == "MS_AUTH_EXPIRED"


async def test_a_wrong_code_verifier_is_refused_by_the_server(
    browser: Browser, manager: MicrosoftTokenManager, sandbox: SandboxSignIn
) -> None:
    sandbox.auto_consent = True
    attempt = await manager.begin()
    back = await browser.get(attempt.url)
    code = parse_qs(urlsplit(back.headers["location"]).query)["code"][0]
    with pytest.raises(SignInError) as error:
        await manager.exchange_code_for_tokens(code, "v" * 43)
    assert error.value.code == "MS_AUTH_CLIENT_CONFIG"


async def test_who_linked_before_large_attachments_were_wanted_goes_on_and_grants_them_with_a_new_link(
    env: dict[str, str],
    browser: Browser,
    manager: MicrosoftTokenManager,
    sandbox: SandboxSignIn,
    pages: list[str],
) -> None:
    await link_user(browser, manager, "user-1")
    settings = MicrosoftSettings.from_environment({**env, "MS_LARGE_ATTACHMENTS": "true"})
    async with (
        MicrosoftTokenManager(settings, registry=CollectorRegistry()) as later,
        Browser(later, sandbox.ca_file, pages) as again,
    ):
        assert sandbox.issuer.accepts(await later.refresh_access_token("user-1"))
        assert "Mail.ReadWrite" not in (await later.status("user-1")).scopes
        await link_user(again, later, "user-1")
        await later.refresh_access_token("user-1")
        assert {"Mail.Send", "Mail.ReadWrite"} <= set((await later.status("user-1")).scopes)
