"""Tokens that an app gets for itself, for mailboxes that nobody has signed in to."""

import asyncio
import time
from collections import OrderedDict
from typing import Protocol

from prometheus_client import REGISTRY, CollectorRegistry

from adapter.signin.errors import Failure, Identity, SignInError
from adapter.signin.grant import AccessToken
from adapter.signin.metrics import OK, SignInMetrics

MOST_KEPT = 10_000
"""Tokens in memory; the one unused for the longest goes first."""


class AppServer(Protocol):
    """A sign-in server as an app asks it for itself. All calls may raise SignInError."""

    identity: Identity

    def key_of(self, mailbox: str) -> str:
        """Return what the token for a mailbox is kept under; does not block."""

    def access_token(self, key: str, claims: str | None = None) -> AccessToken:
        """Get a token; blocks."""

    def close(self) -> None:
        """Close what is open."""


class MailboxTokens:
    """Access tokens of an app, by the mailbox that it sends from.

    There is nothing to lose and nothing to rotate, so each process keeps its own in memory.
    """

    def __init__(self, server: AppServer, *, registry: CollectorRegistry = REGISTRY) -> None:
        self._server = server
        self._metrics = SignInMetrics.of(server.identity, registry)
        self._kept: OrderedDict[str, AccessToken] = OrderedDict()
        self._asking: dict[tuple[str, str | None], asyncio.Task[AccessToken]] = {}

    async def get_access_token(self, user_id: str) -> str:
        """Return a valid token for a mailbox, the last one while a new one cannot be had."""
        key = self._server.key_of(user_id)
        kept, now = self._kept.get(key), time.time()
        if kept is None or now >= kept.issued_at + kept.cached_for_s:
            try:
                return await self._new(key, None)
            except SignInError as error:
                if error.failure is not Failure.UNAVAILABLE or kept is None or not kept.is_dying(now):
                    raise
        self._kept.move_to_end(key)
        self._metrics.access_age.observe(max(now - kept.issued_at, 0.0))
        return kept.secret

    async def refresh_access_token(self, user_id: str, *, claims: str | None = None) -> str:
        """Return a new token; callers at the same time share one request. Raises SignInError."""
        return await self._new(self._server.key_of(user_id), claims)

    async def _new(self, key: str, claims: str | None) -> str:
        asking = self._asking.get((key, claims))
        if asking is None:
            asking = self._asking[key, claims] = asyncio.create_task(self._renewed(key, claims))
            asking.add_done_callback(lambda _: self._asking.pop((key, claims), None))
        return (await asyncio.shield(asking)).secret

    async def _renewed(self, key: str, claims: str | None) -> AccessToken:
        try:
            token = await asyncio.to_thread(self._server.access_token, key, claims)
        except SignInError as error:
            self._metrics.count_refresh(error.failure.lower())
            raise
        self._metrics.count_refresh(OK)
        self._kept[key] = token
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return token

    async def aclose(self) -> None:
        """Close what is open."""
        if self._asking:
            await asyncio.wait(list(self._asking.values()))
        self._server.close()
