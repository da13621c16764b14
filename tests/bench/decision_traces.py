"""Seeded traces for the decision benchmark: steady, bursts, a day, a change, clusters."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import pi, sin
from random import Random

from bench.decision_rules import LIMIT, WINDOW_S, Counts

from controller.decision.model import SLOW_SHARE_LIMIT
from controller.whatif.simulate import binomial, poisson

HEALTHY = 0.3
"""Of the limit, for errors and for slow sends."""
Draw = Callable[[Random, int], Counts]
HOUR = 3600 // WINDOW_S
BURST_S = 30.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A way in which counts come about, and what would be right."""

    name: str
    draw: Draw
    hours: float
    """The ramp is left unfinished after so long."""
    good: str
    """What ought to happen: `complete` or `pause`."""
    begins_at: int = 0
    """The window at which the fault begins: failed sends and times are counted from there."""

    def windows(self, seed: int) -> Iterator[Counts]:
        rng = Random(f"{self.name}/{seed}")
        for number in range(int(self.hours * HOUR)):
            yield self.draw(rng, number)


def _counts(rng: Random, sends_per_s: float, error_rate: float) -> Counts:
    sends = poisson(rng, sends_per_s * WINDOW_S)
    slow = binomial(rng, sends, HEALTHY * SLOW_SHARE_LIMIT)
    return sends, binomial(rng, sends, error_rate), slow


def steady(sends_per_s: float, times: float) -> Draw:
    """Return the same rate forever: `times` the limit."""
    return lambda rng, _: _counts(rng, sends_per_s, min(times * LIMIT, 1.0))


def bursts() -> Draw:
    """Return half a minute an hour, wherever it falls, in which a third of the sends fails."""
    begin = [0.0]

    def draw(rng: Random, number: int) -> Counts:
        begin[0] = rng.uniform(0, 3600) if number == 0 else begin[0]
        phase = (number * WINDOW_S - begin[0]) % 3600
        inside = max(min(phase + WINDOW_S, BURST_S) - phase, 0) + max(phase + WINDOW_S - 3600, 0)
        share = min(inside / WINDOW_S, 1.0)
        return _counts(rng, 5.0, 0.33 * share + HEALTHY * LIMIT * (1 - share))

    return draw


def day(rng: Random, number: int) -> Counts:
    """Return a day's traffic, from almost nothing at its start to 10 sends/s half a day later."""
    sends_per_s = 5.0 * (1.001 - sin(pi / 2 + 2 * pi * number / (24 * HOUR)))
    return _counts(rng, sends_per_s, HEALTHY * LIMIT)


def changing(sends_per_s: float, after_hours: float, times: float) -> Draw:
    """Return health, then from one moment on `times` the limit."""

    def draw(rng: Random, number: int) -> Counts:
        healthy = number < after_hours * HOUR
        return _counts(rng, sends_per_s, (HEALTHY if healthy else times) * LIMIT)

    return draw


def clusters(size: int) -> Draw:
    """Return 0.3 x the limit of errors on average, but always `size` at once: one mailbox that retries."""

    def draw(rng: Random, _: int) -> Counts:
        sends = poisson(rng, 5.0 * WINDOW_S)
        errors = size * poisson(rng, 5.0 * WINDOW_S * HEALTHY * LIMIT / size)
        return sends, min(errors, sends), binomial(rng, sends, HEALTHY * SLOW_SHARE_LIMIT)

    return draw


TRAFFIC = (0.05, 0.5, 5.0, 50.0)
AT_LIMIT_HOURS = 6.0
CHANGE_HOURS = 4.0

SCENARIOS: tuple[Scenario, ...] = (
    *(Scenario(f"healthy, {r:g}/s", steady(r, HEALTHY), 24.0, "complete") for r in TRAFFIC),
    *(Scenario(f"at the limit, {r:g}/s", steady(r, 1.0), AT_LIMIT_HOURS, "complete") for r in TRAFFIC),
    *(Scenario(f"2x the limit, {r:g}/s", steady(r, 2.0), 24.0, "pause") for r in TRAFFIC),
    *(Scenario(f"10x the limit, {r:g}/s", steady(r, 10.0), 24.0, "pause") for r in TRAFFIC),
    Scenario("outage, 50/s", steady(50.0, 100.0), 1.0, "pause"),
    Scenario("bursts of 30 s, unaligned, 5/s", bursts(), 24.0, "complete"),
    Scenario("a day's traffic", day, 24.0, "complete"),
    Scenario("errors 5 at once, 5/s", clusters(5), 24.0, "complete"),
    Scenario("errors 20 at once, 5/s", clusters(20), 24.0, "complete"),
    Scenario("1.5x the limit, 5/s", steady(5.0, 1.5), 24.0, "pause"),
    Scenario("outage, 0.5/s", steady(0.5, 100.0), 1.0, "pause"),
)


def late_change(times: float) -> Scenario:
    """Return a feature that is at 100 % and healthy for hours before it breaks."""
    hours = CHANGE_HOURS + 3.0
    start = int(CHANGE_HOURS * HOUR)
    return Scenario(
        f"{times:g}x after 4 h of health, 5/s", changing(5.0, CHANGE_HOURS, times), hours, "pause", start
    )
