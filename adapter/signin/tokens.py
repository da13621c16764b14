"""The token manager: what a host asks for tokens, with one request for all of its callers at a time."""

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, TypeVar

import structlog
from prometheus_client import REGISTRY, CollectorRegistry

from adapter.checks.message_checks import is_user_id
from adapter.settings import SettingsError
from adapter.signin.encryption import TokenCipher
from adapter.signin.errors import Failure, Identity, SignInError
from adapter.signin.grant import AccessToken, Account, Grant, SignInAttempt, TokenPair
from adapter.signin.metrics import SignInMetrics
from adapter.signin.organisation import Organisation
from adapter.signin.refresh import Refresher
from adapter.signin.settings import SignInSettings
from adapter.signin.store import MAX_CONNECTIONS, TIMEOUT_S, TokenStore
from controller.shared.redis_pool import open_async_redis

T = TypeVar("T")
Flight = tuple[str, str | None, bool]
"""A user, the claims asked for, and whether the token kept now is not wanted."""

THREADS = 16
"""Refreshes of different users that one process makes at once; each blocks a thread."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Revocation:
    """What a revocation did. Where the server has no endpoint for it, its copy lives on."""

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


class SignInServer(Protocol):
    """A provider's sign-in server, for one app. All calls block and raise SignInError."""

    def prepare(self) -> None:
        """Fetch what the first sign-in or refresh would fetch before it; a failure is left to that one."""

    def begin(self, claims: str | None = None, account: str = "") -> SignInAttempt:
        """Begin a sign-in; `account` is the address that the server's page proposes."""

    def exchange(
        self, code: str, code_verifier: str, nonce: str | None, claims: str | None = None
    ) -> TokenPair:
        """Redeem an authorization code and check what comes."""

    def refresh(self, refresh_token: str, account: Account, claims: str | None = None) -> TokenPair:
        """Get a new access token, and the refresh token that is good from now on."""

    def check_tenant(self, tenant: str) -> None:
        """Raise SignInError where people of an organisation may not sign in, or no longer."""

    def revoke(self, refresh_token: str) -> bool:
        """Revoke a refresh token at the server; says whether that was done."""

    def refusal(self, answer: Mapping[str, str]) -> SignInError:
        """Return the error for an answer that brings no code."""

    def close(self) -> None:
        """Close what is open."""


class TokenManager(ABC):
    """Access tokens of one provider, by user. All errors are SignInError, with a code and what to do."""

    identity: ClassVar[Identity]

    @classmethod
    @abstractmethod
    def settings_from(cls, environment: Mapping[str, str] | None) -> SignInSettings:
        """Read the settings; raises SettingsError."""

    @abstractmethod
    def _new_server(self) -> SignInServer:
        """Make the client of the sign-in server; may load certificates and libraries."""

    def __init__(
        self, settings: SignInSettings, *, registry: CollectorRegistry = REGISTRY, ahead: bool = True
    ) -> None:
        """Make a manager; `ahead` prepares the way to the sign-in server by the time that somebody asks."""
        self.settings = settings
        client = open_async_redis(settings.redis_url, TIMEOUT_S, connections=MAX_CONNECTIONS)
        self.store = TokenStore(client, TokenCipher(settings.token_keys), self.identity, settings.sealed_as)
        self._metrics = SignInMetrics.of(self.identity, registry)
        self._made: SignInServer | None = None
        self._making = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="signin")
        self._let_in: set[str] = set()
        self._flights: dict[Flight, asyncio.Task[AccessToken]] = {}
        self._refresher = Refresher(self.identity, self.store, self._ask, settings, self._metrics)
        if ahead:
            self._threads.submit(lambda: self._server().prepare())

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None, *, ahead: bool = True) -> Self:
        """Make a manager from the environment; raises SignInError (CLIENT_CONFIG) for a bad one."""
        try:
            return cls(cls.settings_from(environment), ahead=ahead)
        except SettingsError as error:
            why = str(error)
        raise cls.identity.client_config(why, act=f"Part 5 of {cls.identity.guide} says how.")

    async def get_access_token(self, user_id: str) -> str:
        """Return a valid token, refreshed if need be."""
        self._check_id(user_id)
        return await self._once((user_id, None, False), lambda: self._refresher.kept_or_new(user_id))

    async def refresh_access_token(self, user_id: str, claims: str | None = None) -> str:
        """Return a newer token than the one kept now; `claims` is the challenge of a 401, if it had one.

        Callers at the same time share one request, in this process and between processes.
        """
        self._check_id(user_id)
        return await self._once((user_id, claims, True), lambda: self._refresher.newer(user_id, claims))

    async def exchange_code_for_tokens(
        self, code: str, code_verifier: str, *, nonce: str | None = None, claims: str | None = None
    ) -> TokenPair:
        """Redeem an authorization code and check the answer; stores nothing."""
        return await self.in_thread(lambda: self._server().exchange(code, code_verifier, nonce, claims))

    async def revoke_tokens(self, user_id: str) -> Revocation:
        """Forget a user's tokens here, then revoke them at the server where that is possible.

        In this order, so that nothing is sent any more whatever becomes of the second step.
        """
        self._check_id(user_id)
        known = await self._readable_grant(user_id)
        revoked = await self.store.forget(user_id)
        at_server = known is not None and await self._revoked_at_server(known.refresh_token)
        log.info("tokens_revoked", user_id=user_id, revoked=revoked, server_revoked=at_server)
        return Revocation(user_id, revoked, at_server)

    async def _revoked_at_server(self, refresh_token: str) -> bool:
        return await self.in_thread(lambda: self._server().revoke(refresh_token))

    async def _readable_grant(self, user_id: str) -> Grant | None:
        """Return what is kept of a user; None where nothing is, or no key opens it."""
        try:
            return await self.store.grant(user_id)
        except SignInError as error:
            if error.failure is Failure.UNAVAILABLE:
                raise
            return None

    def refusal(self, answer: Mapping[str, str]) -> SignInError:
        """Return the error for an answer of the sign-in server that brings no code."""
        return self._server().refusal(answer)

    async def link(self, user_id: str, pair: TokenPair) -> Grant:
        """Keep what a person's sign-in yielded."""
        self._check_id(user_id)
        now = pair.access.issued_at
        grant = Grant(pair.refresh_token, pair.access, pair.account, pair.scopes, now, now)
        await self.store.put(user_id, grant)
        log.info("mailbox_linked", user_id=user_id, tenant=pair.account.tenant)
        return grant

    async def status(self, user_id: str) -> LinkStatus:
        """Return whether a mailbox is linked, and how long its tokens live; raises SignInError."""
        self._check_id(user_id)
        grant = await self.store.grant(user_id)
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

    async def begin(
        self, claims: str | None = None, *, user_id: str = "", account: str = ""
    ) -> SignInAttempt:
        """Begin a sign-in; without `claims`, with the challenge that the user's last refresh failed by."""
        claims = claims or (await self.store.claims(user_id) if user_id else None)
        return await self.in_thread(lambda: self._server().begin(claims, account))

    async def organisation(self, domain: str) -> Organisation | None:  # noqa: ARG002 (see Microsoft's)
        """Return what the sign-in server tells of a mail domain; None where it tells nothing."""
        return None

    async def linked_account(self, user_id: str) -> Account | None:
        """Return the account linked to a user; None without one, and where no key opens its tokens."""
        grant = await self._readable_grant(user_id)
        return grant.account if grant else None

    async def aclose(self) -> None:
        """Let refreshes under way end, then close what is open."""
        if self._flights:
            await asyncio.wait(list(self._flights.values()))
        await asyncio.to_thread(self._threads.shutdown)
        if self._made is not None:
            self._made.close()
        await self.store.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _server(self) -> SignInServer:
        """Return the client of the sign-in server, made in a thread: loading certificates takes a while."""
        with self._making:
            if self._made is None:
                self._made = self._new_server()
            return self._made

    async def _ask(self, grant: Grant, claims: str | None) -> TokenPair:
        return await self.in_thread(
            lambda: self._server().refresh(grant.refresh_token, grant.account, claims)
        )

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Make a call that blocks."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _check_id(self, user_id: str) -> None:
        if not is_user_id(user_id):
            raise self.identity.client_config(
                "The user id must be 1 to 256 printable characters",
                act="Pass the id that the mailbox was linked with.",
            )

    def _used(self, access: AccessToken) -> str:
        self._metrics.access_age.observe(max(time.time() - access.issued_at, 0.0))
        return access.secret

    async def _once(self, flight: Flight, renew: Callable[[], Coroutine[Any, Any, AccessToken]]) -> str:
        """Let callers of this process share a reading or a renewal. It goes on when a caller is cancelled.

        A renewal that were cancelled between the answer and the write would lose a refresh token.
        """
        task = self._flights.get(flight)
        if task is None:
            task = self._flights[flight] = asyncio.create_task(renew())
            task.add_done_callback(lambda _: self._flights.pop(flight, None))
            task.add_done_callback(_seen)
        access = await asyncio.shield(task)
        await self._check_tenant(access.tenant)
        return self._used(access)

    async def _check_tenant(self, tenant: str) -> None:
        """Raise SignInError where an organisation is let in no more; settings stay, so it is asked once."""
        if tenant not in self._let_in:
            await self.in_thread(lambda: self._server().check_tenant(tenant))
            self._let_in.add(tenant)


def _seen(task: "asyncio.Task[AccessToken]") -> None:
    """Mark a failure as seen: every caller may have been cancelled, and asyncio would print it."""
    if not task.cancelled():
        task.exception()
