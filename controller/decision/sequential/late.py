"""The late-change test: a test running for hours goes deaf, so this one begins a bet again at each window.

R <- (w + R) x L, the restarts of Shiryaev and Roberts; on average the sum of R grows by 1 a window at most.
"""

from math import exp, log, log1p

from controller.decision.sequential.logarithms import log_sum


def with_late(held: tuple[float, ...], bets: list[float]) -> tuple[float, ...]:
    """Add one window's bets, of which one is begun again at each rate with an equal weight."""
    weight = 1 / len(bets)
    if not held:
        return tuple([log(weight) + bet for bet in bets])
    if max(held) < 0:
        return tuple([log(weight + exp(r)) + bet for r, bet in zip(held, bets, strict=True)])
    return tuple([_with_weight(r, weight) + bet for r, bet in zip(held, bets, strict=True)])


def _with_weight(r: float, weight: float) -> float:
    """Return ln(w + e^r), without overflow."""
    return r + log1p(weight * exp(-r)) if r > 0 else log(weight + exp(r))


def late_evidence(late: tuple[float, ...]) -> float:
    """Tell how much speaks for a change for the worse at any time: ln of the sum of R, 0 at first."""
    return log_sum(late) if late else 0.0
