"""One refresh of a user's token at a time, among any number of processes, and none of them ever lost."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from adapter.signin.errors import Failure, Identity, SignInError
from adapter.signin.grant import AccessToken, Grant, TokenPair
from adapter.signin.metrics import OK, SignInMetrics
from adapter.signin.settings import SignInSettings
from adapter.signin.store import RefreshClaim, TokenStore

COMMIT_TRIES_S = (0.0, 0.05, 0.2, 0.5)
"""Waits before each try to write a refreshed grant: losing it costs a refresh, so one hiccup must not."""

Ask = Callable[[Grant, str | None], Awaitable[TokenPair]]
"""Asks the sign-in server to refresh a grant; the text is a claims challenge. Raises SignInError."""

log = structlog.get_logger(__name__)


class Refresher:
    """Gets new tokens under a lock in Redis; who does not hold it takes what the holder got."""

    def __init__(
        self,
        identity: Identity,
        store: TokenStore,
        ask: Ask,
        settings: SignInSettings,
        metrics: SignInMetrics,
    ) -> None:
        self._identity = identity
        self._store = store
        self._ask = ask
        self._settings = settings
        self._metrics = metrics

    async def kept_or_new(self, user_id: str) -> AccessToken:
        """Return the token kept; else a new one, or the last while what hinders a new one heals by itself."""
        kept = await self._store.access(user_id)
        if kept.access is not None:
            return kept.access
        try:
            return await self._other_than(kept.sealed, user_id, None)
        except SignInError as error:
            if error.failure is not Failure.UNAVAILABLE:
                raise
            failure = error
        grant = await self._store.grant(user_id)
        if grant is None or not grant.access.is_dying(time.time()):
            raise failure
        return grant.access

    async def newer(self, user_id: str, claims: str | None) -> AccessToken:
        """Return a newer token than the one kept now."""
        return await self._other_than((await self._store.access(user_id)).sealed, user_id, claims)

    async def _other_than(self, known: str, user_id: str, claims: str | None) -> AccessToken:
        owner = secrets.token_urlsafe(16)
        try:
            claim = await self._claimed(user_id, owner, known, any_new=not claims)
            if claim.fresh is not None:
                return claim.fresh
            return await self._refreshed(user_id, owner, claim.sealed_grant or "", claims)
        except BaseException as error:
            if isinstance(error, SignInError):
                told = {"code": error.code, "provider_code": error.provider_code}
                log.warning("no_new_token", user_id=user_id, **told)
                if error.failure is Failure.INTERACTION_REQUIRED and (challenge := error.claims or claims):
                    with contextlib.suppress(SignInError):
                        await self._store.keep_claims(user_id, challenge)
            # The lock may be ours even where Redis' answer was lost. An unreachable Redis frees it by itself,
            # and must not hide what went wrong before.
            with contextlib.suppress(SignInError):
                await self._store.unlock(user_id, owner)
            raise

    async def _claimed(self, user_id: str, owner: str, known: str, *, any_new: bool) -> RefreshClaim:
        """Wait until the lock is ours or, with `any_new`, until somebody got a token other than `known`."""
        began_at = time.monotonic()
        while True:
            claim = await self._store.claim(user_id, owner, self._settings.lock_ttl_s, known, any_new=any_new)
            waited_s = time.monotonic() - began_at
            if not claim.held:
                self._metrics.lock_wait.observe(waited_s)
                return claim
            if waited_s > self._settings.wait_s:
                raise self._identity.unavailable(
                    "Another process is fetching a token for this user and does not end"
                )
            await asyncio.sleep(self._settings.poll_after_s(waited_s))

    async def _refreshed(self, user_id: str, owner: str, sealed: str, claims: str | None) -> AccessToken:
        grant = self._store.open_grant(user_id, sealed)
        if grant is None:
            raise self._identity.not_linked()
        outcome = Failure.UNAVAILABLE.lower()
        try:
            renewed = await self._renewed(grant, claims)
            await self._commit(user_id, sealed, renewed, owner)
            outcome = OK
        except SignInError as error:
            outcome = error.failure.lower()
            raise
        finally:
            self._metrics.count_refresh(outcome)
        return renewed.access

    async def _renewed(self, grant: Grant, claims: str | None) -> Grant:
        self._metrics.refresh_age.observe(max(time.time() - grant.refreshed_at, 0.0))
        pair = await self._ask(grant, claims)
        return replace(
            grant,
            refresh_token=pair.refresh_token,
            access=pair.access,
            scopes=pair.scopes,
            refreshed_at=pair.access.issued_at,
        )

    async def _commit(self, user_id: str, before: str, grant: Grant, owner: str) -> None:
        """Write what a refresh yielded and give the lock back, trying again while Redis does not answer."""
        commit = self._store.commit(user_id, before, grant, owner)
        failure = None
        for wait_s in COMMIT_TRIES_S:
            await asyncio.sleep(wait_s)
            try:
                outcome = await commit.once()
            except SignInError as error:
                failure = error
                continue
            if outcome == "gone":
                why = "The link was revoked while its token was refreshed"
                raise self._identity.error(Failure.EXPIRED, why)
            return
        raise failure or self._identity.unavailable("The refreshed token could not be kept")
