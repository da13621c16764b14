"""Ramps on made-up traffic: seeded, decided by the same function that decides live."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, log, log1p, sqrt
from random import Random

from controller.decision.feature import RolloutFeature
from controller.decision.model import Reason
from controller.features import config_hash
from controller.whatif.outcome import RampOutcome
from controller.whatif.playback import Tick, course

VERY_SLOW_OF_SLOW = 0.2
"""The share of slow sends that are very slow: 1 % of all where 5 % of all are slow."""
_SMALL_MEAN = 200.0
"""Below this the number of sends is drawn exactly; above, from a normal distribution."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is sent: sends per second of all users, and the shares of them that fail and that are slow."""

    sends_per_s: float
    error_rate: float
    slow_share: float = 0.01
    constant: bool = False
    """The same traffic at every step, instead of the share of the users who are in."""

    def at(self, percent: float) -> float:
        """Return the sends per second at a percentage."""
        if percent <= 0:
            return 0.0
        return self.sends_per_s if self.constant else self.sends_per_s * percent / 100


def ramp(
    feature: RolloutFeature, traffic: Traffic, *, seed: str, hours: float, window_s: float
) -> RampOutcome:
    """Simulate one ramp from its start until it is paused or complete, or the hours are over."""
    outcome = RampOutcome(percent=feature.initial_percent)
    decided = course(
        feature,
        _ticks(
            outcome,
            traffic,
            Random(seed),  # noqa: S311  (nothing here is secret)
            hours,
            window_s,
            very_slow=bool(feature.slo_very_slow_threshold),
        ),
        config_hash=config_hash(feature),
        window_s=window_s,
    )
    for snapshot, decision in decided:
        outcome.add(snapshot, decision)
        if outcome.paused_at is not None or decision.reason is Reason.COMPLETE:
            break
    return outcome


def _ticks(
    outcome: RampOutcome,
    traffic: Traffic,
    rng: Random,
    hours: float,
    window_s: float,
    *,
    very_slow: bool,
) -> Iterator[Tick]:
    """Yield tick after tick; each has the traffic of the percentage that the one before led to."""
    for number in range(int(hours * 3600 / window_s) + 1):
        sends = poisson(rng, traffic.at(outcome.percent) * window_s)
        errors, slow = (binomial(rng, sends, share) for share in (traffic.error_rate, traffic.slow_share))
        of_slow = binomial(rng, slow, VERY_SLOW_OF_SLOW) if very_slow else None
        yield Tick(number * window_s, sends, errors, slow, very_slow=of_slow)


def poisson(rng: Random, mean: float) -> int:
    """Draw how many of many rare events happen."""
    if mean > _SMALL_MEAN:
        return max(round(rng.gauss(mean, sqrt(mean))), 0)
    count, product, floor = 0, rng.random(), exp(-mean)
    while product > floor:
        count += 1
        product *= rng.random()
    return count


def binomial(rng: Random, n: int, p: float) -> int:
    """Draw how many of n happen, by drawing how far it is to the next that does."""
    if p <= 0 or n <= 0:
        return 0
    if p >= 1:
        return n
    if p > 0.5:
        return n - binomial(rng, n, 1 - p)
    ln_miss, hits, place = log1p(-p), 0, 0
    while True:
        place += int(log(1.0 - rng.random()) / ln_miss) + 1
        if place > n:
            return hits
        hits += 1
