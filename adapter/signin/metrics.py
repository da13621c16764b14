"""What signing in tells Prometheus; every outcome that can be known exists from the start."""

import threading
from typing import ClassVar
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, disable_created_metrics

from adapter.signin.errors import Failure, Identity
from controller import contract

OK = "ok"
OUTCOMES = (OK, *(failure.lower() for failure in Failure))
"""`ok`, or the failure: expired, interaction_required, client_config, unavailable ..."""

_WAIT_EDGES_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
_AGE_EDGES_S = (60, 600, 1800, 3300, 3600, 7200, 86_400, 7 * 86_400, 30 * 86_400, 60 * 86_400, 80 * 86_400)


class SignInMetrics:
    """A provider's metrics in one registry; made with `SignInMetrics.of`: names are registered only once."""

    _made: ClassVar["WeakKeyDictionary[CollectorRegistry, dict[str, SignInMetrics]]"] = WeakKeyDictionary()
    _lock: ClassVar = threading.Lock()

    @classmethod
    def of(cls, identity: Identity, registry: CollectorRegistry = REGISTRY) -> "SignInMetrics":
        """Return the metrics of a provider in a registry; made at the first call."""
        with cls._lock:
            made = cls._made.setdefault(registry, {})
            if identity.provider not in made:
                made[identity.provider] = cls(identity, registry)
            return made[identity.provider]

    def __init__(self, identity: Identity, registry: CollectorRegistry) -> None:
        names = {
            name: identity.metric(name) for name in ("refresh_total", "lock_wait_seconds", "age_seconds")
        }
        disable_created_metrics()  # type: ignore[no-untyped-call]
        refreshes = Counter(
            names["refresh_total"],
            "Requests for a new access token, by outcome.",
            contract.METRIC_LABELS[names["refresh_total"]],
            registry=registry,
        )
        self._refreshes = {outcome: refreshes.labels(outcome) for outcome in OUTCOMES}
        self.lock_wait = Histogram(
            names["lock_wait_seconds"],
            "Time waited for a token that somebody else was fetching.",
            buckets=_WAIT_EDGES_S,
            registry=registry,
        )
        ages = Histogram(
            names["age_seconds"],
            "Age of tokens when used: the access token by a send, the refresh token by a refresh.",
            contract.METRIC_LABELS[names["age_seconds"]],
            buckets=_AGE_EDGES_S,
            registry=registry,
        )
        self.access_age, self.refresh_age = ages.labels("access"), ages.labels("refresh")

    def count_refresh(self, outcome: str) -> None:
        """Count a refresh by its outcome."""
        self._refreshes[outcome].inc()
