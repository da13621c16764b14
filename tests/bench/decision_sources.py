"""Days of sends, judged by both sources at once: live counts each second, windows at each tick.

Both are the deciding code itself. A source that pauses ends the day, so what is counted is what an operator
would see. Usage: PYTHONPATH=tests python -m bench.decision_sources [--days 200]
"""

import argparse
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from math import exp, lgamma, log
from random import Random
from statistics import median

from bench.decision_promises import FEATURE, LIMIT, SLOW, highest_share
from bench.report import machine, quantile, say, table, write_section

from controller.contract import evidence_delay_s
from controller.decision.judging.live import FIRST_S, is_outage, live_findings, with_seconds
from controller.decision.judging.live_late import LOOK_S, seen_s
from controller.decision.model import Kind, LiveState, Verdict, Window
from controller.whatif.playback import Tick, course
from controller.whatif.simulate import binomial, poisson

SCRAPE_S, WINDOW_S = 10.0, 30.0
"""Production's lengths."""
DELAY_S = evidence_delay_s(SCRAPE_S)
HEALTHY = 0.3 * LIMIT

Draw = Callable[[Random, float, int], int]
"""(chance, second since the start, its sends) -> failed ones."""


def arrivals(rng: Random, per_s: float, seconds: int) -> list[int]:
    """Return how many sends come in each second: Poisson's law, drawn at once."""
    most = int(per_s + 12 * per_s**0.5) + 5
    chances = [exp(n * log(per_s) - per_s - lgamma(n + 1)) for n in range(most)]
    return rng.choices(range(most), chances, k=seconds)


def steady(times: float) -> Draw:
    return lambda rng, _, n: binomial(rng, n, times * LIMIT)


def clusters(times: float, size: int, per_s: float) -> Draw:
    """Return failures that come `size` at once, those that find no send in the seconds after it."""
    left = [0]

    def draw(rng: Random, at: float, n: int) -> int:
        left[0] = (left[0] if at else 0) + size * poisson(rng, per_s * times * LIMIT / size)
        failed = min(left[0], n)
        left[0] -= failed
        return failed

    return draw


def hourly(length_s: float, share: float) -> Draw:
    """Return a burst in each hour, at a moment of its own."""
    begins = [0.0]

    def draw(rng: Random, at: float, n: int) -> int:
        second = at % 3600
        if second == 0:
            begins[0] = rng.uniform(0, 3600 - length_s)
        inside = max(min(second + 1, begins[0] + length_s) - max(second, begins[0]), 0.0)
        return binomial(rng, n, inside * share + (1 - inside) * HEALTHY)

    return draw


def changing(begins_at: float, times: float) -> Draw:
    """Return health, and from a moment on `times` the limit."""
    return lambda rng, at, n: binomial(rng, n, HEALTHY if at < begins_at else times * LIMIT)


@dataclass(frozen=True, slots=True)
class Trace:
    """What is drawn, and what is promised of it."""

    name: str
    draw: Callable[[], Draw]
    promise: str
    per_s: float = 5.0
    hours: float = 24.0
    begins_at: float | None = None
    """When a fault begins while everybody is in; None for a ramp."""


FALSE_PAUSES = (
    Trace("at the limit", partial(steady, 1), "<= 1 % live"),
    Trace("0.3x", partial(steady, 0.3), "0"),
    Trace("0.7x in clusters of 5", partial(clusters, 0.7, 5, 5.0), "<= 5 %"),
    Trace("all fail for 2 s each hour", partial(hourly, 2.0, 1.0), "0 live"),
    Trace("33 % fail for 30 s each hour", partial(hourly, 30.0, 0.33), "<= 5 %"),
)
FAULTS = tuple(
    Trace(f"{times:g}x, {words}", partial(changing, at, times), "", per_s, 3.0, begins_at=at)
    for times in (3.0, 10.0)
    for per_s in (5.0, 50.0)
    for words, at in (("from the start", 0.0), ("after ten minutes", 600.0))
)


class Day:
    """One day, and how it ended."""

    def __init__(self, trace: Trace, seed: int, live: bool = True) -> None:
        self.paused_by = ""
        self.failed = 0
        """Since the fault began."""
        self._trace, self._draw, self._counts_live = trace, trace.draw(), live
        self._rng = Random(f"{trace.name}/{trace.per_s}/{seed}")
        self._live = LiveState(1, begun_at=0.5, judged_to=0.5)
        self._seconds: deque[Window] = deque(maxlen=int(seen_s(FEATURE) / LOOK_S))
        self._sends = arrivals(self._rng, trace.per_s, int(trace.hours * 3600))

    def run(self) -> "Day":
        feature = replace(FEATURE, initial_percent=100.0) if self._trace.begins_at is not None else FEATURE
        for _, decision in course(feature, self._ticks(), config_hash="b", window_s=WINDOW_S):
            if decision.kind is Kind.PAUSE:
                self.paused_by = "windows"
                break
        return self

    def _ticks(self) -> Iterator[Tick]:
        """Yield the window that a tick sees: it ends some seconds before the tick."""
        yield Tick(0.0)
        counted: deque[tuple[int, int, int]] = deque()
        for second in range(int(self._trace.hours * 3600)):
            counted.append(self._second(second))
            if self.paused_by:
                return
            if len(counted) >= WINDOW_S + DELAY_S:
                seen = [counted.popleft() for _ in range(int(WINDOW_S))]
                sends, failed, slow = (sum(one) for one in zip(*seen, strict=True))
                yield Tick(second + 1.0, sends, failed, slow)

    def _second(self, second: int) -> tuple[int, int, int]:
        """Draw one second's sends, and let the live tests look at it as the guard does."""
        n, rng = self._sends[second], self._rng
        k, slow = self._draw(rng, float(second), n), binomial(rng, n, SLOW)
        self.failed += k if second >= (self._trace.begins_at or 0.0) else 0
        if not self._counts_live:
            return n, k, slow
        self._seconds.append(Window(second + 1.0, n, k, n, slow, failed_mailboxes=k))
        if second < FIRST_S:
            self._live = with_seconds(FEATURE, self._live, [self._seconds[-1]])
        if (k or slow) and (is_outage(FEATURE, self._seconds) or breached(self._live, self._seconds)):
            self.paused_by = "live"
        return n, k, slow


def breached(live: LiveState, seconds: Sequence[Window]) -> bool:
    return any(one.verdict is Verdict.BREACHED for one in live_findings(FEATURE, live, seconds))


def chunk(trace: Trace, live: bool, many: int, first: int) -> list[tuple[str, int]]:
    days = [Day(trace, seed, live).run() for seed in range(first, first + many)]
    return [(day.paused_by, day.failed) for day in days]


def run(pool: ProcessPoolExecutor, trace: Trace, days: int, *, live: bool = True) -> list[tuple[str, int]]:
    chunks = pool.map(partial(chunk, trace, live, 5), range(0, days, 5))
    ended = [one for some in chunks for one in some]
    say(f"{trace.name}, {trace.per_s:g}/s: {shares([by for by, _ in ended])}")
    return ended


def shares(paused_by: Sequence[str]) -> tuple[str, str, str]:
    """Return pauses by live counts, by windows, and the highest share of both together."""
    live, windows, many = paused_by.count("live"), paused_by.count("windows"), len(paused_by)
    return f"{live} of {many}", f"{windows} of {many}", f"{highest_share(live + windows, many):.1%}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--days", type=int, default=100, help="seeded days of each trace, and faults")
    given = parser.parse_args()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        pauses = [
            (trace.name, trace.promise, *shares([by for by, _ in run(pool, trace, given.days)]))
            for trace in FALSE_PAUSES
        ]
        reactions = [
            reaction(trace, run(pool, trace, given.days), run(pool, trace, given.days, live=False))
            for trace in FAULTS
        ]
    write_section("sources", section(pauses, reactions, given.days))


def reaction(
    trace: Trace, ended: Sequence[tuple[str, int]], by_windows: Sequence[tuple[str, int]]
) -> tuple[str, ...]:
    both, alone = [float(count) for _, count in ended], [float(count) for _, count in by_windows]
    live = sum(by == "live" for by, _ in ended) / len(ended)
    figures = median(both), quantile(both, 0.9), median(alone), quantile(alone, 0.9)
    return trace.name, f"{trace.per_s:g}", *(f"{figure:.0f}" for figure in figures), f"{live:.0%}"


def section(pauses: Sequence[tuple[str, ...]], reactions: Sequence[tuple[str, ...]], days: int) -> str:
    of_pauses = table(("24 h at 5/s", "promise", "paused live", "by windows", "both, at most"), pauses)
    of_faults = table(
        ("fault", "sends/s", "median", "p90", "by windows alone, median", "p90", "paused live"), reactions
    )
    return f"""## Both sources together

{machine()} `make bench-decisions` measures this part too: {days} seeded ramps of each trace, with live
counts looked at each second and windows of 30 s, scraped each 10 s, judged at each tick, all by the code
that decides. The first to pause ends the day. "At most" is the upper end of an interval of two standard
errors.

{of_pauses}

Failed sends until the decision to pause, without the second that counts take to Redis and flags back:

{of_faults}
"""


if __name__ == "__main__":
    main()
