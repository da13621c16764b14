"""The rules of Argo Rollouts and Flagger, written again from their documentation, and our own policies.

Each takes a trace, windows of 30 s of (sends, errors, slow), at a traffic that is the same at every step,
and says how a ramp over it ends. The peers are judged on errors alone, which is in their favour: a second
metric can only make them abort more often.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from controller.decision.feature import RolloutFeature
from controller.decision.model import Kind, Reason
from controller.whatif.playback import Tick, course

WINDOW_S = 30
BAKE_S = 600
FEATURE = RolloutFeature("bench", "bench", "bench.send", bake_s=BAKE_S)
LIMIT = FEATURE.slo_error_rate_threshold
STEPS = len(FEATURE.steps)

Counts = tuple[float, float, float]


class Trace:
    """Windows that are drawn when first asked for and then kept, so that every rule sees the same ones."""

    def __init__(self, windows: Iterator[Counts]) -> None:
        self._windows = windows
        self._drawn: list[Counts] = []

    def __iter__(self) -> Iterator[Counts]:
        place = 0
        while True:
            if place == len(self._drawn):
                self._drawn += islice(self._windows, 60)
            if place == len(self._drawn):
                return
            yield self._drawn[place]
            place += 1


@dataclass(frozen=True, slots=True)
class End:
    """How a ramp ended: `paused` (or aborted, rolled back), `completed` or `unfinished`."""

    what: str
    windows: int
    failed: float


Rule = Callable[[Iterable[Counts]], End]


def ours(policy: str) -> Rule:
    """Return a policy of this product: the very code that decides live."""
    feature = replace(FEATURE, policy=policy)

    def rule(trace: Iterable[Counts]) -> End:
        ticks = (Tick(WINDOW_S * i, n, k, s) for i, (n, k, s) in enumerate(_after_a_start(trace)))
        number, failed = -1, 0.0
        for snapshot, decision in course(feature, ticks, config_hash="bench", window_s=WINDOW_S):
            number += 1
            failed += sum(window.errors for window in snapshot.evidence.windows)
            if decision.kind is Kind.PAUSE:
                return End("paused", number, failed)
            if decision.reason is Reason.COMPLETE:
                # The rules of the peers end with the step to 100 %, one window before this hold.
                return End("completed", number - 1, failed)
        return End("unfinished", number, failed)

    return rule


def _after_a_start(trace: Iterable[Counts]) -> Iterator[Counts]:
    """Begin with the tick at 0 % that takes the first step."""
    yield (0.0, 0.0, 0.0)
    yield from trace


def argo(interval_s: int, query_s: int, failure_limit: int) -> Rule:
    """Argo Rollouts: a background analysis, and steps that advance by their pause alone.

    Each interval takes one measurement of the error ratio over `query_s`. A ratio that is not below the
    limit is Failed; no sends give NaN, which is Failed too. The run fails when failed > failureLimit.
    The first measurement waits for a full range, so that it has something to measure.
    """
    every, reach = interval_s // WINDOW_S, query_s // WINDOW_S

    def rule(trace: Iterable[Counts]) -> End:
        seen: list[Counts] = []
        failed_sends, failures = 0.0, 0
        for number, counts in enumerate(trace, start=1):
            seen = [*seen[1 - reach :], counts] if reach > 1 else [counts]
            failed_sends += counts[1]
            if number >= reach and number % every == 0:
                failures += not _ratio_is_good(seen)
                if failures > failure_limit:
                    return End("paused", number, failed_sends)
            if number * WINDOW_S >= BAKE_S * (STEPS - 1):
                return End("completed", number, failed_sends)
        return End("unfinished", len(seen), failed_sends)

    return rule


def flagger(threshold: int, interval_s: int = 60) -> Rule:
    """Flagger: each interval, first roll back if enough checks have failed, else check over the last minute.

    A bad or a missing value adds 1 forever; a good one advances one step.
    """
    every, reach = interval_s // WINDOW_S, 60 // WINDOW_S

    def rule(trace: Iterable[Counts]) -> End:
        seen: list[Counts] = []
        failed_sends, failures, step = 0.0, 0, 0
        number = 0
        for number, counts in enumerate(trace, start=1):
            seen = [*seen[1 - reach :], counts]
            failed_sends += counts[1]
            if number % every:
                continue
            if failures >= threshold:
                return End("paused", number, failed_sends)
            if not _ratio_is_good(seen):
                failures += 1
                continue
            step += 1
            if step >= STEPS:
                return End("completed", number, failed_sends)
        return End("unfinished", number, failed_sends)

    return rule


def _ratio_is_good(seen: Iterable[Counts]) -> bool:
    windows = list(seen)
    sends, errors = sum(n for n, _, _ in windows), sum(k for _, k, _ in windows)
    return sends > 0 and errors <= LIMIT * sends


RULES: dict[str, Rule] = {
    "sequential (ours)": ours("sequential"),
    "threshold (ours, the plan's rule)": ours("threshold"),
    "Argo default (60 s, failureLimit 0)": argo(60, 300, 0),
    "Argo example (5 m, failureLimit 3)": argo(300, 300, 3),
    "Flagger default (threshold 1)": flagger(1),
    "Flagger example (threshold 5)": flagger(5),
}
