"""A challenge of Graph answered by the sign-in: what Graph asks for reaches the sign-in server."""

import base64

from kit.sending import open_flags, open_sender
from kit.servers import RedisServer
from kit.signin import Browser, link_user
from prometheus_client import CollectorRegistry
from redis import Redis

from adapter.sandbox.faults import Faults
from adapter.sandbox.graph import Sandbox
from adapter.sandbox.issuer import IssuerFault
from adapter.sandbox.signin import SandboxSignIn
from adapter.signin.handshake import Handshake
from adapter.signin.microsoft.manager import MicrosoftTokenManager


async def test_a_send_that_is_challenged_goes_out_with_a_token_that_answers(
    browser: Browser,
    manager: MicrosoftTokenManager,
    sandbox: SandboxSignIn,
    redis_server: RedisServer,
    redis_client: Redis,
    registry: CollectorRegistry,
) -> None:
    await link_user(browser, manager, "user-1")
    open_flags(redis_client)
    challenge = base64.b64encode(b'{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}').decode()
    async with (
        Sandbox(token_prefix="", accepts=sandbox.issuer.accepts) as graph,
        open_sender(redis_server.url, graph, tokens=manager) as sender,
    ):
        graph.faults = Faults(status=401, claims=challenge, times=1)
        outcome = await sender.outcome(user_id="user-1")
    assert (outcome.code, outcome.posts) == ("", 2)
    assert "1604106651" in sandbox.issuer.claims_seen[-1]


async def test_a_challenge_that_needs_the_person_goes_into_their_next_sign_in(
    browser: Browser,
    manager: MicrosoftTokenManager,
    sandbox: SandboxSignIn,
    redis_server: RedisServer,
    redis_client: Redis,
) -> None:
    await link_user(browser, manager, "user-1")
    open_flags(redis_client)
    challenge = base64.b64encode(b'{"access_token":{"acrs":{"essential":true,"value":"c7"}}}').decode()
    async with (
        Sandbox(token_prefix="", accepts=sandbox.issuer.accepts) as graph,
        open_sender(redis_server.url, graph, tokens=manager) as sender,
    ):
        graph.faults = Faults(status=401, claims=challenge, times=1)
        sandbox.issuer.fail(IssuerFault.CONSENT_REQUIRED, times=1)
        refused = await sender.outcome(user_id="user-1")
        assert (refused.code, refused.posts) == ("MS_AUTH_INTERACTION_REQUIRED", 1)
        page = await browser.to_consent(await Handshake(manager).link_for("user-1"))
        assert '"c7"' in page.url.params["claims"]
        await link_user(browser, manager, "user-1")
        assert '"c7"' in sandbox.issuer.claims_seen[-1]
        assert (await sender.outcome(user_id="user-1")).code == ""
