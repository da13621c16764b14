"""How often live counts pause what they should not: days of sends, judged each second as the guard does.

`make test` tries an hour of each, `make soak` SOAK_LIVE_DAYS days.
"""

import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import pytest
from kit.examples import amount

from controller.decision.judging.live import is_outage, live_findings, with_seconds
from controller.decision.judging.live_late import LOOK_S, seen_s
from controller.decision.model import LiveState, Verdict, Window
from controller.features import ROLLOUT_FEATURES

FEATURE = ROLLOUT_FEATURES["microsoft"]
LIMIT = FEATURE.slo_error_rate_threshold
DAYS = amount("LIVE_DAYS", soak=100, usually=1)
SECONDS = amount("LIVE_SECONDS", soak=86_400, usually=3600)
SEEN = int(seen_s(FEATURE) / LOOK_S)
BATCHES_S = amount("LIVE_BATCHES_S", soak=36_000, usually=900)
PER_S = 5.0
Counts = Callable[[random.Random, int, float], int]
"""(chance, sends of this second, seconds since the first day began) -> failed ones."""

Batch = tuple[int, int, float, tuple[float, float], bool]
"""Sends at once, each so many seconds, share of bad ones, how much later they are counted, slow or failed."""
LATE: tuple[Batch, ...] = (
    (60, 3, 0.02, (1.0, 2.0), True),
    (50, 2, 0.03, (0.5, 3.0), True),
    (1500, 60, 0.03, (0.5, 3.0), True),
    (200, 9, 0.005, (4.0, 6.0), False),
    (300, 10, 0.003, (4.0, 6.0), False),
    (500, 20, 0.005, (8.0, 12.0), False),
    (500, 20, 0.008, (29.0, 31.0), False),
    (5000, 130, 0.008, (10.0, 60.0), False),
    (5000, 600, 0.005, (29.0, 36.0), False),
)


def steady(share: float) -> Counts:
    return lambda chance, n, _: sum(chance.random() < share for _ in range(n))


def clusters(share: float, size: int) -> Counts:
    return lambda chance, n, _: min(n, size * (chance.random() < share * PER_S / size))


def hourly(length_s: float, share: float, others: float) -> Counts:
    """Return a burst in each hour, at a moment of its own."""

    def failed(chance: random.Random, n: int, at: float) -> int:
        begins = random.Random(int(at // 3600) * 7919).uniform(0, 3600 - length_s)
        begins += 3600 * (at // 3600)
        inside = max(min(at + 1, begins + length_s) - max(at, begins), 0.0)
        return sum(chance.random() < inside * share + (1 - inside) * others for _ in range(n))

    return failed


def pauses(counts: Counts, seed: int, per_s: float = PER_S) -> bool:
    """Whether the guard pauses a ramp that began with the day."""
    chance = random.Random(seed)
    drawn = ((second, sends(chance, per_s)) for second in range(SECONDS))
    return judged((n, counts(chance, n, seed * 86_400.0 + second) if n else 0) for second, n in drawn)


def judged(counts: Iterable[tuple[int, int]], *, slow: bool = False) -> bool:
    """Whether the guard pauses on these seconds' sends and bad ones."""
    live, seconds = LiveState(1, begun_at=1.0, judged_to=1.0), deque[Window](maxlen=SEEN)
    for second, (n, k) in enumerate(counts):
        errors, late = (0, k) if slow else (k, 0)
        seconds.append(Window(second + 2.0, n, errors, n, late, failed_mailboxes=errors))
        live = with_seconds(FEATURE, live, [seconds[-1]])
        if k and (is_outage(FEATURE, seconds) or breached(live, seconds)):
            return True
    return False


def batches(
    seed: int, size: int, every_s: int, share: float, later_s: tuple[float, float]
) -> list[tuple[int, int]]:
    """Return sends that begin together; the bad ones are counted so much later, when nothing else is."""
    chance = random.Random(seed)
    counts = [[0, 0] for _ in range(BATCHES_S + every_s + math.ceil(later_s[1]) + 1)]
    for begin in range(int(chance.random() * every_s), BATCHES_S, every_s):
        for _ in range(size):
            bad = chance.random() < share
            ended = counts[int(begin + (chance.uniform(*later_s) if bad else chance.uniform(0.05, 0.9)))]
            ended[0] += 1
            ended[1] += bad
    return [(n, k) for n, k in counts[:BATCHES_S]]


def breached(live: LiveState, seconds: Sequence[Window]) -> bool:
    return any(one.verdict is Verdict.BREACHED for one in live_findings(FEATURE, live, seconds))


def sends(chance: random.Random, per_s: float) -> int:
    """Return how many come within a second, at random."""
    count, at = 0, chance.expovariate(per_s)
    while at < 1:
        count, at = count + 1, at + chance.expovariate(per_s)
    return count


@pytest.mark.parametrize(
    ("counts", "allowed"),
    [
        (steady(LIMIT), 0.01),
        (clusters(0.7 * LIMIT, 5), 0.05),
        (hourly(2.0, 1.0, 0.3 * LIMIT), 0.0),
        (hourly(3.0, 1.0, 0.3 * LIMIT), 0.02),
        (hourly(30.0, 0.33, 0.3 * LIMIT), 0.05),
        (steady(0.3 * LIMIT), 0.0),
    ],
    ids=["at the limit", "clusters of 5", "2 s of failure", "3 s of failure", "30 s at 33 %", "healthy"],
)
def test_what_is_no_harm_is_seldom_paused(counts: Counts, allowed: float) -> None:
    paused = sum(pauses(counts, seed) for seed in range(DAYS))
    assert paused <= max(allowed * DAYS * 2, allowed > 0 and DAYS == 1)


@pytest.mark.parametrize("batch", LATE, ids=str)
def test_batches_whose_bad_sends_are_counted_late_are_not_paused(batch: Batch) -> None:
    size, every_s, share, later_s, slow = batch
    for seed in range(amount("LIVE_BATCHES", soak=10, usually=1)):
        assert not judged(batches(seed, size, every_s, share, later_s), slow=slow)


def test_batches_that_break_their_limit_by_far_are_paused_all_the_same() -> None:
    """Ten batches, of which a third times out."""
    assert judged(batches(1, 60, 3, 0.33, (1.0, 2.0))[:60])


def test_a_breach_from_the_start_is_paused() -> None:
    assert all(pauses(steady(0.2), seed) for seed in range(DAYS))


def test_a_lower_alpha_asks_for_more() -> None:
    live = LiveState(1, begun_at=1.0, judged_to=1.0)
    needed = [
        live_findings(replace(FEATURE, alpha=alpha), live)[0].breach_needed for alpha in (0.1, 0.05, 0.01)
    ]
    assert needed == sorted(needed)
