"""What Prometheus would compute from synthetic samples, worked out in Python from its documentation.

The expectations of `expected.py` and `own_expected.py` stand on this, not on PromQL: a rule and its
expectation can only agree when both are right.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from controller.alertcheck.cases.synthetic_series import Samples, Series

_EPSILON_S = 1e-6


@dataclass(frozen=True, slots=True)
class SampleView:
    """The samples as they can be seen at one moment.

    `closed` says that a range holds a sample right at its older end, as before Prometheus 3.
    """

    samples: Samples
    now_s: float
    closed: bool = True

    def value(self, series: Series, back_s: float = 0.0) -> float | None:
        """Return the newest value, as an instant query does; what vanished is marked stale at once."""
        index = math.floor((self.now_s - back_s) / self.samples.step_s + _EPSILON_S)
        if index < 0:
            return None
        return series.values[min(index, len(series.values) - 1)]

    def increase(self, series: Series, window_s: float) -> float | None:
        """Extrapolate a counter's difference to the edges of the window; no resets are looked for."""
        step_s, begin_s = self.samples.step_s, self.now_s - window_s
        last = min(math.floor(self.now_s / step_s + _EPSILON_S), len(series.values) - 1)
        exact = begin_s / step_s
        first = math.ceil(exact - _EPSILON_S)
        if not self.closed and abs(first - exact) < _EPSILON_S:
            first += 1
        first = max(first, 0)
        if last <= first:
            return None
        oldest, newest = series.values[first] or 0.0, series.values[last] or 0.0
        sampled_s, difference = (last - first) * step_s, newest - oldest
        to_start_s, to_end_s = first * step_s - begin_s, self.now_s - last * step_s
        if difference > 0:
            to_start_s = min(to_start_s, sampled_s * oldest / difference)
        farthest_s = step_s * 1.1
        span_s = sampled_s
        span_s += to_start_s if to_start_s < farthest_s else step_s / 2
        span_s += to_end_s if to_end_s < farthest_s else step_s / 2
        return difference * span_s / sampled_s

    def sum_increase(self, series: Iterable[Series], window_s: float) -> float | None:
        """Return how much these series rose together within `window_s`; None where nothing is known."""
        found = [value for one in series if (value := self.increase(one, window_s)) is not None]
        return math.fsum(found) if found else None

    def sum_rate(self, series: Iterable[Series], window_s: float) -> float | None:
        """Return how fast these series rose together, per second; None where nothing is known."""
        total = self.sum_increase(series, window_s)
        return None if total is None else total / window_s

    def ratio(self, part: Iterable[Series], whole: Iterable[Series], window_s: float) -> float | None:
        """Return part / (whole > 0): absent where there is nothing to divide by."""
        numerator, denominator = self.sum_rate(part, window_s), self.sum_rate(whole, window_s)
        return numerator / denominator if numerator is not None and denominator else None

    def quantile(self, share: float, buckets: Iterable[Series], window_s: float) -> float | None:
        """Return histogram_quantile() of the buckets' rates; NaN without traffic, None without buckets."""
        rates: dict[float, float] = {}
        for bucket in buckets:
            rate = self.sum_rate([bucket], window_s)
            if rate is not None:
                edge = float(bucket.labels["le"])
                rates[edge] = rates.get(edge, 0.0) + rate
        return _quantile(share, sorted(rates.items())) if rates else None


def _quantile(share: float, buckets: Sequence[tuple[float, float]]) -> float:
    total = buckets[-1][1]
    if total == 0:
        return math.nan
    rank, lower_edge, below = share * total, 0.0, 0.0
    for edge, count in buckets:
        if count >= rank:
            if math.isinf(edge):
                return lower_edge
            return lower_edge + (edge - lower_edge) * (rank - below) / (count - below)
        lower_edge, below = edge, count
    return lower_edge


Values = dict[tuple[tuple[str, str], ...], float]
"""A vector: values by their sorted labels."""
Vector = Callable[[SampleView], Values]


def grouped(
    series: Iterable[Series], by: Sequence[str], reduce: Callable[[list[Series]], float | None]
) -> Values:
    """Return a value for each combination of the `by` labels, sorted by name; absent ones are left out."""
    groups: dict[tuple[tuple[str, str], ...], list[Series]] = {}
    for one in series:
        key = tuple((label, one.labels[label]) for label in sorted(by))
        groups.setdefault(key, []).append(one)
    reduced = {key: reduce(members) for key, members in groups.items()}
    return {key: value for key, value in reduced.items() if value is not None}


def scalar(value: float | None) -> Values:
    """Return a value without labels; nothing for None."""
    return {} if value is None else {(): value}
