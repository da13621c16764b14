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
STAKE = 0.25
"""Share of its worth that a test bets against the limit in the busiest second."""
BETS_S = 90.0
"""So far back the test bets, and the stretch that it leaves out besides."""
LATER_S = 60.0
"""So long before these bets sends are looked at, too: those that fail late are counted without the others."""
PART = 0.1
"""Its part of what live counts have of alpha."""
MOST = exp(3.0)
"""One second multiplies by no more, so that every number stays finite."""


def late_needed(feature: RolloutFeature) -> float:
    """Return what evidence the test needs, as a natural logarithm."""
    return log(max(1.0, feature.longest_ramp_s / LOOK_S) / (PART * LIVE_SHARE * feature.alpha))


def bet(limit: float, n: float, k: float, busiest: float) -> float:
    """Bet on the bad sends of one second: 1 + stake x n / busiest x (k / n / limit - 1).

    Fair at the limit, whatever the sends of one second have to do with each other; and of sends whose time
    has come to be counted late no more is made than of the others: a send weighs the same in each second.
    `busiest` is the largest n. 0 where there is nothing to bet on.
    """
    if not 0 < n <= busiest < inf:
        return 0.0
    return 1 + STAKE * n / busiest * (min(max(k, 0.0), n) / n / limit - 1)


def exceeds(limit: float, n: float, k: float) -> bool:
    """Whether more than the allowed share of these sends is bad."""
    return k > limit * n


def seen_s(feature: RolloutFeature) -> float:
    """Return how far back the test looks."""
    return BURST_BLIPS * feature.blip_s + BETS_S + LATER_S


def newest(windows: Sequence[Window], length_s: float) -> Sequence[Window]:
    """Return the seconds that are no older than this."""
    return [one for one in windows if one.at > windows[-1].at - length_s + LOOK_S / 2]


def late_evidence(feature: RolloutFeature, limit: float, counts: Sequence[tuple[float, float]]) -> float:
    """Return what speaks for a change for the worse, a natural logarithm.

    The counts are sends and bad ones, second by second. Where all of them keep the limit, nothing does.
    """
    if not exceeds(limit, sum(n for n, _ in counts), sum(min(max(k, 0.0), n) for n, k in counts)):
        return 0.0
    busiest = max(n for n, _ in counts)
    burst_s = BURST_BLIPS * feature.blip_s
    bets = [min(bet(limit, n, k, busiest), MOST) for n, k in counts[-ceil((burst_s + BETS_S) / LOOK_S) :]]
    least = _least(bets, ceil((burst_s + LATE_S) / LOOK_S) + 1)
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
