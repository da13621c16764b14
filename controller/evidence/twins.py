"""One process that Prometheus found twice: under its address and its name, say. Pure.

Two processes may begin in the same hundredth of a second, so the same start is only a suspicion. What proves
or disproves it is the counters: those of one process rise from scrape to scrape, whichever target is asked.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

_SAME_START_S = 2e-5
"""VictoriaMetrics changes the last digits of a long number."""
FEWEST_SAMPLES = 3
STARTED = ("__name__", "process_start_time_seconds")
"""The series whose value says which process a scrape met."""

Samples = Sequence[tuple[float, float]]
"""(time, value) of one counter at one target."""
Counters = Mapping[tuple[tuple[str, str], ...], Samples]
"""All counters of one target and its start, by their name and the labels that are not the target's."""


def suspects(starts: Mapping[str, float]) -> tuple[tuple[str, str], ...]:
    """Return the pairs of targets whose processes began at the same time, at ports that may be the same."""
    by_start: dict[int, list[str]] = defaultdict(list)
    for name, started in sorted(starts.items()):
        by_start[round(started / _SAME_START_S)].append(name)
    pairs = (pair for names in by_start.values() for pair in combinations(names, 2))
    return tuple((one, other) for one, other in pairs if _port(one) == _port(other))


def _port(name: str) -> str:
    port = name.partition("{")[0].rpartition(":")[2]
    return port if port.isdecimal() else ""


def are_one(one: Counters, other: Counters, slack_s: float) -> bool | None:
    """Whether two targets show one process; None while nothing that they count tells.

    A value may be up to `slack_s` younger than its time: a scrape is stamped when it begins. A counter that
    only one of them shows tells nothing: it may have begun between their scrapes.
    """
    ones, others = _of_the_newest_process(one), _of_the_newest_process(other)
    moved = False
    for key in ones.keys() & others.keys():
        samples, among = ones[key], others[key]
        if not (_fits(samples, among, slack_s) and _fits(among, samples, slack_s)):
            return False
        enough = min(len(samples), len(among)) >= FEWEST_SAMPLES
        moved = moved or (enough and samples[-1][1] > samples[0][1])
    return True if moved else None


def _of_the_newest_process(counters: Counters) -> Counters:
    """Leave out what a process counted that answered before at the same address."""
    starts = next((samples for key, samples in counters.items() if STARTED in key), ())
    if not starts:
        return counters
    times = {at for at, started in starts if abs(started - starts[-1][1]) < _SAME_START_S}
    return {
        key: [(at, value) for at, value in samples if at in times]
        for key, samples in counters.items()
        if STARTED not in key
    }


def _fits(samples: Samples, among: Samples, slack_s: float) -> bool:
    """Whether no value is below one that was seen before it."""
    return all(
        value >= earlier for at, value in samples for before, earlier in among if before + slack_s < at
    )


def copies(pairs: Iterable[tuple[str, str]]) -> int:
    """Return how often the most often found process is counted; 1 where none is found twice."""
    groups: dict[str, set[str]] = {}
    for one, other in pairs:
        merged = groups.get(one, {one}) | groups.get(other, {other})
        groups.update(dict.fromkeys(merged, merged))
    return max((len(group) for group in groups.values()), default=1)
