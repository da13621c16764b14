"""Signing in with a Redis Cluster behind it: the same keys, in one slot."""

import pytest
from kit.redis_cluster import TAG, RedisCluster
from kit.signin import Browser, environment, link_user

from adapter.sandbox.signin import SandboxSignIn
from adapter.signin.microsoft.manager import MicrosoftTokenManager


@pytest.fixture
def env(sandbox: SandboxSignIn, redis_cluster: RedisCluster) -> dict[str, str]:
    return environment(sandbox, redis_cluster.url)


async def test_a_user_is_linked_refreshed_looked_at_and_forgotten(
    browser: Browser, manager: MicrosoftTokenManager, sandbox: SandboxSignIn, redis_cluster: RedisCluster
) -> None:
    await link_user(browser, manager, "user-1")
    first = await manager.get_access_token("user-1")
    second = await manager.refresh_access_token("user-1")
    assert sandbox.issuer.accepts(second)
    assert second != first
    kept = {f"{{{TAG}}}oauth:microsoft:{kind}_token:user-1" for kind in ("access", "refresh")}
    assert redis_cluster.keys() == kept
    assert (await manager.status("user-1")).kept_for_s > 80 * 86_400
    assert (await manager.revoke_tokens("user-1")).revoked
    assert redis_cluster.keys() == set()
