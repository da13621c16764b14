"""The synthetic faults of one feature: for each alert what must fire it, and what must leave it silent."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from controller.alertcheck.cases.synthetic_series import Phase, Samples, next_edge_s, traffic
from controller.contract import (
    ACTION_ERROR_TOTAL,
    ACTION_EXEC_TOTAL,
    ACTION_LATENCY_SECONDS,
    SENDER_JOB,
)
from controller.decision.feature import RolloutFeature
from controller.rules.names import Names
from controller.rules.recording import SIGN_IN_METRICS
from controller.rules.scale import Scale

ABOVE, BELOW = 1.05, 0.95
"""How far from a threshold the faults lie."""
HOUR_S = 3600.0
COUNTS = (ACTION_EXEC_TOTAL, ACTION_ERROR_TOTAL, *SIGN_IN_METRICS.values())
LATENCIES = (*COUNTS, f"{ACTION_LATENCY_SECONDS}_bucket", f"{ACTION_LATENCY_SECONDS}_count")
WINDOWS_PER_EVALUATION = {"SlowErrorBudgetBurn": 10}
"""Cases that last for hours are evaluated less often than every second window, to be done in seconds."""


@dataclass(frozen=True, slots=True)
class AlertCase:
    """One synthetic world, and whether the alert must fire in it at some time."""

    alert: str
    name: str
    fires: bool
    samples: Samples
    every: int = 1
    """Windows from one evaluation to the next."""


def feature_cases(feature: RolloutFeature, scale: Scale) -> Iterator[AlertCase]:
    """Yield the cases of all alerts of a feature; strangers that fail all the time are in each of them."""
    noise = strangers(feature, scale)
    names = Names.of(feature)
    for alert, name, fires, phases in _phases(feature, scale):
        own = traffic(feature, phases, scale)
        world = own + noise(max(len(one.values) for one in own.series))
        world = with_only(world, *LATENCIES) if "Latency" in alert else with_only(world, *COUNTS)
        yield AlertCase(names.alert(alert), name, fires, world, WINDOWS_PER_EVALUATION.get(alert, 2))


def with_only(samples: Samples, *names: str) -> Samples:
    """Leave out what an alert does not read: the histograms are by far the most of the series."""
    return Samples(samples.step_s, tuple(one for one in samples.series if one.name in names))


def strangers(feature: RolloutFeature, scale: Scale) -> "Noise":
    """Return the traffic of others, all of it slow and failing: another pair, and the same of another job."""
    return Noise(
        (
            (replace(feature, name=f"{feature.name}-x", action="another-action.send"), SENDER_JOB),
            (replace(feature, name=f"{feature.name}-x", provider="another-provider"), SENDER_JOB),
            (feature, "another"),
        ),
        scale,
    )


@dataclass(frozen=True, slots=True)
class Noise:
    """Makes the strangers' series as long as they are needed."""

    features: tuple[tuple[RolloutFeature, str], ...]
    """Each with the job of its senders."""
    scale: Scale

    def __call__(self, steps: int) -> Samples:
        phase = Phase(
            steps * 30.0,
            sends_per_s=7,
            error_share=0.5,
            very_slow_share=0.5,
            errors_per_s={
                ("MS_AUTH_EXPIRED", "auth"): 1,
                ("MS_API_THROTTLED_429", "provider"): 2,
                ("MS_SEND_UNKNOWN", "provider"): 3,
            },
            gate_per_s={("open", "open"): 3},
        )
        elsewhere = replace(phase, refreshes_per_s={"ok": 1, "expired": 4})
        many = [
            traffic(feature, [phase if job == SENDER_JOB else elsewhere], self.scale, job)
            for feature, job in self.features
        ]
        return Samples(self.scale.window_s, tuple(one for samples in many for one in samples.series))


_Case = tuple[str, str, bool, list[Phase]]


def _phases(feature: RolloutFeature, scale: Scale) -> Iterator[_Case]:
    limit = feature.slo_error_rate_threshold
    yield from _error_rate("HighErrorRateWarning", limit)
    yield from _error_rate("HighErrorRateCritical", min(limit * 5, 0.9))
    yield from _latency_warning(feature)
    yield from _latency_critical(feature)
    yield from _nothing_succeeds(scale)
    yield from _fast_burn(limit, scale)
    yield from _slow_burn(limit, scale)
    if feature.provider in SIGN_IN_METRICS:
        yield from _token_refresh(scale)


def _episode(healthy: Phase, fault: Phase, fault_s: float, before_s: float = 600) -> list[Phase]:
    """Return health, a fault, and health again, long enough for an alert to resolve."""
    return [
        replace(healthy, length_s=before_s),
        replace(fault, length_s=fault_s),
        replace(healthy, length_s=900),
    ]


def _no_traffic(alert: str) -> _Case:
    return alert, "no traffic", False, [Phase(300, sends_per_s=1, error_share=0.0), Phase(1800)]


def _error_rate(alert: str, threshold: float) -> Iterator[_Case]:
    healthy = Phase(0, sends_per_s=10)
    above, below = (replace(healthy, error_share=threshold * times) for times in (ABOVE, BELOW))
    guard = Phase(0, sends_per_s=0.1, error_share=1)
    yield alert, "fires and resolves", True, _episode(healthy, above, 1500)
    yield alert, "just below", False, _episode(healthy, below, 1500)
    yield alert, "too little traffic", False, [replace(guard, length_s=2400, sends_per_s=0.1 * BELOW)]
    enough = replace(guard, length_s=2400, sends_per_s=0.1 * ABOVE)
    # Below one send per second the ratio is floored: with every send failing it is the rate itself.
    yield alert, "just enough traffic", enough.sends_per_s > threshold, [enough]
    yield _no_traffic(alert)


def _latency_warning(feature: RolloutFeature) -> Iterator[_Case]:
    alert, healthy = "HighLatencyWarning", Phase(0, sends_per_s=10)
    share = _share_above(feature.latency_limit_s, next_edge_s(feature, feature.latency_limit_s))
    yield alert, "fires and resolves", True, _episode(healthy, replace(healthy, slow_share=share), 1500)
    yield alert, "just below", False, _episode(healthy, replace(healthy, slow_share=0.045), 1500)
    yield _no_traffic(alert)


def _latency_critical(feature: RolloutFeature) -> Iterator[_Case]:
    alert, healthy = "HighLatencyCritical", Phase(0, sends_per_s=10)
    limit_s = feature.latency_limit_s * 4
    share = _share_above(limit_s, next_edge_s(feature, limit_s))
    fault = replace(healthy, barely_slow_share=0.6)
    yield alert, "fires and resolves", True, _episode(healthy, replace(fault, very_slow_share=share), 1500)
    yield alert, "just below", False, _episode(healthy, replace(fault, very_slow_share=0.045), 1500)
    yield _no_traffic(alert)


def _share_above(edge_s: float, next_s: float) -> float:
    """Return the share between two edges that puts the p95 slightly above the first."""
    beyond = edge_s * (ABOVE - 1) / (next_s - edge_s)
    return 0.05 / (1 - min(beyond, 0.5))


def _nothing_succeeds(scale: Scale) -> Iterator[_Case]:
    alert, window_s = "NothingSucceeds", scale.stretched_s(300)
    healthy = Phase(0, sends_per_s=0.05)
    rare = Phase(2400, error_share=1)
    yield alert, "fires and resolves", True, _episode(healthy, replace(healthy, error_share=1), 1500)
    yield alert, "a few succeed", False, _episode(healthy, replace(healthy, error_share=0.985), 1500)
    yield alert, "hardly a send", False, [replace(rare, sends_per_s=2.5 * BELOW / window_s)]
    yield alert, "just enough sends", True, [replace(rare, sends_per_s=2.5 * ABOVE / window_s)]
    yield _no_traffic(alert)


def _fast_burn(limit: float, scale: Scale) -> Iterator[_Case]:
    alert, factor = "FastErrorBudgetBurn", min(14.4, round(0.5 / limit, 2))
    healthy = Phase(0, sends_per_s=10)
    above, below, high = (
        replace(healthy, error_share=limit * factor * times) for times in (ABOVE, BELOW, 1.4)
    )
    rare = Phase(2.5 * HOUR_S, error_share=0.95)
    per_s = 2.5 / 0.95 / scale.stretched_s(HOUR_S)
    yield alert, "fires and resolves", True, _episode(healthy, above, 1.2 * HOUR_S, HOUR_S)
    yield alert, "just below", False, _episode(healthy, below, 1.2 * HOUR_S, HOUR_S)
    yield (
        alert,
        "not long enough",
        False,
        [
            *_episode(healthy, below, HOUR_S, 900)[:2],
            replace(high, length_s=360),
            replace(healthy, length_s=900),
        ],
    )
    yield (
        alert,
        "not any more",
        True,
        [
            replace(healthy, length_s=900),
            replace(high, length_s=HOUR_S),
            replace(below, length_s=900),
        ],
    )
    yield alert, "hardly a failure", False, [replace(rare, sends_per_s=per_s * BELOW)]
    yield alert, "just enough failures", True, [replace(rare, sends_per_s=per_s * ABOVE)]
    yield _no_traffic(alert)


def _slow_burn(limit: float, scale: Scale) -> Iterator[_Case]:
    alert, factor = "SlowErrorBudgetBurn", min(6.0, max(1.0, round(0.25 / limit, 2)))
    healthy = Phase(0, sends_per_s=10)
    above, below, high = (
        replace(healthy, error_share=limit * factor * times) for times in (ABOVE, BELOW, 1.9)
    )
    rare = Phase(7 * HOUR_S, error_share=0.95)
    per_s = 2.5 / 0.95 / scale.stretched_s(6 * HOUR_S)
    yield (
        alert,
        "fires and resolves",
        True,
        [
            *_episode(healthy, high, 3.5 * HOUR_S, 4 * HOUR_S),
            replace(healthy, length_s=900),
        ],
    )
    yield alert, "just above", True, [replace(above, length_s=2 * HOUR_S)]
    yield alert, "just below", False, [replace(below, length_s=2 * HOUR_S)]
    yield (
        alert,
        "not any more",
        True,
        [
            replace(high, length_s=2 * HOUR_S),
            replace(below, length_s=HOUR_S),
        ],
    )
    yield (
        alert,
        "not long enough",
        False,
        [
            replace(below, length_s=2 * HOUR_S, error_share=limit * factor * 0.9),
            replace(high, length_s=360),
            replace(healthy, length_s=1800),
        ],
    )
    yield alert, "hardly a failure", False, [replace(rare, sends_per_s=per_s * BELOW)]
    yield alert, "just enough failures", True, [replace(rare, sends_per_s=per_s * ABOVE)]
    yield _no_traffic(alert)


def _token_refresh(scale: Scale) -> Iterator[_Case]:
    alert, window_s = "TokenRefreshFailing", scale.stretched_s(900)

    def refreshing(per_s: float, failed: float) -> Phase:
        parts = {"ok": per_s * (1 - failed), "unavailable": per_s * failed / 2, "expired": per_s * failed / 2}
        return Phase(0, sends_per_s=1, refreshes_per_s=parts)

    healthy = refreshing(0.5, 0)
    yield alert, "fires and resolves", True, _episode(healthy, refreshing(0.5, 0.2 * ABOVE), 2400)
    yield alert, "just below", False, _episode(healthy, refreshing(0.5, 0.2 * BELOW), 2400)
    rare = [replace(refreshing(2.5 * times / window_s, 1), length_s=3600) for times in (BELOW, ABOVE)]
    yield alert, "hardly a failure", False, rare[:1]
    yield alert, "just enough failures", True, rare[1:]
    yield _no_traffic(alert)
