"""A Sender for tests: a real runtime on a real Redis, a local provider, and metrics that can be compared."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import redis
from prometheus_client import CollectorRegistry

from adapter import (
    EmailAddress,
    Runtime,
    SendResult,
    Settings,
    StaticTokens,
    TokenSource,
    gmail_send,
    outlook_send,
)
from adapter.errors import StructuredError
from adapter.sandbox.gmail import GmailSandbox
from adapter.sandbox.graph import Sandbox
from adapter.sandbox.mail_server import MailSandbox
from controller.contract import flag_key
from controller.shared.redis_pool import key_prefix

ANN = EmailAddress("ann@corp.example", "Ann")
OPEN_FLAGS = {"enabled": "true", "internal_only": "false", "rollout_percent": "100", "paused": "false"}


@dataclass(frozen=True)
class Service:
    """A provider as the tests drive it."""

    provider: str
    action: str
    send: Callable[..., Awaitable[SendResult]]
    sandbox: type[MailSandbox]
    address: str
    """The variable that points the adapter at the sandbox."""
    ok_status: int

    @property
    def labels(self) -> dict[str, str]:
        return {"provider": self.provider, "action": self.action}

    @property
    def gate_open(self) -> str:
        """Return the counter of the gate's open answers."""
        return f"rollout_gate_total{{feature={self.provider},outcome=open,reason=in_rollout}}"


MICROSOFT = Service("microsoft", "outlook.send", outlook_send, Sandbox, "MS_GRAPH_URL", 202)
GOOGLE = Service("google", "gmail.send", gmail_send, GmailSandbox, "GOOGLE_API_URL", 200)


def open_flags(client: redis.Redis, feature: str = "microsoft", **changed: str) -> None:
    """Write the four flags so that everybody is in."""
    prefix = key_prefix(client)
    for flag, text in (OPEN_FLAGS | changed).items():
        client.set(prefix + flag_key(feature, flag), text)


@dataclass
class Outcome:
    """What one call came to, and what moved."""

    result: SendResult | None
    error: StructuredError | None
    posts: int
    moved: dict[str, float]

    @property
    def code(self) -> str:
        return self.error.code if self.error else ""


@dataclass
class Sender:
    """Sends through one runtime."""

    runtime: Runtime
    graph: MailSandbox
    registry: CollectorRegistry
    service: Service = MICROSOFT
    defaults: dict[str, Any] = field(
        default_factory=lambda: {"to": [ANN], "subject": "Hi", "body_html": "<p>Hi</p>", "user_id": "u1"}
    )

    async def send(self, **given: Any) -> SendResult:
        return await self.service.send(**{**self.defaults, **given}, runtime=self.runtime)

    async def outcome(self, **given: Any) -> Outcome:
        """Send, and give what happened whatever it is."""
        posts, before = self.graph.posts, self.metrics()
        result, error = None, None
        try:
            result = await self.send(**given)
        except StructuredError as raised:
            error = raised
        after = self.metrics()
        moved = {name: value - before.get(name, 0.0) for name, value in after.items()}
        return Outcome(
            result, error, self.graph.posts - posts, {name: by for name, by in moved.items() if by}
        )

    def metrics(self) -> dict[str, float]:
        """Return the counters and the histogram's counts, as `name{label="value",...}` with labels sorted."""
        return {
            _written(sample.name, sample.labels, self.service): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name.endswith(("_total", "_count")) and _is_ours(sample.labels, self.service)
        }


def _is_ours(labels: Mapping[str, str], service: Service) -> bool:
    ours = {**service.labels, "feature": service.provider}
    return all(labels.get(name, value) == value for name, value in ours.items())


def _written(name: str, labels: Mapping[str, str], service: Service) -> str:
    kept = {key: value for key, value in labels.items() if key not in service.labels}
    return f"{name}{{{','.join(f'{key}={value}' for key, value in sorted(kept.items()))}}}"


@asynccontextmanager
async def open_sender(
    redis_url: str,
    graph: MailSandbox,
    *,
    service: Service = MICROSOFT,
    tokens: TokenSource | None = None,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Sender]:
    """Open a runtime against this Redis and this Graph, with metrics of its own."""
    settings = Settings.from_environment(
        {
            "ROLLOUT_REDIS_URL": redis_url,
            service.address: graph.url,
            f"PROVIDER_{service.provider.upper()}_ENABLED": "true",
            "ROLLOUT_SEND_DEADLINE_S": "20",
            **(environment or {}),
        }
    )
    registry = CollectorRegistry()
    source = tokens or StaticTokens("sandbox-token")
    async with Runtime.open(settings, tokens={service.provider: source}, registry=registry) as runtime:
        yield Sender(runtime, graph, registry, service)
