"""What is doubtful in words: which target, and what to do. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from controller.contract import Doubt

Labels = Mapping[str, str]
_HIDDEN = frozenset(
    {"feature", "__name__", "job", "instance", "why", "what", "provider", "action", "status", "le"}
)
_NAMED = 3
"""So many targets are named; of more, their number."""


@dataclass(frozen=True, slots=True)
class DoubtSeen:
    """One doubt of one window."""

    why: Doubt
    labels: Labels
    value: float = 1.0

    def concerns(self, pair: tuple[str, str], edges_s: tuple[float, ...]) -> bool:
        """Whether it is about this feature's sends; one that names no pair is about all."""
        if self.why is Doubt.EDGE and float(self.labels.get("le", "nan")) not in edges_s:
            return False
        return (self.labels.get("provider", pair[0]), self.labels.get("action", pair[1])) == pair


_WORDS = {
    Doubt.SEVERAL: "several processes answer behind {targets}: give each process a target of its own",
    Doubt.LABELS: "the counters of {targets} carry labels that the target has not: drop those labels",
    Doubt.UNEQUAL: "sends, timed and failed sends of {targets} do not fit together: count each send once "
    "in action_exec_total and action_latency_seconds, each failed one once in action_error_total",
    Doubt.EDGE: "not every sender has a latency edge at {edge} s: restart {targets} with this configuration",
    Doubt.FAILED: "a scrape of {targets} failed, so its sends came late",
    Doubt.MET: "{targets} is scraped for the first time, of a process that is not new: "
    "counting begins with the next window",
    Doubt.RESTARTED: "{targets} restarted: what it sent after its last scrape is not known",
    Doubt.GONE: "{targets} is no longer scraped: what it sent after its last scrape is not known",
}


def doubts_in_words(
    doubts: Iterable[DoubtSeen],
    names: Mapping[frozenset[tuple[str, str]], str],
    *,
    scrape_s: float,
    intervals_s: Mapping[str, float] | None = None,
    lacking: Sequence[str] = (),
) -> str:
    """Say the most telling of some doubts; an empty text where there is none.

    `intervals_s` are the scrape intervals seen, by target; `lacking` the targets without the edge.
    """
    by_kind: dict[Doubt, dict[str, DoubtSeen]] = defaultdict(dict)
    for doubt in doubts:
        by_kind[doubt.why][names.get(target_key(doubt.labels)) or doubt.labels.get("instance", "?")] = doubt
    why = next((kind for kind in Doubt if kind in by_kind), None)
    if why is None:
        return ""
    found = by_kind[why]
    if why is Doubt.LATE:
        return late_in_words({name: one.value for name, one in found.items()}, intervals_s or {}, scrape_s)
    targets = listed(sorted(lacking or found) if why is Doubt.EDGE else sorted(found))
    edge = next(iter(found.values())).labels.get("le", "")
    return _WORDS[why].format(targets=targets, edge=edge)


def late_in_words(ages_s: Mapping[str, float], intervals_s: Mapping[str, float], scrape_s: float) -> str:
    """Say how often targets are scraped that are scraped too seldom."""
    name = max(ages_s, key=lambda one: (intervals_s.get(one, 0.0), ages_s[one]))
    if name in intervals_s:
        seen = f"every {round(intervals_s[name], 1):g} s"
    else:
        seen = f"less often: its last scrape was {ages_s[name]:.1f} s old"
    others = f" (and {len(ages_s) - 1} more)" if len(ages_s) > 1 else ""
    return (
        f"{name}{others} is scraped {seen}, and scrape_s is {round(scrape_s, 3):g}: set scrape_interval of "
        "the job to scrape_s, or scrape_s to scrape_interval and render the rules again"
    )


def listed(names: Sequence[str]) -> str:
    """Name some targets, and say how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def target_key(labels: Labels) -> frozenset[tuple[str, str]]:
    """Return what tells one target from another: all its labels."""
    return frozenset(item for item in labels.items() if item[0] not in _HIDDEN or item[0] == "instance")


def target_names(targets: Iterable[Labels]) -> dict[frozenset[tuple[str, str]], str]:
    """Name targets for people: by `instance`, and where several share it by the labels that differ."""
    alike: dict[str, list[Labels]] = defaultdict(list)
    for labels in targets:
        alike[labels.get("instance", "")].append(labels)
    return {
        target_key(labels): f"{instance}{_differing(labels, some)}"
        for instance, some in alike.items()
        for labels in some
    }


def _differing(labels: Labels, others: Sequence[Labels]) -> str:
    if len(others) == 1:
        return ""
    keys = sorted({key for one in others for key in one} - _HIDDEN)
    differing = [key for key in keys if len({one.get(key) for one in others}) > 1]
    return "{" + ",".join(f'{key}="{labels.get(key, "")}"' for key in differing) + "}"


def interval_s(scraped_at: Sequence[float]) -> float | None:
    """Return the scrape interval that times of scrapes show; None where two are not there."""
    gaps = [after - before for before, after in pairwise(scraped_at)]
    return median(gaps) if gaps else None
