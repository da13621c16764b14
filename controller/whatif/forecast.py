"""What a plan can do at a given traffic: how long each step takes, and the smallest breach it can see."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, exp, inf, log

from controller.decision.feature import RolloutFeature
from controller.decision.judging.judge import FeatureTests, feature_tests
from controller.decision.judging.outage import half_failed, outage_windows
from controller.decision.judging.slo_tests import SloTest
from controller.decision.model import SLOW_SHARE_LIMIT, Window
from controller.decision.ramp import step_above
from controller.decision.sequential.clusters import Health, unseen_effect
from controller.decision.sequential.health import step_error
from controller.decision.sequential.logarithms import log_sum
from controller.decision.sequential.wallet import Wallet, capped

USUAL_SHARE = 0.3
"""A healthy feature is taken to fail at this share of its limit."""
_HALVINGS = 40
_ROUNDING = 1e-9


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
    """Sends that prove every SLO met."""
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
    a_window = sends_per_s * window_s
    needed = _sends_needed(feature_tests(feature, window_s), feature, percent, a_window)
    # The window during which the step is taken is left out, and a decision waits for a window's end.
    measuring_s = (ceil(needed / a_window) + 1) * window_s if a_window > 0 and needed < inf else inf
    return max(feature.bake_s_at(percent), measuring_s)


def _sends_needed(tests: FeatureTests, feature: RolloutFeature, percent: float, a_window: float) -> float:
    """Return the sends that prove every SLO met at a step, where no clusters are seen."""
    above = step_above(feature.steps, percent) or percent
    needed = log(1 / step_error(feature.step_up_error, above))
    with_any = a_window / (1 - exp(-a_window)) if a_window > 0 else 1.0
    effect = unseen_effect(with_any, 1, above / 100)
    pairs: tuple[tuple[SloTest, float], ...] = (
        (tests.error_rate, feature.slo_error_rate_threshold),
        (tests.latency, SLOW_SHARE_LIMIT),
    )
    if tests.very_slow:
        pairs = (*pairs, (tests.very_slow, tests.very_slow.limit))
    return max(_needed(test, effect, needed, USUAL_SHARE * limit) for test, limit in pairs)


def _needed(test: SloTest, effect: float, needed: float, rate: float) -> float:
    sends = test.health.sends_needed(Health(), effect, needed, rate)
    return inf if sends is None else ceil(sends)


def _step(feature: RolloutFeature, percent: float, sends_per_s: float, window_s: float) -> StepForecast:
    tests = feature_tests(feature, window_s)
    bake_s = feature.bake_s_at(percent)
    lasts_s = step_lasts_s(feature, percent, sends_per_s, window_s)
    stays = percent == feature.steps[-1]
    horizon_s = feature.longest_hold_s if stays else min(lasts_s, feature.longest_hold_s)
    limit = feature.slo_error_rate_threshold
    wallet = _wallet_at(feature, tests.error_rate, percent)

    def proof(rate: float) -> Breach | None:
        return breach(tests, wallet, rate, sends_per_s)

    smallest = _smallest(proof, limit, horizon_s)
    return StepForecast(
        percent=percent,
        sends_per_s=sends_per_s,
        sends_needed=_sends_needed(tests, feature, percent, sends_per_s * window_s),
        lasts_s=lasts_s,
        smallest=smallest,
        tenfold=proof(min(10 * limit, 1.0)),
        blind=smallest is None or lasts_s > max(feature.longest_hold_s, bake_s),
    )


def _wallet_at(feature: RolloutFeature, test: SloTest, percent: float) -> Wallet:
    """Return the wallet as a step begins, when what was staked before is lost to hours of health."""
    wallet = Wallet()
    for step in feature.steps:
        if step <= percent:
            ahead = sum(one >= step for one in feature.steps)
            wallet = wallet.emptied().staked(ahead, len(test.breach.worths))
    return wallet


def breach(tests: FeatureTests, wallet: Wallet, error_rate: float, sends_per_s: float) -> Breach | None:
    """Estimate when an error rate is proven a breach while the other SLOs are quiet; None if never."""
    n = sends_per_s * tests.window_s
    k = n * error_rate
    if n <= 0:
        return None
    test = tests.error_rate.breach
    bets = capped(test.bets(k, n - k, 1.0), test.cap)
    # The alarm averages the SLOs: each that is quiet takes its part from the evidence of this one.
    slos = 3 if tests.very_slow else 2
    goal = slos * (exp(test.needed) - wallet.cash)
    window = Window(0.0, n, k, n, 0.0)
    half = half_failed(window, tests.outage_z)
    outage = outage_windows(window, tests.window_s, tests.blip_s) if half else inf
    proven = _windows_until(wallet, bets, log(goal)) if max(bets) > 0 else inf
    windows = min(outage, proven)
    return None if windows == inf else Breach(error_rate, windows * n, windows * k, windows * tests.window_s)


def _windows_until(wallet: Wallet, bets: list[float], goal: float) -> int:
    """Return the whole number of windows of such bets after which the stakes are worth the goal."""
    low, high = 0.0, (goal - min(wallet.bets)) / max(bets)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        reached = log_sum([held + middle * bet for held, bet in zip(wallet.bets, bets, strict=True)])
        low, high = (middle, high) if reached < goal else (low, middle)
    return max(ceil(high - _ROUNDING), 1)


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
