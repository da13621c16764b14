"""One process that Prometheus found twice: under its address and its name, say. Pure.

Two processes may begin in the same hundredth of a second, so the same start is only a suspicion. What proves
or disproves it is the counters: those of one process rise from scrape to scrape, whichever target is asked.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise

_SAME_START_S = 2e-5
"""VictoriaMetrics changes the last digits of a long number."""
FEWEST_SAMPLES = 3

Samples = Sequence[tuple[float, float]]
"""(time, value) of one counter at one target."""
Counters = Mapping[tuple[tuple[str, str], ...], Samples]
"""All counters of one target, by their name and the labels that are not the target's."""


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


def are_one(one: Counters, other: Counters) -> bool | None:
    """Whether two targets show one process; None while nothing that they count tells."""
    if one.keys() != other.keys():
        return False
    moved = False
    for key, samples in one.items():
        merged = sorted((*samples, *other[key]))
        if any(after < before for (_, before), (_, after) in pairwise(merged)):
            return False
        enough = min(len(samples), len(other[key])) >= FEWEST_SAMPLES
        moved = moved or (enough and merged[-1][1] > merged[0][1])
    return True if moved else None


def copies(pairs: Sequence[tuple[str, str]]) -> int:
    """Return how often the most often found process is counted; 1 where none is found twice."""
    groups: dict[str, set[str]] = {}
    for one, other in pairs:
        merged = groups.get(one, {one}) | groups.get(other, {other})
        groups.update(dict.fromkeys(merged, merged))
    return max((len(group) for group in groups.values()), default=1)
