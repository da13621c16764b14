"""Measures what the decisions promise, by the very code that decides live: section "What is promised".

Usage: PYTHONPATH=tests python -m bench.decision_promises [--ramps 1000]
"""

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from math import log, sqrt
from random import Random
from statistics import mean, median

from bench.report import machine, say, table, write_section

from controller.decision.feature import RolloutFeature
from controller.decision.model import Kind, Reason
from controller.whatif.playback import Tick, course
from controller.whatif.simulate import binomial, poisson

WINDOW_S, LIMIT, SLOW = 10.0, 0.01, 0.015
FEATURE = RolloutFeature("bench", "bench", "bench.send")
ALARM = 1 / (0.9 * 0.05)
CHUNK = 10

Draw = Callable[[Random, float, int], tuple[int, float | None]]
"""(chance, seconds since the start, sends of the window) -> failed sends, their mailboxes."""


def steady(times: float) -> Draw:
    """Return single failures at `times` the limit."""
    return lambda rng, _, n: (binomial(rng, n, min(times * LIMIT, 1.0)), None)


def clustered(times: float, size: int, *, one_mailbox: bool = False) -> Draw:
    """Return failures that come `size` at once, of which what is left falls into the next window."""
    left = [0]

    def draw(rng: Random, at: float, n: int) -> tuple[int, float | None]:
        left[0] = 0 if at == 0 else left[0]
        groups = poisson(rng, n * times * LIMIT / size)
        left[0] += size * groups
        k = min(left[0], n)
        left[0] -= k
        return k, -(-k // size) if one_mailbox else None

    return draw


def beta_binomial(times: float, rho: float) -> Draw:
    """Return failures whose rate differs from window to window."""
    mean_, more = times * LIMIT, 1 / rho - 1
    return lambda rng, _, n: (binomial(rng, n, rng.betavariate(mean_ * more, (1 - mean_) * more)), None)


def burst(times: float, share: float = 0.33, length_s: float = 30.0) -> Draw:
    """Return a burst each hour, wherever it falls; otherwise `times` the limit."""
    begin = [0.0]

    def draw(rng: Random, at: float, n: int) -> tuple[int, float | None]:
        begin[0] = rng.uniform(0, 3600) if at == 0 else begin[0]
        phase = (at - begin[0]) % 3600
        inside = max(min(phase + WINDOW_S, length_s) - phase, 0) + max(phase + WINDOW_S - 3600, 0)
        hit = binomial(rng, n, min(inside / WINDOW_S, 1.0))
        return binomial(rng, hit, share) + binomial(rng, n - hit, times * LIMIT), None

    return draw


def changing(after_s: float, times: float) -> Draw:
    """Return health, and from a moment on `times` the limit."""
    return lambda rng, at, n: (binomial(rng, n, (0.3 if at < after_s else times) * LIMIT), None)


@dataclass(frozen=True, slots=True)
class Cell:
    """One promise: what is drawn, for how long, and what is measured."""

    name: str
    sends_per_s: float
    draw: Callable[[], Draw]
    hours: float
    what: str
    """`failed`, `paused`, `hours`, `50`, `100` or `minutes`."""
    promise: str
    proportional: bool = False
    late_s: float = 0.0
    oracle_times: float = 0.0


def _cell(name: str, rate: float, draw: Callable[[], Draw], hours: float, what: str, promise: str) -> Cell:
    return Cell(f"{name}, {rate:g}/s", rate, draw, hours, what, promise)


def _failing(times: float, rate: float, hours: float, promise: str) -> Cell:
    cell = _cell(f"{times:g}x", rate, partial(steady, times), hours, "failed", promise)
    return replace(cell, oracle_times=times)


def _healthy(times: float, rate: float, promise: str) -> Cell:
    cell = _cell(f"{times:g}x, traffic in proportion", rate, partial(steady, times), 100, "hours", promise)
    return replace(cell, proportional=True)


CELLS = (
    _failing(1.5, 5, 24, "<= 100"),
    _failing(2, 0.5, 24, "<= 40"),
    _failing(2, 5, 24, "<= 40"),
    _failing(3, 5, 24, "<= 21"),
    _failing(10, 5, 24, "<= 20"),
    _failing(10, 50, 24, "<= 170"),
    _cell("2x", 5, partial(steady, 2), 24, "50", "<= 1 %"),
    _healthy(0.3, 5, "<= 1.1 h"),
    _healthy(0.3, 0.5, "<= 6 h"),
    _healthy(0.5, 5, "<= 1.2 h"),
    _healthy(0.5, 0.5, "<= 8 h"),
    *(_cell("at the limit", rate, partial(steady, 1), 24, "paused", "<= 5 %") for rate in (0.05, 0.5, 5, 50)),
    _cell("0.3x", 5, partial(steady, 0.3), 24, "paused", "0 %"),
    _cell("0.7x in clusters of 5", 5, partial(clustered, 0.7, 5), 24, "paused", "<= 5 %"),
    _cell("at the limit, beta-binomial 0.01", 5, partial(beta_binomial, 1, 0.01), 24, "paused", "<= 5 %"),
    _cell("at the limit, beta-binomial 0.05", 5, partial(beta_binomial, 1, 0.05), 24, "paused", "-"),
    _cell("hourly burst of 33 % for 30 s", 5, partial(burst, 0.3), 24, "paused", "<= 5 %"),
    _cell("2x in clusters of 5", 0.5, partial(clustered, 2, 5), 24, "50", "<= 5 %"),
    _cell("2x in clusters of 5", 0.5, partial(clustered, 2, 5), 24, "100", "0 %"),
    _cell("2x in clusters of 5", 5, partial(clustered, 2, 5), 24, "50", "<= 5 %"),
    _cell("2x in clusters of 20", 5, partial(clustered, 2, 20), 24, "50", "<= 5 %"),
    _cell("2x in clusters of 20", 0.5, partial(clustered, 2, 20), 24, "50", "not reachable"),
    _cell("2x, 5 retries of one mailbox", 5, partial(clustered, 2, 5, one_mailbox=True), 24, "100", "<= 5 %"),
    _cell("one tenant of 200 broken", 5, partial(steady, 0.5 + 0.3), 24, "paused", "not seen"),
    replace(
        _cell("10x after 4 h at 100 %", 5, partial(changing, 14_400, 10), 6, "minutes", "<= 3"), late_s=14_400
    ),
    replace(
        _cell("3x after 4 h at 100 %", 5, partial(changing, 14_400, 3), 6, "minutes", "<= 6"), late_s=14_400
    ),
)


@dataclass(slots=True)
class End:
    """How one ramp ended."""

    failed: float = 0.0
    highest: float = 0.0
    paused_s: float | None = None
    complete_s: float | None = None


def run(cell: Cell, seed: int) -> End:
    """Decide one ramp of a cell."""
    end, rng, draw = End(), Random(f"{cell.name}/{seed}"), cell.draw()
    feature = replace(FEATURE, initial_percent=100.0) if cell.late_s else FEATURE
    for snapshot, decision in course(
        feature, _ticks(cell, end, rng, draw), config_hash="b", window_s=WINDOW_S
    ):
        end.highest = max(end.highest, decision.flags.rollout_percent)
        if decision.kind is Kind.PAUSE:
            end.paused_s = snapshot.now
            break
        if decision.reason is Reason.COMPLETE and end.complete_s is None:
            end.complete_s = snapshot.now - WINDOW_S
            if cell.what in {"hours", "50", "100"}:
                break
    return end


def _ticks(cell: Cell, end: End, rng: Random, draw: Draw) -> Iterator[Tick]:
    yield Tick(0.0)
    for number in range(int(cell.hours * 3600 / WINDOW_S)):
        share = end.highest / 100 if cell.proportional else 1.0
        sends = poisson(rng, cell.sends_per_s * WINDOW_S * share)
        errors, mailboxes = draw(rng, number * WINDOW_S, sends)
        end.failed += errors
        slow = binomial(rng, sends, SLOW)
        yield Tick((number + 1) * WINDOW_S, sends, errors, slow, failed_mailboxes=mailboxes)


def _chunk(place: int, many: int, first: int) -> list[End]:
    return [run(CELLS[place], seed) for seed in range(first, first + many)]


def measured(cell: Cell, ends: Sequence[End]) -> str:
    """Return the figure of a cell with the tolerance of so many ramps (two standard errors)."""
    if cell.what == "failed":
        spread = (
            2 * sqrt(sum((end.failed - mean(one.failed for one in ends)) ** 2 for end in ends)) / len(ends)
        )
        return f"{mean(end.failed for end in ends):.1f} +- {spread:.1f} failed sends"
    if cell.what == "hours":
        return f"{median(end.complete_s or float('inf') for end in ends) / 3600:.2f} h"
    if cell.what == "minutes":
        times = [(end.paused_s or float("inf")) - cell.late_s for end in ends]
        return f"{median(times) / 60:.1f} min"
    reached = {"50": 50.0, "100": 100.0}.get(cell.what)
    hits = [end.paused_s is not None if reached is None else end.highest >= reached for end in ends]
    word = "paused" if reached is None else f"reached {cell.what} %"
    return f"{sum(hits)} of {len(hits)} {word}, at most {highest_share(sum(hits), len(hits)):.1%}"


def highest_share(hits: int, many: int) -> float:
    """Return the upper end of Wilson's interval of two standard errors: none of 20 may still be 17 %."""
    share, z2 = hits / many, 4.0
    middle, half = share + z2 / (2 * many), sqrt(z2 * (share * (1 - share) / many + z2 / (4 * many**2)))
    return (middle + half) / (1 + z2 / many)


def oracle(cell: Cell) -> str:
    """Return what a test would need that knows the rate: failed sends, without windows."""
    if not cell.oracle_times:
        return ""
    p = cell.oracle_times * LIMIT
    drift = p * log(p / LIMIT) + (1 - p) * log((1 - p) / (1 - LIMIT))
    return f"{p * log(ALARM) / drift:.0f}"


def main() -> None:
    """Run every cell and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ramps", type=int, default=1000, help="seeded ramps per cell")
    parser.add_argument("--long", type=int, help="ramps of the cells that last a day; as many, unless given")
    given = parser.parse_args()
    rows = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for place, cell in enumerate(CELLS):
            ramps = (given.long or given.ramps) if cell.what == "paused" else given.ramps
            chunks = pool.map(partial(_chunk, place, min(CHUNK, ramps)), range(0, ramps, CHUNK))
            ends = [end for chunk in chunks for end in chunk]
            rows.append((cell.name, cell.promise, measured(cell, ends), oracle(cell), f"{ramps:,}"))
            say(" | ".join(rows[-1]))
    write_section("promises", section(rows))


def section(rows: Sequence[tuple[str, ...]]) -> str:
    """Write the section."""
    return f"""## What the decisions promise

{machine()} `make bench-decisions` measures this part alone. Limit 1 %, windows of 10 s, steps
1 5 10 25 50 100, bake 10 min, slow share 0.3x its limit, seeded ramps by the code that decides live;
+- is two standard errors of the simulation, "at most" the upper end of as wide an interval. "x" is times
the limit. Clusters fall across windows as they come, and bursts wherever they fall. The oracle is the same
bet with the true rate known, send by send.

{table(("trace", "promise", "measured", "oracle", "ramps"), rows)}

A broken tenant whose failures leave the average below the limit is not seen: nothing here counts by tenant.
"""


if __name__ == "__main__":
    main()
