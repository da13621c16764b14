"""How often live counts pause what they should not: days of sends, judged each second as the guard does.

`make test` tries an hour of each, `make soak` SOAK_LIVE_DAYS days.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from kit.examples import amount

from controller.decision.judging.live import is_outage, live_findings, with_seconds
from controller.decision.judging.live_late import SEEN_S
from controller.decision.model import LiveState, Verdict, Window
from controller.features import ROLLOUT_FEATURES

FEATURE = ROLLOUT_FEATURES["microsoft"]
LIMIT = FEATURE.slo_error_rate_threshold
DAYS = amount("LIVE_DAYS", soak=100, usually=1)
SECONDS = amount("LIVE_SECONDS", soak=86_400, usually=3600)
PER_S = 5.0
Counts = Callable[[random.Random, int, float], int]
"""(chance, sends of this second, seconds since the first day began) -> failed ones."""


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
    live, seconds = LiveState(1, begun_at=1.0, judged_to=1.0), deque[Window](maxlen=int(SEEN_S))
    for second in range(SECONDS):
        n = sends(chance, per_s)
        k = counts(chance, n, seed * 86_400.0 + second) if n else 0
        seconds.append(Window(second + 2.0, n, k, n, 0.0, failed_mailboxes=k))
        live = with_seconds(FEATURE, live, [seconds[-1]])
        if k and (is_outage(FEATURE, seconds) or breached(live, seconds)):
            return True
    return False


def breached(live: LiveState, seconds: Sequence[Window]) -> bool:
    return any(one.verdict is Verdict.BREACHED for one in live_findings(FEATURE, live, list(seconds)))


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


def test_a_breach_from_the_start_is_paused() -> None:
    assert all(pauses(steady(0.2), seed) for seed in range(DAYS))


def test_a_lower_alpha_asks_for_more() -> None:
    live = LiveState(1, begun_at=1.0, judged_to=1.0)
    needed = [
        live_findings(replace(FEATURE, alpha=alpha), live)[0].breach_needed for alpha in (0.1, 0.05, 0.01)
    ]
    assert needed == sorted(needed)
