"""Gives any number of sender processes a valid token: one refresh at a time, and none of them ever lost."""

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import structlog
from prometheus_client import REGISTRY, CollectorRegistry

from adapter.settings import SettingsError
from adapter.signin.encryption import TokenCipher
from adapter.signin.entra import Attempt, Entra
from adapter.signin.errors import (
    EXPIRED,
    UNAVAILABLE,
    SignInError,
    client_config,
    not_linked,
    unavailable,
)
from adapter.signin.grant import AccessToken, Grant, TokenPair
from adapter.signin.metrics import OK, SignInMetrics, outcome_of
from adapter.signin.settings import SignInSettings
from adapter.signin.store import TokenStore, connect

T = TypeVar("T")
Flight = tuple[str, str | None, bool]
"""A user, the claims asked for, and whether the token kept now is not wanted."""

THREADS = 16
"""Refreshes of different users that one process makes at once; MSAL blocks a thread each."""
COMMIT_TRIES_S = (0.0, 0.05, 0.2, 0.5)
"""Waits before each try to write a refreshed grant: losing it costs a refresh, so one hiccup must not."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Revocation:
    """What a revocation did. Entra has no endpoint that revokes, so the server's copy lives on."""

    user_id: str
    revoked: bool
    server_revoked: bool = False


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """What is known of a user's link, without any token."""

    user_id: str
    linked: bool
    account: str = ""
    tenant: str = ""
    scopes: tuple[str, ...] = ()
    linked_at: float | None = None
    refreshed_at: float | None = None
    access_token_for_s: float = 0.0
    kept_for_s: float = 0.0


class MicrosoftTokenManager:
    """Access tokens for Microsoft Graph, by user. All errors are SignInError, with a code and what to do."""

    def __init__(self, settings: SignInSettings, *, registry: CollectorRegistry = REGISTRY) -> None:
        self.settings = settings
        self.store = TokenStore(connect(settings.redis_url), TokenCipher(settings.token_keys))
        self._metrics = SignInMetrics.of(registry)
        self._made: Entra | None = None
        self._making = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="signin")
        self._flights: dict[Flight, asyncio.Task[str]] = {}
        # Ready by the time that somebody asks: the first one takes a tenth of a second to load.
        self._threads.submit(self._entra)

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Make a manager from the environment; raises SignInError (MS_AUTH_CLIENT_CONFIG) for a bad one."""
        try:
            return cls(SignInSettings.from_environment(environment))
        except SettingsError as error:
            why = str(error)
        raise client_config(why)

    async def get_access_token(self, user_id: str) -> str:
        """Give a valid token, refreshed if need be."""
        _checked_id(user_id)
        access = await self.store.access(user_id)
        if access is not None:
            return self._used(access)
        return await self._once((user_id, None, False), lambda: self._renew(user_id, None, None))

    async def refresh_access_token(self, user_id: str, claims: str | None = None) -> str:
        """Give a newer token than the one kept now; `claims` is the challenge of a 401, if it had one.

        Callers at the same time share one request, in this process and between processes.
        """
        _checked_id(user_id)
        known = await self.store.access(user_id)
        return await self._once((user_id, claims, True), lambda: self._renew(user_id, known, claims))

    async def exchange_code_for_tokens(
        self, code: str, code_verifier: str, *, nonce: str | None = None
    ) -> TokenPair:
        """Redeem an authorization code and check the answer; stores nothing."""
        return await self._in_thread(lambda: self._entra().exchange(code, code_verifier, nonce))

    async def revoke_tokens(self, user_id: str) -> Revocation:
        """Forget a user's tokens here. Microsoft keeps its own until they expire or an admin revokes them."""
        _checked_id(user_id)
        revoked = await self.store.forget(user_id)
        log.info("tokens_revoked", user_id=user_id, revoked=revoked, server_revoked=False)
        return Revocation(user_id, revoked)

    async def link(self, user_id: str, pair: TokenPair) -> Grant:
        """Keep what a person's sign-in yielded."""
        _checked_id(user_id)
        now = pair.access.issued_at
        grant = Grant(pair.refresh_token, pair.access, pair.account, pair.scopes, now, now)
        await self.store.put(user_id, grant)
        log.info("mailbox_linked", user_id=user_id, tenant=pair.account.tenant)
        return grant

    async def status(self, user_id: str) -> LinkStatus:
        _checked_id(user_id)
        grant = (await self.store.read(user_id)).grant
        if grant is None:
            return LinkStatus(user_id, linked=False)
        access_s, kept_s = await self.store.ttls_s(user_id)
        account = grant.account
        return LinkStatus(
            user_id,
            linked=True,
            account=account.name,
            tenant=account.tenant,
            scopes=grant.scopes,
            linked_at=grant.linked_at,
            refreshed_at=grant.refreshed_at,
            access_token_for_s=access_s,
            kept_for_s=kept_s,
        )

    async def begin(self, claims: str | None = None) -> Attempt:
        """Begin a sign-in: see `Entra.begin`."""
        return await self._in_thread(lambda: self._entra().begin(claims))

    async def aclose(self) -> None:
        """Let refreshes under way end, then close what is open."""
        if self._flights:
            await asyncio.wait(list(self._flights.values()))
        self._threads.shutdown(wait=False)
        if self._made is not None:
            self._made.close()
        await self.store.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _entra(self) -> Entra:
        """Give the client of the sign-in server, made in a thread: loading certificates takes a while."""
        with self._making:
            if self._made is None:
                self._made = Entra(self.settings)
            return self._made

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _used(self, access: AccessToken) -> str:
        self._metrics.access_age.observe(max(time.time() - access.issued_at, 0.0))
        return access.secret

    async def _once(self, flight: Flight, renew: Callable[[], Coroutine[Any, Any, str]]) -> str:
        """Let callers of this process share a renewal. It goes on when a caller is cancelled.

        A renewal that were cancelled between the answer and the write would lose a refresh token.
        """
        task = self._flights.get(flight)
        if task is None:
            task = self._flights[flight] = asyncio.create_task(renew())
            task.add_done_callback(lambda _: self._flights.pop(flight, None))
            task.add_done_callback(_seen)
        return await asyncio.shield(task)

    async def _renew(self, user_id: str, known: AccessToken | None, claims: str | None) -> str:
        """Get a token other than `known`; a failure that heals by itself may be bridged by the last one."""
        try:
            return self._used(await self._one_at_a_time(user_id, known, claims))
        except SignInError as error:
            log.warning("no_new_token", user_id=user_id, code=error.code, provider_code=error.provider_code)
            if error.code != UNAVAILABLE or known is not None or claims:
                raise
            failure = error
        return self._used(await self._dying(user_id, failure))

    async def _one_at_a_time(
        self, user_id: str, known: AccessToken | None, claims: str | None
    ) -> AccessToken:
        """Refresh under the lock, or wait for who holds it and take what that one got."""
        began_at, owner = time.monotonic(), secrets.token_urlsafe(16)
        while not await self.store.lock(user_id, owner, self.settings.lock_ttl_s):
            if time.monotonic() - began_at > self.settings.wait_s:
                raise unavailable("Another process is fetching a token for this user and does not end")
            await asyncio.sleep(self.settings.poll_s)
            fresh = await self.store.access(user_id)
            if fresh is not None and fresh != known and not claims:
                self._metrics.lock_wait.observe(time.monotonic() - began_at)
                return fresh
        self._metrics.lock_wait.observe(time.monotonic() - began_at)
        try:
            return await self._refresh(user_id, known, claims, owner)
        finally:
            # An unreachable Redis frees the lock by itself, and must not hide what went wrong before.
            with contextlib.suppress(SignInError):
                await self.store.unlock(user_id, owner)

    async def _refresh(
        self, user_id: str, known: AccessToken | None, claims: str | None, owner: str
    ) -> AccessToken:
        """Refresh, the lock being ours; another holder may have done it just before."""
        stored = await self.store.read(user_id)
        if stored.access is not None and stored.access != known and not claims:
            return stored.access
        if stored.grant is None:
            raise not_linked()
        outcome = outcome_of(UNAVAILABLE)
        try:
            grant = await self._request(stored.grant, claims)
            await self._commit(user_id, stored.raw, grant, owner)
            outcome = OK
        except SignInError as error:
            outcome = outcome_of(error.code)
            raise
        finally:
            self._metrics.count_refresh(outcome)
        return grant.access

    async def _request(self, grant: Grant, claims: str | None) -> Grant:
        self._metrics.refresh_age.observe(max(time.time() - grant.refreshed_at, 0.0))
        pair = await self._in_thread(
            lambda: self._entra().refresh(grant.refresh_token, grant.account, claims)
        )
        return replace(
            grant,
            refresh_token=pair.refresh_token,
            access=pair.access,
            scopes=pair.scopes,
            refreshed_at=pair.access.issued_at,
        )

    async def _commit(self, user_id: str, before: str, grant: Grant, owner: str) -> None:
        """Write what a refresh yielded, trying again while Redis does not answer."""
        commit = self.store.commit(user_id, before, grant, owner)
        failure = None
        for wait_s in COMMIT_TRIES_S:
            await asyncio.sleep(wait_s)
            try:
                outcome = await commit.once()
            except SignInError as error:
                failure = error
                continue
            if outcome == "gone":
                raise SignInError(EXPIRED, "The link was revoked while its token was refreshed.")
            return
        raise failure or unavailable("The refreshed token could not be kept")

    async def _dying(self, user_id: str, failure: SignInError) -> AccessToken:
        """Give the last token while it is still good, though about to expire; else raise the failure."""
        grant = (await self.store.read(user_id)).grant
        if grant is None or not grant.access.is_dying(time.time()):
            raise failure
        return grant.access


def _seen(task: "asyncio.Task[str]") -> None:
    """Mark a failure as seen: every caller may have been cancelled, and asyncio would print it."""
    if not task.cancelled():
        task.exception()


def _checked_id(user_id: str) -> None:
    if not user_id or len(user_id) > 256 or not user_id.isprintable():
        raise client_config(
            "The user id must be 1 to 256 printable characters",
            act="Pass the id that the mailbox was linked with.",
        )
