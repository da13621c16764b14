"""The health test of one step: bets, on its counts alone, that the rate is below margin x limit."""

from dataclasses import dataclass
from math import exp, isfinite, log

from controller.decision.sequential.clusters import Health
from controller.decision.sequential.logarithms import log_sum, worth

HEALTHY_GRID = ((0.01, 0.228), (0.08, 0.143), (0.18, 0.164), (0.32, 0.257), (0.55, 0.208))
"""(rate as a share of margin x limit, weight): quickest up to 0.6 x the limit."""
LARGEST_ERROR = 0.5


def step_error(error: float, next_percent: float) -> float:
    """Return the chance of error of one step: of the users, a share of at most `error` is wrongly exposed."""
    return min(LARGEST_ERROR, error * 100 / next_percent)


@dataclass(frozen=True, slots=True)
class HealthTest:
    """What a window brings at each rate: natural logarithms."""

    rates: tuple[tuple[float, float, float], ...]
    """(worth of a bad send, worth of a good send, weight) for each rate."""

    def evidence(self, health: Health, effect: float) -> float:
        """Tell how much speaks for a rate below margin x limit: ln H."""
        return log_sum(self._terms(health, effect)) if health.sends > 0 else 0.0

    def _terms(self, health: Health, effect: float) -> list[float]:
        bad, good = health.bad / effect, (health.sends - health.bad) / effect
        return [weight + bad * hit + good * miss for hit, miss, weight in self.rates]

    def sends_needed(self, health: Health, effect: float, needed: float, rate: float) -> float | None:
        """Estimate how many more sends prove health at a rate; None if never.

        The evidence after N more sends is a convex function of N, so Newton's method, begun to the right of
        the root, stays to the right of it and a few steps come within a send or two.
        """
        drifts = [(rate * hit + (1 - rate) * miss) / effect for hit, miss, _ in self.rates]
        held = self._terms(health, effect)
        if log_sum(held) >= needed:
            return 0.0
        waits = [(needed - h) / drift for h, drift in zip(held, drifts, strict=True) if drift > 0]
        if not waits:
            return None
        more = min(waits)
        for _ in range(4):
            terms = [h + more * drift for h, drift in zip(held, drifts, strict=True)]
            reached = log_sum(terms)
            slope = sum([exp(t - reached) * drift for t, drift in zip(terms, drifts, strict=True)])
            if slope <= 0:
                break
            more -= (reached - needed) / slope
        return more if isfinite(more) and more > 0 else None


def health_test(unhealthy: float) -> HealthTest:
    """Work out the test against a rate of `unhealthy` or more."""
    return HealthTest(
        rates=tuple((*worth(share * unhealthy, unhealthy), log(weight)) for share, weight in HEALTHY_GRID)
    )
