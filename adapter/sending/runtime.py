"""What a process needs to send: settings, gate, metrics, tokens and connections, opened once per event loop.

`outlook_send` needs no set-up call. The runtime it makes lives in an asynchronous generator, because an
event loop closes those when it ends: connections and the gate's reader end with the loop that they belong to.
"""

import asyncio
import contextlib
import importlib
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry

from adapter.errors import AuthError
from adapter.gate.rollout_gate import RolloutGate
from adapter.gate.rule import GateAnswer
from adapter.message import SendIds
from adapter.providers.provider import Drafts, Provider
from adapter.providers.registry import PROVIDERS
from adapter.sending.access_tokens import StaticTokens, TokenSource
from adapter.sending.delivery import Deadline, Delivery
from adapter.sending.drafts.notes import SETTLE_S, OpenDrafts
from adapter.sending.drafts.sweep import Sweeper
from adapter.sending.idempotency import IdempotencyKeys
from adapter.sending.mailboxes import Mailboxes
from adapter.sending.metrics import SendMetrics, complete_metrics
from adapter.sending.metrics_server import serve_metrics_after_fork
from adapter.sending.redis_client import MAX_CONNECTIONS, QUEUE_S, TIMEOUT_S
from adapter.settings import PREFIXES, Settings
from adapter.transport.post import NotSentError, Transport
from controller.features import RolloutFeature, load_features
from controller.shared.redis_pool import open_async_redis

log = logging.getLogger("rollout.send")


class AsksGate(Protocol):
    """What a send asks: one answer from memory."""

    def check(self, feature: str, user_id: str, recipients: tuple[str, ...] = ()) -> GateAnswer:
        """Return whether a user's send may go ahead now, and why."""

    def count(self, feature: str, ok: bool, seconds: float, mailbox: str = "") -> None:
        """Count a send that was let in, for the controller."""

    def revision(self, feature: str) -> int:
        """Return the flags' revision that is obeyed now."""

    def percent(self, feature: str) -> float:
        """Return the percentage that is obeyed now."""


def _made_by(module: str, name: str) -> Callable[[], TokenSource]:
    """Import late: msal is large, and who brings tokens or sends through another provider needs none."""
    return lambda: cast("TokenSource", getattr(importlib.import_module(module), name)())


TOKEN_SOURCES: dict[str, Callable[[], TokenSource]] = {
    "microsoft": _made_by("adapter.signin.microsoft.manager", "token_source"),
    "google": _made_by("adapter.signin.google.manager", "token_source"),
}
"""Where each provider's tokens come from; raises AuthError where its settings cannot be used."""


@dataclass(eq=False)
class Runtime:
    """One process's means of sending. `Runtime.open()` gives one that is ready."""

    settings: Settings
    features: Mapping[str, RolloutFeature]
    gate: AsksGate
    telemetry: SendMetrics
    tokens: dict[str, TokenSource] = field(default_factory=dict)
    _transports: dict[str, Transport] = field(default_factory=dict)
    _own_tokens: list[TokenSource] = field(default_factory=list)
    _mailboxes: dict[str, Mailboxes] = field(default_factory=dict)
    _by_action: dict[tuple[str, str], str] = field(default_factory=dict)
    _drafts: dict[str, OpenDrafts] = field(default_factory=dict)
    _sweeping: "list[asyncio.Task[None]]" = field(default_factory=list)
    _closers: AsyncExitStack = field(default_factory=AsyncExitStack)

    def __post_init__(self) -> None:
        self._redis = open_async_redis(
            self.settings.redis_url, TIMEOUT_S, connections=MAX_CONNECTIONS, queue_s=QUEUE_S
        )
        self.keys = IdempotencyKeys(self._redis, self.settings.idempotency_ttl_s)
        self._by_action = {(f.provider, f.action): f.name for f in self.features.values()}

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: Settings | None = None,
        *,
        gate: AsksGate | None = None,
        tokens: Mapping[str, TokenSource] | None = None,
        registry: CollectorRegistry = REGISTRY,
    ) -> AsyncIterator["Runtime"]:
        """Open everything for `async with`; what is not given, the environment gives.

        Raises SettingsError or ConfigError. An unreachable Redis only keeps the gate closed.
        """
        runtime = await cls.start(settings, gate=gate, tokens=tokens, registry=registry)
        try:
            yield runtime
        finally:
            await runtime.aclose()

    @classmethod
    async def start(
        cls,
        settings: Settings | None = None,
        *,
        gate: AsksGate | None = None,
        tokens: Mapping[str, TokenSource] | None = None,
        registry: CollectorRegistry = REGISTRY,
    ) -> "Runtime":
        """As `open`, for who calls `aclose` later."""
        settings = settings or Settings.from_environment()
        features = load_features(Path(settings.config_file) if settings.config_file else None)
        async with AsyncExitStack() as stack:
            if gate is None:
                own = RolloutGate.connect(settings.redis_url, features, settings.internal_domains)
                gate = await stack.enter_async_context(own)
            serve_metrics_after_fork()
            telemetry = complete_metrics(features, gate, registry)
            runtime = cls(settings, features, gate, telemetry, dict(tokens or {}))
            runtime._take_integration_tokens()
            await runtime._make_token_sources()
            runtime._begin_sweeping()
            stack.push_async_callback(runtime._close_connections)
            runtime._closers = stack.pop_all()
        return runtime

    async def aclose(self) -> None:
        """Close the connections, and the gate if it was opened here."""
        await self._closers.aclose()

    def feature_of(self, provider: str, action: str) -> str:
        """Name the feature that rolls this action out; the provider's name where none is configured."""
        return self._by_action.get((provider, action), provider)

    def transport(self, provider: Provider) -> Transport:
        """Return the transport to a provider; made at the first call."""
        if provider.name not in self._transports:
            self._transports[provider.name] = self._opened(provider, self._base_url(provider))
        return self._transports[provider.name]

    def _base_url(self, provider: Provider) -> str:
        return self.settings.base_urls.get(provider.name, provider.base_url)

    def _opened(self, provider: Provider, url: str) -> Transport:
        return Transport(
            url,
            ca_file=self.settings.ca_files.get(provider.name, ""),
            connect_timeout_s=self.settings.connect_timeout_s,
        )

    def server(self, provider: Provider, origin: str) -> Transport:
        """Return the transport to another server that the provider named; made at the first call.

        Raises NotSentError where no file may go there.
        """
        if not origin:
            return self.transport(provider)
        if origin not in self._transports:
            if not is_server_of(provider, self._base_url(provider), origin):
                host = urlsplit(origin).hostname
                raise NotSentError(f"files may not go to {host}, which {provider.name} named")
            self._transports[origin] = self._opened(provider, origin)
        return self._transports[origin]

    def drafts(self, provider: Provider) -> OpenDrafts:
        """Return the notes of a provider's open drafts; made at the first call."""
        if provider.name not in self._drafts:
            self._drafts[provider.name] = OpenDrafts(self._redis, provider.name)
        return self._drafts[provider.name]

    def delivery(self, provider: Provider, user_id: str, ids: SendIds, deadline: Deadline) -> Delivery:
        """Return the means to make requests for a user that send nothing."""
        return Delivery(
            provider=provider,
            transport=partial(self.server, provider),
            tokens=self.token_source(provider),
            user_id=user_id,
            ids=ids,
            deadline=deadline,
            max_posts=self.settings.max_posts,
            trusts_throttling=not self.settings.throttled_is_unknown,
        )

    def sweeper(self, provider: Provider, drafts: Drafts) -> Sweeper:
        """Return what settles the drafts that other processes have left."""

        def delivery(user_id: str) -> Delivery:
            ids = SendIds(str(uuid.uuid4()), "")
            return self.delivery(provider, user_id, ids, Deadline(SETTLE_S))

        return Sweeper(drafts, self.drafts(provider), self.keys, delivery)

    def mailboxes(self, provider: Provider) -> Mailboxes:
        """Return the places at a provider's mailboxes; made at the first call."""
        if provider.name not in self._mailboxes:
            self._mailboxes[provider.name] = Mailboxes(
                provider.name, self.settings.sends_per_mailbox, self._redis
            )
        return self._mailboxes[provider.name]

    def token_source(self, provider: Provider) -> TokenSource:
        """Return where a provider's tokens come from; made at the first call."""
        if provider.name not in self.tokens:
            source = self.tokens[provider.name] = TOKEN_SOURCES[provider.name]()
            self._own_tokens.append(source)
        return self.tokens[provider.name]

    def _take_integration_tokens(self) -> None:
        for provider, token in self.settings.integration_tokens.items():
            if provider not in self.tokens:
                self.tokens[provider] = StaticTokens(token)
                name = f"{PREFIXES[provider]}_INTEGRATION_TOKEN"
                log.warning("every mail is sent with %s because INTEGRATION_TESTS_ENABLED=true", name)

    async def _make_token_sources(self) -> None:
        """Make them before the first send, which would wait for msal to load; failures are left to it."""
        for name in self.settings.providers_enabled & TOKEN_SOURCES.keys() - self.tokens.keys():
            with contextlib.suppress(AuthError):
                source = self.tokens[name] = await asyncio.to_thread(TOKEN_SOURCES[name])
                self._own_tokens.append(source)

    def _begin_sweeping(self) -> None:
        for provider in PROVIDERS.values():
            if provider.drafts and provider.name in self.settings.providers_enabled:
                sweeping = self.sweeper(provider, provider.drafts).run()
                self._sweeping.append(asyncio.create_task(sweeping))

    async def _close_connections(self) -> None:
        for task in self._sweeping:
            task.cancel()
        await asyncio.gather(*self._sweeping, return_exceptions=True)
        for notes in self._drafts.values():
            notes.close()
        for transport in self._transports.values():
            await transport.aclose()
        for close in [getattr(source, "aclose", None) for source in self._own_tokens]:
            if close:
                await close()
        for mailboxes in self._mailboxes.values():
            await mailboxes.aclose()
        await self._redis.aclose()


def is_server_of(provider: Provider, base_url: str, origin: str) -> bool:
    """Whether files may go to a server that an answer named: the provider's own, or one of its kind."""
    own, other = urlsplit(base_url), urlsplit(origin)
    if (own.scheme, own.netloc) == (other.scheme, other.netloc):
        return True
    hosts = provider.drafts.upload_hosts if provider.drafts else ()
    return other.scheme == "https" and f".{other.hostname}".endswith(tuple(hosts))


@dataclass(eq=False)
class _Default:
    """One loop's runtime and the generator that keeps it open."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    runtime: Runtime | None = None
    life: AsyncIterator[Runtime] | None = None


_defaults: WeakKeyDictionary[asyncio.AbstractEventLoop, _Default] = WeakKeyDictionary()


async def default_runtime() -> Runtime:
    """Return the running loop's runtime; the first call opens it from the environment."""
    loop = asyncio.get_running_loop()
    default = _defaults.get(loop)
    if default is None:
        default = _defaults[loop] = _Default()
    if default.runtime is None:
        async with default.lock:
            if default.runtime is None:
                life = _life()
                default.runtime = await anext(life)
                default.life = life
    return default.runtime


async def _life() -> AsyncIterator[Runtime]:
    """Hold a runtime until the loop closes its generators, all at once: so none may lie within this one.

    It is forgotten here, because a generator refers to its loop, which would so keep itself alive.
    """
    runtime = await Runtime.start()
    try:
        yield runtime
    finally:
        _defaults.pop(asyncio.get_running_loop(), None)
        await runtime.aclose()
