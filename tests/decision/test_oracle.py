"""The decisions beside an oracle that was written from the formulas of docs/decisions.md, not from the code.

It multiplies plain numbers where the code adds logarithms, and keeps every window where the code keeps sums.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, exp, log, sqrt
from random import Random

from kit.examples import share_of
from worlds.snapshots import FEATURE, STEPS

from controller.whatif.playback import Tick, course
from controller.whatif.simulate import binomial, poisson

WINDOW_S, BAKE_S, ALPHA, BLIP_S = 10.0, 600.0, 0.05, 3.0
HEALTHY = {0.01: 0.228, 0.08: 0.143, 0.18: 0.164, 0.32: 0.257, 0.55: 0.208}
BLIP_WINDOWS, BURST_WINDOWS = ceil(BLIP_S / WINDOW_S) + 1, ceil(10 * BLIP_S / WINDOW_S) + 1
ALARM = 1 / (0.9 * ALPHA)
LATE_ALARM = 86_400 / WINDOW_S / (0.05 * ALPHA)
CAP = ((ALARM - 0.5) / 0.5) ** (1 / BLIP_WINDOWS) * (1 - 1e-6)
LATE_CAP = LATE_ALARM ** (0.75 / BURST_WINDOWS)


@dataclass
class Slo:
    """One SLO: its stakes, its restarts, and every window since the ramp began."""

    limit: float
    stakes: list[float] = field(default_factory=lambda: [0.0] * 8)
    restarts: list[float] = field(default_factory=lambda: [0.0] * 8)
    steps: list[list[tuple[float, float]]] = field(default_factory=lambda: [[]])
    """For each step, each window: sends, and bad sends as the breach test counts them."""
    raw: list[tuple[float, float]] = field(default_factory=list)
    """For the present step, each window: sends, bad sends."""
    boxes: list[tuple[float, float]] = field(default_factory=list)
    """For the whole ramp: bad sends of windows whose mailboxes are known, and their mailboxes."""

    def clusters(self) -> tuple[float, float]:
        pairs = [(a[1], b[1]) for step in self.steps for a, b in pairwise(step)]
        return sum((a - b) ** 2 for a, b in pairs) / 2, sum(a + b for a, b in pairs) / 2

    def add(self, n: float, k: float, mailboxes: float | None) -> None:
        spread, mean = self.clusters()
        effect = 1 + max(spread - mean - 3 * sqrt(mean / 2), 0) / (mean + 1)
        counted = k if mailboxes is None else 0 if mailboxes <= 1 < k else min(k, mailboxes)
        for j in range(8):
            rate = 1.5 * self.limit * (0.9 / (1.5 * self.limit)) ** (j / 7)
            ln = counted * log(rate / self.limit) + (n - k) * log((1 - rate) / (1 - self.limit))
            worth = exp(min(ln / effect, 100))
            self.stakes[j] *= min(worth, CAP)
            self.restarts[j] = (1 / 8 + self.restarts[j]) * min(worth, LATE_CAP)
        self.steps[-1].append((n, counted))
        self.raw.append((n, k))
        if mailboxes is not None:
            self.boxes.append((k, min(mailboxes, k)))

    def seen(self) -> float:
        spread, mean = self.clusters()
        seen = 1 + max(spread - mean - 0.5 * sqrt(mean / 2), 0) / mean if mean > 0 else 1.0
        bad, boxes = (sum(part) for part in zip(*self.boxes, strict=True)) if self.boxes else (0, 0)
        return max(seen, bad / boxes) if boxes > 0 else seen

    def healthy(self, to: float) -> bool:
        if not self.raw:
            return False
        n, k = (sum(part) for part in zip(*self.raw, strict=True))
        divided_by = max(self.seen(), min(n / len(self.raw) - 0.5, 5 * to / 100), 1)
        bad, total = 2 * self.limit, 0.0
        for share, weight in HEALTHY.items():
            ln = k * log(share) + (n - k) * log((1 - share * bad) / (1 - bad))
            total += weight * exp(min(ln / divided_by, 500))
        return total >= self.seen() / min(0.5, 0.05 * 100 / to)


def oracle(ticks: list[Tick]) -> Iterator[tuple[str, str, float]]:
    percent, cash, since, paused, run = 0.0, 1.0, 0.0, False, 0
    slos: list[Slo] = []
    for tick in ticks:
        if paused:
            yield "hold", "paused", percent
            continue
        if percent == 0:
            percent, cash, since = 1.0, 0.5, tick.at
            slos = [Slo(0.01, [0.5 / 8] * 8), Slo(0.05, [0.5 / 8] * 8)]
            yield "step_up", "first_step", percent
            continue
        if tick.sends > 0:
            slos[0].add(tick.sends, tick.errors, tick.failed_mailboxes)
            slos[1].add(tick.sends, tick.slow, None)
        boxes = tick.failed_mailboxes
        chance = sqrt(tick.sends) / 2 if boxes is None else 0.0
        half = tick.sends >= 20 and (boxes is None or boxes >= 3)
        half = half and tick.errors >= tick.sends / 2 + chance
        run = run + 1 if half else 0
        outage = run >= 2 or (run == 1 and (boxes is not None or tick.sends >= 60))
        breached = sum(sum(slo.stakes) + cash for slo in slos) / 2 >= ALARM
        late = sum(sum(slo.restarts) or 1 for slo in slos) / 2 >= LATE_ALARM
        if outage or breached or late:
            errors, latency = (sum(slo.stakes if breached else slo.restarts) for slo in slos)
            cause = "slo_error_rate" if errors >= latency else "slo_latency"
            paused = True
            yield "pause", "outage" if outage else cause, percent
            continue
        to = next((step for step in STEPS if step > percent), 0.0)
        if not to:
            yield "hold", "complete", percent
        elif not all(slo.healthy(to) for slo in slos):
            yield "hold", "gathering_evidence" if tick.sends > 0 else "no_traffic", percent
        elif tick.at - since < BAKE_S:
            yield "hold", "baking", percent
        else:
            stake = cash / (1 + sum(step >= to for step in STEPS))
            percent, cash, since, run = to, cash - stake, tick.at, 0
            for slo in slos:
                slo.stakes = [held + stake / 8 for held in slo.stakes]
                slo.steps.append([])
                slo.raw = []
            yield "step_up", "healthy", percent


def trace(rng: Random) -> list[Tick]:
    """Draw a trace that changes its mind: traffic, rate, size of the clusters; with mailboxes or without."""
    ticks, boxes = [Tick(0.0)], rng.random() < 0.4
    for _ in range(rng.randrange(1, 5)):
        per_window = 10 ** rng.uniform(-0.5, 2.5)
        times, size = rng.choice((0.0, 0.3, 1.0, 2.0, 3.0, 10.0, 60.0)), rng.choice((1, 1, 1, 3, 5, 20))
        slow = rng.choice((0.0, 0.015, 0.015, 0.05, 0.2))
        for _ in range(rng.randrange(5, 130)):
            n = poisson(rng, per_window)
            groups = binomial(rng, n, min(times * 0.01 / size, 1.0))
            k = min(groups * size, n)
            known = float(min(groups, k)) if boxes else None
            ticks.append(Tick(WINDOW_S * len(ticks), n, k, binomial(rng, n, slow), failed_mailboxes=known))
    return ticks


def test_two_thousand_random_traces_are_decided_as_the_formulas_say() -> None:
    different, pauses, ups = [], 0, 0
    for seed in range(share_of(2000, 60)):
        ticks = trace(Random(seed))
        decided = [
            (decision.kind.value, decision.reason.value, decision.flags.rollout_percent)
            for _, decision in course(FEATURE, ticks, config_hash="oracle", window_s=WINDOW_S)
        ]
        expected = list(oracle(ticks))
        different += [
            (seed, place)
            for place, pair in enumerate(zip(decided, expected, strict=True))
            if pair[0] != pair[1]
        ][:1]
        pauses += any(kind == "pause" for kind, _, _ in expected)
        ups += any(reason == "healthy" for _, reason, _ in expected)
    assert different == []
    assert pauses > 10
    assert ups > 10
