"""What a plan can do at a given traffic: how long each step takes, and the smallest breach it can see."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, inf, log

from controller.decision.checks import OUTAGE_SENDS, OUTAGE_SHARE
from controller.decision.judge import FeatureTests, feature_tests
from controller.decision.model import SLOW_SHARE_LIMIT, RolloutFeature, SloState
from controller.decision.sequential import SloTest, log_mean, sends_until_healthy

USUAL_SHARE = 0.3
"""A healthy feature is taken to fail at this share of its limit."""
_LN_SLOS = log(2)
"""The alarm averages two SLOs; the one that is quiet halves the evidence of the other."""
_HALVINGS = 40


@dataclass(frozen=True, slots=True)
class Breach:
    """What it takes to prove an error rate, on the average path."""

    error_rate: float
    sends: float
    failed: float
    after_s: float


@dataclass(frozen=True, slots=True)
class StepForecast:
    """What one step needs and what it can see."""

    percent: float
    sends_per_s: float
    sends_needed: float
    """Sends that prove both SLOs met."""
    lasts_s: float
    """Until the next step up; at the last step, where none follows, until health is proven."""
    smallest: Breach | None
    """The smallest error rate that this step would prove before it ends; the last step, which does not end,
    within the longest hold."""
    tenfold: Breach | None
    """Ten times the limit."""
    blind: bool
    """Health is not proven within the longest hold, or no breach could be seen in that time."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """A whole plan at one traffic."""

    steps: tuple[StepForecast, ...]
    total_s: float
    """From the first step up to the last."""
    without_first_s: float
    """The same with the first step left out of the plan."""


def forecast(feature: RolloutFeature, sends_per_s: float, window_s: float) -> Forecast:
    """Estimate a healthy ramp. `sends_per_s` is the traffic of all users, of which a step gets its share."""
    steps = tuple(_step(feature, percent, sends_per_s * percent / 100, window_s) for percent in feature.steps)
    lengths = [step.lasts_s for step in steps[:-1]]
    return Forecast(steps=steps, total_s=sum(lengths), without_first_s=sum(lengths[1:]))


def step_lasts_s(feature: RolloutFeature, percent: float, sends_per_s: float, window_s: float) -> float:
    """Estimate how long a healthy step lasts at its own traffic; infinite where health is never proven."""
    needed, a_window = _sends_needed(feature_tests(feature, window_s), feature), sends_per_s * window_s
    # The window during which the step is taken is left out, and a decision waits for a window's end.
    measuring_s = (ceil(needed / a_window) + 1) * window_s if a_window > 0 and needed < inf else inf
    return max(feature.bake_s_at(percent), measuring_s)


def _sends_needed(tests: FeatureTests, feature: RolloutFeature) -> float:
    return max(
        _needed(tests.error_rate, USUAL_SHARE * feature.slo_error_rate_threshold),
        _needed(tests.latency, USUAL_SHARE * SLOW_SHARE_LIMIT),
    )


def _step(feature: RolloutFeature, percent: float, sends_per_s: float, window_s: float) -> StepForecast:
    tests = feature_tests(feature, window_s)
    needed = _sends_needed(tests, feature)
    bake_s = feature.bake_s_at(percent)
    lasts_s = step_lasts_s(feature, percent, sends_per_s, window_s)
    stays = percent == feature.steps[-1]
    horizon_s = feature.longest_hold_s if stays else min(lasts_s, feature.longest_hold_s)
    limit = feature.slo_error_rate_threshold

    def proof(rate: float) -> Breach | None:
        return breach(tests.error_rate, rate, sends_per_s, window_s)

    smallest = _smallest(proof, limit, horizon_s)
    return StepForecast(
        percent=percent,
        sends_per_s=sends_per_s,
        sends_needed=needed,
        lasts_s=lasts_s,
        smallest=smallest,
        tenfold=proof(min(10 * limit, 1.0)),
        blind=smallest is None or lasts_s > max(feature.longest_hold_s, bake_s),
    )


def _needed(test: SloTest, rate: float) -> float:
    needed = sends_until_healthy(test, SloState(), rate)
    return inf if needed is None else ceil(needed)


def breach(test: SloTest, error_rate: float, sends_per_s: float, window_s: float) -> Breach | None:
    """Estimate when an error rate is proven a breach while the other SLO is quiet; None if never."""
    n = sends_per_s * window_s
    k = n * error_rate
    if n <= 0:
        return None
    if n >= OUTAGE_SENDS and error_rate >= OUTAGE_SHARE:
        return Breach(error_rate, n, k, window_s)
    bets = [min(k * hit + (n - k) * miss, test.cap) for hit, miss in test.breach]
    if max(bets) <= 0:
        return None
    windows = _windows_until(bets, test.breach_needed + _LN_SLOS)
    return Breach(error_rate, windows * n, windows * k, windows * window_s)


def _windows_until(bets: list[float], goal: float) -> int:
    """Return the whole number of windows of such bets after which their mean reaches the goal."""
    low, high = 0.0, (goal + log(len(bets))) / max(bets)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if log_mean([middle * bet for bet in bets]) < goal:
            low = middle
        else:
            high = middle
    return max(ceil(high), 1)


def _smallest(proof: Callable[[float], Breach | None], limit: float, within_s: float) -> Breach | None:
    """Find the smallest rate above the limit that is proven within a time; None when not even 1 is."""

    def seen(rate: float) -> Breach | None:
        found = proof(rate)
        return found if found is not None and found.after_s <= within_s else None

    best = seen(1.0)
    low, high = limit, 1.0
    for _ in range(_HALVINGS):
        if best is None:
            return None
        middle = (low + high) / 2
        found = seen(middle)
        low, high, best = (low, middle, found) if found else (middle, high, best)
    return best
