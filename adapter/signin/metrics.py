"""What signing in tells Prometheus; every outcome that can be known exists from the start."""

import threading
from typing import ClassVar
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, disable_created_metrics

from adapter.signin.errors import AUTH_CODES
from controller import contract

OK = "ok"
OUTCOMES = (OK, *(name.removeprefix("MS_AUTH_").lower() for name in AUTH_CODES))
"""`ok`, or the code without its prefix: expired, interaction_required, client_config, unavailable ..."""

_WAIT_EDGES_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
_AGE_EDGES_S = (60, 600, 1800, 3300, 3600, 7200, 86_400, 7 * 86_400, 30 * 86_400, 60 * 86_400, 80 * 86_400)


def outcome_of(code: str) -> str:
    """Return an error's code as the value of a label."""
    return code.removeprefix("MS_AUTH_").lower()


class SignInMetrics:
    """The metrics of one registry; make it with `SignInMetrics.of`: names are registered only once."""

    _made: ClassVar["WeakKeyDictionary[CollectorRegistry, SignInMetrics]"] = WeakKeyDictionary()
    _lock: ClassVar = threading.Lock()

    @classmethod
    def of(cls, registry: CollectorRegistry = REGISTRY) -> "SignInMetrics":
        """Return the metrics of a registry; made at the first call."""
        with cls._lock:
            if registry not in cls._made:
                cls._made[registry] = cls(registry)
            return cls._made[registry]

    def __init__(self, registry: CollectorRegistry) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        refreshes = Counter(
            contract.MS_TOKEN_REFRESH_TOTAL,
            "Requests for a new access token, by outcome.",
            contract.METRIC_LABELS[contract.MS_TOKEN_REFRESH_TOTAL],
            registry=registry,
        )
        self._refreshes = {outcome: refreshes.labels(outcome) for outcome in OUTCOMES}
        self.lock_wait = Histogram(
            contract.MS_TOKEN_LOCK_WAIT_SECONDS,
            "Time waited for a token that somebody else was fetching.",
            buckets=_WAIT_EDGES_S,
            registry=registry,
        )
        ages = Histogram(
            contract.MS_TOKEN_AGE_SECONDS,
            "Age of tokens when used: the access token by a send, the refresh token by a refresh.",
            contract.METRIC_LABELS[contract.MS_TOKEN_AGE_SECONDS],
            buckets=_AGE_EDGES_S,
            registry=registry,
        )
        self.access_age, self.refresh_age = ages.labels("access"), ages.labels("refresh")

    def count_refresh(self, outcome: str) -> None:
        """Count a refresh by its outcome."""
        self._refreshes[outcome].inc()
