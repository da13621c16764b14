"""The tests of peers, by their own packages: runs in the environment of the race, which has none of ours.

Reads {"name": [[[sends, failed, reference's sends, reference's failed], ...], ...]} from stdin, windows of
traces, and writes for each peer and name the number of windows until its alarm, null where there was none.
"""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

LIMIT, ALPHA = 0.01, 0.05
EXPECTED_SENDS = 500
"""For what length each is tuned: about what 2x the limit takes."""

Peer = Callable[[Sequence[Sequence[float]]], "int | None"]


def confseq() -> Peer:
    """Howard and Ramdas: the one-sided beta-binomial mixture against the limit, anytime-valid."""
    from confseq.boundaries import beta_binomial_log_mixture

    g, h = LIMIT, 1 - LIMIT

    def until(windows: Sequence[Sequence[float]]) -> int | None:
        n = k = 0.0
        for number, (sends, failed, *_) in enumerate(windows, start=1):
            n, k = n + sends, k + failed
            excess, variance = k - n * LIMIT, g * h * n
            wealth = beta_binomial_log_mixture(excess, variance, g * h * EXPECTED_SENDS, g, h, ALPHA, True)
            if wealth >= _LN_ALARM:
                return number
        return None

    return until


def gbstats() -> Peer:
    """GrowthBook: its sequential test of two proportions, two-sided at twice alpha."""
    from gbstats.frequentist.tests import SequentialConfig, SequentialTwoSidedTTest
    from gbstats.models.statistics import ProportionStatistic

    config = SequentialConfig(
        alpha=2 * ALPHA, difference_type="absolute", sequential_tuning_parameter=EXPECTED_SENDS
    )

    def until(windows: Sequence[Sequence[float]]) -> int | None:
        sums = [0.0] * 4
        for number, window in enumerate(windows, start=1):
            sums = [held + more for held, more in zip(sums, window, strict=True)]
            n, k, m, other = sums
            if not (n and m and 0 < other < m and 0 < k < n):
                continue
            reference, own = ProportionStatistic(n=m, sum=other), ProportionStatistic(n=n, sum=k)
            if SequentialTwoSidedTTest(reference, own, config).compute_result().ci[0] > 0:
                return number
        return None

    return until


_LN_ALARM = 2.995732273553991
PEERS: dict[str, Callable[[], Peer]] = {"confseq": confseq, "gbstats": gbstats}


def main() -> None:
    """Run every peer that is installed over all traces."""
    traces = json.load(sys.stdin)
    found: dict[str, Any] = {}
    for name, make in PEERS.items():
        try:
            until = make()
        except ImportError as error:
            found[name] = str(error)
            continue
        found[name] = {case: [until(one) for one in some] for case, some in traces.items()}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
