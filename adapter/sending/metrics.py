"""The metrics of the adapter. Every child that can be known exists from the start.

A child that is created by its first increment hides that increment: Prometheus sees no rise from nothing,
and the first failures of a rollout would be lost.
"""

import itertools
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakKeyDictionary

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

from adapter.errors import FAILURES, REFUSALS, Code, not_linked_codes
from adapter.gate.rule import GateReason
from adapter.providers.provider import Provider
from adapter.providers.registry import PROVIDERS
from adapter.signin.metrics import SignInMetrics
from adapter.signin.providers import IDENTITIES
from controller import contract
from controller.features import RolloutFeature

OPEN, CLOSED = "open", "closed"
PROVIDER_DISABLED = "provider_disabled"
"""The one reason of a denial that is not the gate's own: the process was told not to use the provider."""


class WatchedGate(Protocol):
    """What the two gauges read at each scrape."""

    def revision(self, feature: str) -> int:
        """Return the flags' revision that is obeyed now."""

    def percent(self, feature: str) -> float:
        """Return the percentage that is obeyed now."""


@dataclass(frozen=True, slots=True)
class ActionMeters:
    """The children of one action; using them costs no look-up by label."""

    ok: Counter
    error: Counter
    errors: Counter
    ok_latency: Histogram
    error_latency: Histogram
    codes: dict[tuple[str, str], Counter]

    def succeeded(self, seconds: float) -> None:
        """Count a send that was accepted, with how long it took."""
        self.ok.inc()
        self.ok_latency.observe(seconds)

    def failed(self, seconds: float, *, counts: bool) -> None:
        """Count a tried send that failed; `counts` is false for the caller's own faults."""
        self.error.inc()
        self.error_latency.observe(seconds)
        if counts:
            self.errors.inc()


class SendMetrics:
    """All metrics of one registry; make it with `SendMetrics.of`, because names are registered only once."""

    @classmethod
    def of(
        cls, features: Mapping[str, RolloutFeature], registry: CollectorRegistry = REGISTRY
    ) -> "SendMetrics":
        """Return the registry's telemetry; the features of its first use set the edges of the histogram."""
        with _lock:
            if registry not in _made:
                _made[registry] = cls(features, registry)
            return _made[registry]

    def __init__(self, features: Mapping[str, RolloutFeature], registry: CollectorRegistry) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        edges = contract.latency_edges_s(tuple(f.latency_limit_s for f in features.values()))
        self._exec = _counter(contract.ACTION_EXEC_TOTAL, "Sends that were tried.", registry)
        self._errors = _counter(contract.ACTION_ERROR_TOTAL, "Tried sends that count as failed.", registry)
        self._codes = _counter(contract.STRUCTURED_ERROR_TOTAL, "Errors by code, refusals too.", registry)
        self._gate = _counter(contract.ROLLOUT_GATE_TOTAL, "Answers of the gate.", registry)
        self._latency = Histogram(
            contract.ACTION_LATENCY_SECONDS,
            "Time of a tried send, from its place in the mailbox's queue to the answer.",
            contract.METRIC_LABELS[contract.ACTION_LATENCY_SECONDS],
            buckets=edges,
            registry=registry,
        )
        self._revision = _gauge(contract.ROLLOUT_GATE_REVISION, "Revision of the flags obeyed.", registry)
        self._percent = _gauge(contract.ROLLOUT_GATE_PERCENT, "Percentage obeyed.", registry)
        self._meters: dict[tuple[str, str], ActionMeters] = {}
        self._gate_children: dict[tuple[str, str], Counter] = {}
        self._features = tuple(features)
        self._make_gate_children()

    def begin_at_zero(self) -> None:
        """Forget what was counted: a forked process has its parent's counts, and did not send those mails."""
        for metric in (self._exec, self._errors, self._codes, self._gate, self._latency):
            metric.clear()
        self._meters.clear()
        self._make_gate_children()

    def meters(self, action: str, provider: Provider) -> ActionMeters:
        """Return the children of an action, all made at the first call."""
        made = self._meters.get((provider.name, action))
        if made is None:
            made = self._meters[provider.name, action] = self._make(action, provider)
        return made

    def _make(self, action: str, provider: Provider) -> ActionMeters:
        labels = (provider.name, action)
        codes = {(code.name, code.source.value) for code in known_codes(provider)}
        return ActionMeters(
            ok=self._exec.labels(*labels, "ok"),
            error=self._exec.labels(*labels, "error"),
            errors=self._errors.labels(*labels),
            ok_latency=self._latency.labels(*labels, "ok"),
            error_latency=self._latency.labels(*labels, "error"),
            codes={key: self._codes.labels(*labels, *key) for key in codes},
        )

    def count_code(self, action: str, provider: Provider, code: str, source: str) -> None:
        """Count a structured error by its code and source."""
        children = self.meters(action, provider).codes
        child = children.get((code, source))
        if child is None:
            child = children[code, source] = self._codes.labels(provider.name, action, code, source)
        child.inc()

    def count_gate(self, feature: str, outcome: str, reason: str) -> None:
        """Count an answer of the gate."""
        child = self._gate_children.get((feature, reason))
        if child is None:
            child = self._gate_children[feature, reason] = self._gate.labels(feature, outcome, reason)
        child.inc()

    def watch(self, gate: WatchedGate, features: Iterable[str]) -> None:
        """Let the gauges follow this gate, so that the controller sees which flags this process obeys."""
        for name in features:
            self._revision.labels(name).set_function(lambda name=name: gate.revision(name))  # type: ignore[misc]
            self._percent.labels(name).set_function(lambda name=name: gate.percent(name))  # type: ignore[misc]

    def _make_gate_children(self) -> None:
        for feature, reason in itertools.product(self._features, (*GateReason, PROVIDER_DISABLED)):
            outcome = OPEN if reason is GateReason.IN_ROLLOUT else CLOSED
            self._gate_children[feature, str(reason)] = self._gate.labels(feature, outcome, str(reason))


def complete_metrics(
    features: Mapping[str, RolloutFeature], gate: WatchedGate, registry: CollectorRegistry
) -> SendMetrics:
    """Make all metrics of a sender that follows this gate, so that not even the first failure is lost."""
    telemetry = SendMetrics.of(features, registry)
    telemetry.watch(gate, features)
    for identity in IDENTITIES:
        SignInMetrics.of(identity, registry)
    for action, provider in PROVIDERS.items():
        telemetry.meters(action, provider)
    return telemetry


_made: WeakKeyDictionary[CollectorRegistry, SendMetrics] = WeakKeyDictionary()
_lock = threading.Lock()


def known_codes(provider: Provider) -> Iterable[Code]:
    """Return every code that a send through this provider can end with."""
    own = provider.codes.values()
    return (*REFUSALS.values(), *not_linked_codes(own), *FAILURES.values(), *own)


def _counter(name: str, words: str, registry: CollectorRegistry) -> Counter:
    return Counter(name, words, contract.METRIC_LABELS[name], registry=registry)


def _gauge(name: str, words: str, registry: CollectorRegistry) -> Gauge:
    return Gauge(name, words, contract.METRIC_LABELS[name], registry=registry)
