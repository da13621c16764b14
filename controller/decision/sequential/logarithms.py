"""Sums of numbers that only their logarithms can hold."""

from math import exp, log

_PLAINLY = 600.0
"""Terms up to this size can be exponentiated as they are."""


def log_sum(terms: tuple[float, ...] | list[float]) -> float:
    """Return ln of the sum of e^term, whatever the size of the terms."""
    top = max(terms)
    if -_PLAINLY < top < _PLAINLY:
        return log(sum(map(exp, terms)))
    return top + log(sum([exp(term - top) for term in terms]))


def log_mean(terms: tuple[float, ...] | list[float]) -> float:
    """Return ln of the mean of e^term: the average of fair bets is a fair bet, whatever their dependence."""
    return log_sum(terms) - log(len(terms))


def worth(rate: float, hypothesis: float) -> tuple[float, float]:
    """Return what a bad and a good send bring a bet on `rate` against `hypothesis`: natural logarithms."""
    return log(rate / hypothesis), log((1 - rate) / (1 - hypothesis))
