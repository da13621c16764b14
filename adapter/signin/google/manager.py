"""The token managers for Gmail: of people who signed in, and of a domain that delegated."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import cast

from prometheus_client import REGISTRY, CollectorRegistry

from adapter.settings import SettingsError
from adapter.signin.errors import SignInError
from adapter.signin.google.accounts import Delegation, GoogleAccounts
from adapter.signin.google.errors import GOOGLE
from adapter.signin.google.settings import DelegationSettings, GoogleSettings
from adapter.signin.grant import AccessToken
from adapter.signin.metrics import OK, SignInMetrics
from adapter.signin.tokens import SignInServer, TokenManager

MOST_KEPT = 10_000
"""Tokens of mailboxes in memory; the one unused for the longest goes first."""


class GoogleTokenManager(TokenManager):
    """Access tokens for Gmail, by user. All errors are SignInError, with a code and what to do."""

    identity = GOOGLE

    @classmethod
    def settings_from(cls, environment: Mapping[str, str] | None) -> GoogleSettings:
        """Read the settings; raises SettingsError."""
        return GoogleSettings.from_environment(environment)

    def _new_server(self) -> SignInServer:
        return GoogleAccounts(cast("GoogleSettings", self.settings))


class DelegatedTokens:
    """Access tokens of a service account; a user's id is the address of the mailbox.

    There is nothing to lose and nothing to rotate, so each process keeps its own in memory.
    """

    def __init__(self, settings: DelegationSettings, *, registry: CollectorRegistry = REGISTRY) -> None:
        self._server = Delegation(settings)
        self._metrics = SignInMetrics.of(GOOGLE, registry)
        self._kept: OrderedDict[str, AccessToken] = OrderedDict()
        self._asking: dict[str, asyncio.Task[AccessToken]] = {}

    async def get_access_token(self, user_id: str) -> str:
        """Return a valid token for a mailbox; raises SignInError."""
        kept = self._kept.get(user_id)
        if kept is None or time.time() >= kept.issued_at + kept.cached_for_s:
            return await self.refresh_access_token(user_id)
        self._kept.move_to_end(user_id)
        self._metrics.access_age.observe(max(time.time() - kept.issued_at, 0.0))
        return kept.secret

    async def refresh_access_token(self, user_id: str, *, claims: str | None = None) -> str:  # noqa: ARG002
        """Return a new token; callers at the same time share one request. Raises SignInError."""
        asking = self._asking.get(user_id)
        if asking is None:
            asking = self._asking[user_id] = asyncio.create_task(self._renewed(user_id))
            asking.add_done_callback(lambda _: self._asking.pop(user_id, None))
        return (await asyncio.shield(asking)).secret

    async def _renewed(self, user_id: str) -> AccessToken:
        if "@" not in user_id:
            raise GOOGLE.not_linked()
        try:
            token = await asyncio.to_thread(self._server.access_token, user_id)
        except SignInError as error:
            self._metrics.count_refresh(error.failure.lower())
            raise
        self._metrics.count_refresh(OK)
        self._kept[user_id] = token
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return token

    async def aclose(self) -> None:
        """Close what is open."""
        if self._asking:
            await asyncio.wait(list(self._asking.values()))
        self._server.close()


def token_source() -> "GoogleTokenManager | DelegatedTokens":
    """Return where the environment says that tokens for Gmail come from; raises SignInError."""
    try:
        delegation = DelegationSettings.from_environment()
    except SettingsError as error:
        raise GOOGLE.client_config(str(error), act=f"Part 6 of {GOOGLE.guide} says how.") from None
    return DelegatedTokens(delegation) if delegation else GoogleTokenManager.from_env()
