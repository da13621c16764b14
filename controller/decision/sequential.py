"""Tests on counts that stay valid however often one looks: breach, late change, healthy.

Each test bets against a hypothesis and keeps the natural logarithm of what the bets are worth. Under the
hypothesis a fair bet never grows on average, so by Ville's inequality it reaches 1/a with probability at
most a, whenever and however often one looks. That asks only for the chance of a bad send given the past,
not for independent sends. Each bet is spread over a grid of rates, so none has to be guessed. Counts may
have decimals, because increases in Prometheus are extrapolated.
"""

from dataclasses import dataclass
from math import exp, inf, isfinite, isnan, log, log1p

from controller.decision.model import RolloutFeature, SloState

BREACH_POINTS = 8
BREACH_TOP = 0.9
BREACH_BOTTOM = 1.5
"""The grid of breach rates: from 1.5 x limit to 0.9, evenly spaced on a logarithmic scale."""
HEALTHY_SHARES = (0.01, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85)
"""The grid of healthy rates, as shares of margin x limit."""
CAP_SHARE = 0.75
"""One window may bring this share of the way to the alarm, so that no window pauses alone."""
STEPS_SHARE = 0.9
LATE_SHARE = 0.1
"""How alpha is split between the tests of all steps and the late-change test."""

_PLAINLY = 600.0
"""Terms up to this size can be exponentiated as they are."""
_LOST = -40.0
_LN_BREACH_POINTS = log(BREACH_POINTS)
_BREACH_WEIGHT = 1 / BREACH_POINTS
_LN_BREACH_WEIGHT = -_LN_BREACH_POINTS
_LN_HEALTHY_POINTS = log(len(HEALTHY_SHARES))


@dataclass(frozen=True, slots=True)
class SloTest:
    """The three tests of one SLO: what a bad and a good send are worth at each rate, and the alarms.

    All numbers are natural logarithms, but the limit, which is a share of the sends.
    """

    limit: float
    breach: tuple[tuple[float, float], ...]
    """(worth of a bad send, worth of a good send) for each rate of the grid."""
    healthy: tuple[tuple[float, float], ...]
    cap: float
    breach_needed: float
    late_needed: float
    health_needed: float


def breach_rates(limit: float) -> tuple[float, ...]:
    """Return the rates that the breach test bets on; each is above the limit, whatever the limit."""
    top = max(BREACH_TOP, (1 + limit) / 2)
    bottom = min(BREACH_BOTTOM * limit, (limit + top) / 2)
    ratio = top / bottom
    return tuple(bottom * ratio ** (j / (BREACH_POINTS - 1)) for j in range(BREACH_POINTS))


def slo_test(limit: float, feature: RolloutFeature, window_s: float) -> SloTest:
    """Work out the tests of an SLO that allows a share `limit` of bad sends, 0 < limit < 1."""
    unhealthy = min(feature.margin * limit, (1 + limit) / 2)
    breach_needed = log(len(feature.steps) / (STEPS_SHARE * feature.alpha))
    windows_of_a_ramp = max(1.0, feature.longest_ramp_s / window_s)
    return SloTest(
        limit=limit,
        breach=tuple(_worth(rate, limit) for rate in breach_rates(limit)),
        healthy=tuple(_worth(share * unhealthy, unhealthy) for share in HEALTHY_SHARES),
        cap=CAP_SHARE * breach_needed,
        breach_needed=breach_needed,
        late_needed=log(windows_of_a_ramp / (LATE_SHARE * feature.alpha)),
        health_needed=log(1 / feature.step_up_error),
    )


def _worth(rate: float, hypothesis: float) -> tuple[float, float]:
    return log(rate / hypothesis), log((1 - rate) / (1 - hypothesis))


def with_window(test: SloTest, state: SloState, n: float, k: float, *, proves_health: bool) -> SloState:
    """Add one window of n sends, k of them bad. Without sends, or without a number, nothing changes."""
    if not 0 < n < inf or isnan(k):
        return state
    bad = min(max(k, 0.0), n)
    good = n - bad
    cap = test.cap
    bets = [bad * hit + good * miss for hit, miss in test.breach]
    capped = [bet if bet < cap else cap for bet in bets]  # noqa: FURB136  (min() takes twice as long)
    return SloState(
        breach=tuple([held + bet for held, bet in zip(state.breach, capped, strict=True)])
        if state.breach
        else tuple(capped),
        late=_with_late(state.late, capped),
        healthy=_with_health(test, state.healthy, bad, good) if proves_health else state.healthy,
        sends=state.sends + n,
        bad=state.bad + bad,
    )


def _with_late(held: tuple[float, ...], bets: list[float]) -> tuple[float, ...]:
    """R <- (w + R) x L, the restarts of Shiryaev and Roberts: a bet is started again at every window."""
    if not held:
        return tuple([_LN_BREACH_WEIGHT + bet for bet in bets])
    return tuple([_with_weight(r) + bet for r, bet in zip(held, bets, strict=True)])


def _with_weight(r: float) -> float:
    """Return ln(w + e^r), without overflow; far below w, e^r adds nothing that a float could hold."""
    if r < _LOST:
        return _LN_BREACH_WEIGHT
    return r + log1p(_BREACH_WEIGHT * exp(-r)) if r > 0 else log(_BREACH_WEIGHT + exp(r))


def _with_health(test: SloTest, held: tuple[float, ...], bad: float, good: float) -> tuple[float, ...]:
    bets = [bad * hit + good * miss for hit, miss in test.healthy]
    return tuple([sum_ + bet for sum_, bet in zip(held, bets, strict=True)] if held else bets)


def breach_evidence(state: SloState) -> float:
    """Tell how much speaks for a rate above the limit at this step: ln E."""
    return log_sum(state.breach) - _LN_BREACH_POINTS if state.breach else 0.0


def late_evidence(state: SloState) -> float:
    """Tell how much speaks for a change for the worse at any time: ln of the sum of R, 0 at first."""
    return log_sum(state.late) if state.late else 0.0


def health_evidence(state: SloState) -> float:
    """Tell how much speaks for a rate below margin x limit at this step: ln H."""
    return log_sum(state.healthy) - _LN_HEALTHY_POINTS if state.healthy else 0.0


def sends_until_healthy(test: SloTest, state: SloState, rate: float | None = None) -> float | None:
    """Estimate how many more sends prove health at a rate, else at the one seen so far; None if never.

    The evidence after N more sends is a convex function of N, so Newton's method, begun to the right of
    the root, stays to the right of it and three steps come within a send or two.
    """
    if rate is None:
        rate = state.bad / state.sends if state.sends > 0 else 0.0
    drifts = [rate * hit + (1 - rate) * miss for hit, miss in test.healthy]
    held = state.healthy or (0.0,) * len(drifts)
    goal = test.health_needed + _LN_HEALTHY_POINTS
    if log_sum(held) >= goal:
        return 0.0
    waits = [(goal - h) / drift for h, drift in zip(held, drifts, strict=True) if drift > 0]
    if not waits:
        return None
    more = min(waits)
    for _ in range(3):
        terms = [h + more * drift for h, drift in zip(held, drifts, strict=True)]
        reached = log_sum(terms)
        slope = sum([exp(t - reached) * drift for t, drift in zip(terms, drifts, strict=True)])
        if slope <= 0:
            break
        more -= (reached - goal) / slope
    return more if isfinite(more) and more > 0 else None


def log_sum(terms: tuple[float, ...] | list[float]) -> float:
    """Return ln of the sum of e^term, whatever the size of the terms."""
    top = max(terms)
    if -_PLAINLY < top < _PLAINLY:
        return log(sum(map(exp, terms)))
    return top + log(sum([exp(term - top) for term in terms]))


def log_mean(terms: tuple[float, ...] | list[float]) -> float:
    """Return ln of the mean of e^term: the average of fair bets is a fair bet, whatever their dependence."""
    return log_sum(terms) - log(len(terms))
