"""The comparison: bets, window by window, that a rate is more than `delta` times that of a reference.

While it is at most `delta` times as high, a window's bet is worth 1 on average or less, whatever both rates
are and however they change together: with p <= delta q the mean of r^k A^-(k + l), where k of n and l of m
fail and A = r rho + 1 - rho, is at most exp(n p (r/A - 1) + m q (1/A - 1)) <= 1. So no cause that both share
ever makes a comparison false.
"""

from math import log

_LOWEST, _HIGHEST, POINTS = 1.5, 100.0, 8
RATIOS = tuple(_LOWEST * (_HIGHEST / _LOWEST) ** (j / (POINTS - 1)) for j in range(POINTS))
"""How many times worse than `delta` the bets take it to be."""


def relative_bets(
    own: tuple[float, float], other: tuple[float, float], delta: float, effect: float
) -> list[float]:
    """Return what a window brings at each ratio, natural logarithms; `own` and `other` are (sends, bad).

    Counts are divided by the design effect. A window in which one of the two has no sends brings nothing.
    """
    (n, k), (m, other_k) = own, other
    if not (n > 0 and m > 0):
        return [0.0] * POINTS
    share = delta * n / (delta * n + m)
    return [(k * log(r) - (k + other_k) * log(r * share + 1 - share)) / effect for r in RATIOS]
