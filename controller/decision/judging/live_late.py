"""The late-change test of live counts: a rate above its limit that lasts, at any time of a ramp. Pure.

It makes the same bets as the first-seconds test and begins one again at each second, as the late-change test
of the windows does. The stretch that speaks most for harm is left out, as long as a burst may last: what
lasts no longer never pauses. All it needs are the newest seconds, so nothing of it is kept.
"""

from collections.abc import Sequence
from math import ceil, exp, inf, log

from controller.decision.feature import RolloutFeature
from controller.decision.model import Window
from controller.decision.sequential.wallet import BURST_BLIPS, LIVE_SHARE

LOOK_S = 1.0
"""Between two looks at the counts: the length of one window of them."""
LATE_S = 1.1
"""So long after a send its count may come: a process publishes once a second."""
STAKE = 0.15
"""Share of its worth that a test bets against the limit in each second."""
SEEN_S = 120.0
"""So far back the test looks."""
PART = 0.1
"""Its part of what live counts have of alpha."""
MOST = exp(3.0)
"""One second multiplies by no more, so that every number stays finite."""
_FINITE = 1e300


def late_needed(feature: RolloutFeature) -> float:
    """Return what evidence the test needs, as a natural logarithm."""
    return log(max(1.0, feature.longest_ramp_s / LOOK_S) / (PART * LIVE_SHARE * feature.alpha))


def fair_bet(limit: float, n: float, k: float) -> float:
    """Bet on the share of one second: 1 + stake x (share / limit - 1), which is fair at the limit.

    Nothing is assumed about sends within one second. 0 where there is nothing to bet on.
    """
    if not 0 < n < inf:
        return 0.0
    return 1 + STAKE * (min(max(k, 0.0), n) / n / limit - 1)


def at_most(most: tuple[float, float], limits: tuple[float, float], window: Window) -> tuple[float, float]:
    """Return what the test may find of either SLO after one more second: nothing left out or too old.

    Begin with zeros. It costs a hundredth of the test, which need not be asked where this does not suffice.
    """
    errors, slow = most
    bet_on_errors = min(fair_bet(limits[0], window.sends, window.errors), MOST)
    bet_on_slow = min(fair_bet(limits[1], window.timed, window.slow), MOST)
    return (
        min((1 + errors) * bet_on_errors, _FINITE) if bet_on_errors else errors,
        min((1 + slow) * bet_on_slow, _FINITE) if bet_on_slow else slow,
    )


def may_be_late(feature: RolloutFeature, most: tuple[float, float]) -> bool:
    """Whether the test may find enough."""
    return sum(most) >= 2 * exp(late_needed(feature))


def seen(windows: Sequence[Window]) -> Sequence[Window]:
    """Return the seconds that the test looks at."""
    return [one for one in windows if one.at > windows[-1].at - SEEN_S + LOOK_S / 2]


def late_evidence(feature: RolloutFeature, limit: float, counts: Sequence[tuple[float, float]]) -> float:
    """Return what speaks for a change for the worse, a natural logarithm.

    The counts are sends and bad ones, second by second.
    """
    left_out = ceil((BURST_BLIPS * feature.blip_s + LATE_S) / LOOK_S) + 1
    least = _least([min(fair_bet(limit, n, k), MOST) for n, k in counts], left_out)
    return log(least) if least > 0 else 0.0


def _least(bets: Sequence[float], left_out: int) -> float:
    """Return R of all bets but `left_out` in a row, wherever it is least: R <- (1 + R) x bet, from 0."""
    before = [0.0]
    for bet in bets:
        before.append((1 + before[-1]) * bet if bet else before[-1])
    least, worth, after = inf, 1.0, 0.0
    for end in range(len(bets), -1, -1):
        least = min(least, before[max(end - left_out, 0)] * worth + after)
        if end and bets[end - 1]:
            worth *= bets[end - 1]
            after += worth
    return least
