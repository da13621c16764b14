"""What must not lead to a linked mailbox: stolen, replayed, expired, forged, foreign, cancelled."""

import time

import pytest
import redis
from kit.signin import CALLBACK, Browser

from adapter.sandbox.issuer import IssuerFault
from adapter.sandbox.signin import SandboxSignIn
from adapter.signin.errors import SignInError
from adapter.signin.handshake import Handshake
from adapter.signin.microsoft.errors import MICROSOFT
from adapter.signin.microsoft.manager import MicrosoftTokenManager

AUTHORIZE = f"http://localhost:8003{MICROSOFT.path}/authorize"


async def test_a_callback_cannot_be_replayed(browser: Browser, manager: MicrosoftTokenManager) -> None:
    told = await browser.answer_after_consent(await Handshake(manager).link_for("user-1"))
    assert (await browser.get(CALLBACK, params=told)).status_code == 200
    again = await browser.get(CALLBACK, params=told)
    assert again.status_code == 400
    assert "STATE_UNKNOWN" in again.text


async def test_another_browser_cannot_finish_a_sign_in_and_the_state_is_spent(
    browser: Browser,
    manager: MicrosoftTokenManager,
    sandbox: SandboxSignIn,
    pages: list[str],
    redis_client: redis.Redis,
) -> None:
    told = await browser.answer_after_consent(await Handshake(manager).link_for("user-1"))
    async with Browser(manager, sandbox.ca_file, pages) as thief:
        stolen = await thief.get(CALLBACK, params=told)
    assert stolen.status_code == 400
    assert "OTHER_BROWSER" in stolen.text
    assert (await browser.get(CALLBACK, params=told)).status_code == 400
    assert redis_client.keys("*") == []
    assert sandbox.issuer.requests == {}


async def test_a_state_of_one_sign_in_does_not_take_the_cookie_of_another(
    browser: Browser, manager: MicrosoftTokenManager, sandbox: SandboxSignIn, pages: list[str]
) -> None:
    """The victim's browser is in a sign-in of its own when it is led to the attacker's callback."""
    await browser.to_consent(await Handshake(manager).link_for("victim"))
    async with Browser(manager, sandbox.ca_file, pages) as attacker:
        told = await attacker.answer_after_consent(await Handshake(manager).link_for("attacker"))
    assert (await browser.get(CALLBACK, params=told)).status_code == 400


async def test_a_link_works_once(browser: Browser, manager: MicrosoftTokenManager) -> None:
    link = await Handshake(manager).link_for("user-1")
    await browser.to_consent(link)
    again = await browser.get(AUTHORIZE, params={"link": link})
    assert again.status_code == 400
    assert "LINK_USED" in again.text


async def test_an_expired_link_is_refused_by_its_own_date(
    browser: Browser, manager: MicrosoftTokenManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await Handshake(manager).link_for("user-1")
    now = time.time()
    monkeypatch.setattr("adapter.signin.handshake.time.time", lambda: now + 601)
    answer = await browser.get(AUTHORIZE, params={"link": link})
    assert answer.status_code == 400
    assert "LINK_EXPIRED" in answer.text


async def test_a_link_that_redis_no_longer_knows_is_refused(
    browser: Browser, manager: MicrosoftTokenManager, redis_client: redis.Redis
) -> None:
    link = await Handshake(manager).link_for("user-1")
    redis_client.flushall()
    assert "LINK_USED" in (await browser.get(AUTHORIZE, params={"link": link})).text


async def test_a_forged_link_and_another_sealed_value_are_no_links(
    browser: Browser, manager: MicrosoftTokenManager, redis_client: redis.Redis
) -> None:
    link = await Handshake(manager).link_for("user-1")
    sealed = redis_client.get(redis_client.keys("oauth:microsoft:link:*")[0])
    for text in ("forged", link[:-8] + "AAAAAAA=", str(sealed)):
        answer = await browser.get(AUTHORIZE, params={"link": text})
        assert answer.status_code == 400
        assert "LINK_INVALID" in answer.text


@pytest.mark.parametrize(
    "query",
    [
        "",
        "&".join(f"p{n}=x" for n in range(51)),
        "code=abc",
        "state=0123456789",
        "code=a&state=0123456789&state=9876543210",
        "state=short&code=abc",
    ],
)
async def test_a_callback_that_is_not_complete_is_refused(browser: Browser, query: str) -> None:
    answer = await browser.get(f"{CALLBACK}?{query}")
    assert answer.status_code == 400
    assert "CALLBACK_MALFORMED" in answer.text


async def test_a_state_that_nobody_was_given_is_refused(browser: Browser) -> None:
    answer = await browser.get(CALLBACK, params={"code": "abc", "state": "0123456789"})
    assert answer.status_code == 400
    assert "STATE_UNKNOWN" in answer.text


async def test_a_form_of_another_type_or_size_is_refused(browser: Browser) -> None:
    assert (await browser.post(CALLBACK, json={"code": "a", "state": "0123456789"})).status_code == 400
    assert (
        await browser.post(CALLBACK, data={"code": "a" * 70_000, "state": "0123456789"})
    ).status_code == 400


async def test_a_cancelled_consent_says_so(
    browser: Browser, manager: MicrosoftTokenManager, redis_client: redis.Redis
) -> None:
    told = await browser.answer_after_consent(await Handshake(manager).link_for("user-1"), "cancel")
    answer = await browser.get(CALLBACK, params=told)
    assert answer.status_code == 400
    assert "MS_AUTH_INTERACTION_REQUIRED" in answer.text
    assert "declined" in answer.text
    assert redis_client.keys("*") == []


FAULTS = {
    IssuerFault.INVALID_GRANT: ("MS_AUTH_EXPIRED", 400),
    IssuerFault.INTERACTION_REQUIRED: ("MS_AUTH_INTERACTION_REQUIRED", 400),
    IssuerFault.CONSENT_REQUIRED: ("MS_AUTH_INTERACTION_REQUIRED", 400),
    IssuerFault.INVALID_CLIENT: ("MS_AUTH_CLIENT_CONFIG", 400),
    IssuerFault.WRONG_CERTIFICATE: ("MS_AUTH_CLIENT_CONFIG", 400),
    IssuerFault.UNKNOWN_APP: ("MS_AUTH_CLIENT_CONFIG", 400),
    IssuerFault.NO_SERVICE_PRINCIPAL: ("MS_AUTH_INSUFFICIENT_PERMS", 400),
    IssuerFault.OTHER_ORGANISATION: ("MS_AUTH_INTERACTION_REQUIRED", 400),
    IssuerFault.THROTTLED: ("MS_AUTH_UNAVAILABLE", 503),
    IssuerFault.SERVER_ERROR: ("MS_AUTH_UNAVAILABLE", 503),
    IssuerFault.HTML: ("MS_AUTH_UNAVAILABLE", 503),
    IssuerFault.SLOW: ("MS_AUTH_UNAVAILABLE", 503),
    IssuerFault.WRONG_ISSUER: ("MS_AUTH_CLIENT_CONFIG", 400),
    IssuerFault.WRONG_AUDIENCE: ("MS_AUTH_CLIENT_CONFIG", 400),
    IssuerFault.WRONG_TENANT: ("MS_AUTH_CLIENT_CONFIG", 400),
    IssuerFault.EXPIRED_ID_TOKEN: ("MS_AUTH_CLIENT_CONFIG", 400),
    IssuerFault.NO_ID_TOKEN: ("MS_AUTH_CLIENT_CONFIG", 400),
    IssuerFault.WRONG_NONCE: ("MS_AUTH_INTERACTION_REQUIRED", 400),
    IssuerFault.NO_MAIL_SCOPE: ("MS_AUTH_INSUFFICIENT_PERMS", 400),
    IssuerFault.NO_REFRESH_TOKEN: ("MS_AUTH_INSUFFICIENT_PERMS", 400),
}


def test_every_fault_of_the_sandbox_is_expected_here() -> None:
    assert set(FAULTS) == set(IssuerFault)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_at_the_exchange_gives_its_code_and_leaves_redis_clean(
    browser: Browser,
    manager: MicrosoftTokenManager,
    sandbox: SandboxSignIn,
    redis_client: redis.Redis,
    fault: IssuerFault,
) -> None:
    code, status = FAULTS[fault]
    told = await browser.answer_after_consent(await Handshake(manager).link_for("user-1"))
    sandbox.issuer.fail(fault)
    answer = await browser.get(CALLBACK, params=told)
    assert answer.status_code == status
    assert code in answer.text
    assert redis_client.keys("*") == []
    with pytest.raises(SignInError):
        await manager.get_access_token("user-1")
    sandbox.issuer.fail(None)
    assert (await browser.sign_in(await Handshake(manager).link_for("user-1"))).status_code == 200
