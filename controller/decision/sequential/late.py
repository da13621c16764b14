"""The late-change test: a test running for hours goes deaf, so this one begins a bet again at each window.

R <- (w + R) x L, the restarts of Shiryaev and Roberts; on average the sum of R grows by 1 a window at most.
"""

from math import exp, log, log1p

from controller.decision.sequential.logarithms import log_sum

_LOST = -40.0


def with_late(held: tuple[float, ...], bets: list[float]) -> tuple[float, ...]:
    """Add one window's bets, of which one is begun again at each rate with an equal weight."""
    weight = 1 / len(bets)
    ln_weight = log(weight)
    if not held:
        return tuple([ln_weight + bet for bet in bets])
    return tuple([_with_weight(r, weight, ln_weight) + bet for r, bet in zip(held, bets, strict=True)])


def _with_weight(r: float, weight: float, ln_weight: float) -> float:
    """Return ln(w + e^r), without overflow; far below w, e^r adds nothing that a float could hold."""
    if r < _LOST:
        return ln_weight
    return r + log1p(weight * exp(-r)) if r > 0 else log(weight + exp(r))


def late_evidence(late: tuple[float, ...]) -> float:
    """Tell how much speaks for a change for the worse at any time: ln of the sum of R, 0 at first."""
    return log_sum(late) if late else 0.0
