"""What Prometheus is asked at a tick, and of a window that it did not record. Pure."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from operator import itemgetter

from controller.contract import (
    ACTION_EXEC_TOTAL,
    ACTION_LATENCY_SECONDS,
    EVIDENCE_SENDS,
    EVIDENCE_SERIES,
    Doubt,
)
from controller.decision.feature import RolloutFeature
from controller.evidence.answers import Entry
from controller.evidence.progress import Lengths
from controller.evidence.reading import PrometheusReading
from controller.evidence.windows import EvidenceRequest
from controller.rules.evidence_rules import evidence_group
from controller.rules.model import Recording
from controller.rules.names import Names
from controller.rules.scale import Scale
from controller.rules.scope import Scope, quoted

LONGEST_LOOK_BACK_S = 6 * 3600.0
"""Sends that were measured longer ago than this and never judged are left out."""
MOST_LOST = 10
"""So many windows that no rule recorded are counted from the raw counters; more are left out, and named."""
_INTERVALS_SEEN_IN_S = 600.0
_TWINS_SEEN_IN = 6
"""Scrapes within which the counters of two targets show whether they are one process."""
_SERIES = "series"
"""Holds a series' name in a query whose answers have none: `or` takes no notice of names."""


class Questions:
    """The queries for the senders of one scope."""

    def __init__(self, scope: Scope, lengths: Lengths) -> None:
        self.scope = scope
        self._lengths = lengths

    @cached_property
    def _recordings(self) -> Sequence[Recording]:
        scale = Scale(self._lengths.window_s, self._lengths.window_s, self._lengths.scrape_s)
        return [rule for rule in evidence_group(scale, self.scope).rules if isinstance(rule, Recording)]

    @cached_property
    def present(self) -> str:
        """Ask for the source's own clock, the senders with their last scrape and start, and the alerts.

        An instant query stamps every value with the evaluation's time, so the time of a scrape has to be
        asked for.
        """
        up, started = f"up{self.scope.senders()}", f"process_start_time_seconds{self.scope.senders()}"
        return f"""
label_replace(vector(time()), "what", "now", "", "")
or label_replace({up}, "what", "up", "", "")
or label_replace(timestamp({up}), "what", "scraped_at", "", "")
or label_replace({started}, "what", "started", "", "")
or ALERTS{self.scope.recorded(_ACTIVE)}
""".strip()

    @cached_property
    def ahead(self) -> str:
        """Ask for samples from after the source's own time: only where its clock was set back."""
        return f"count(count_over_time({EVIDENCE_SENDS}{self.scope.recorded()}[52w] offset -52w))"

    @cached_property
    def scrapes(self) -> str:
        """Ask for every scrape of the last minutes."""
        length_s = max(_INTERVALS_SEEN_IN_S, 4 * self._lengths.scrape_s)
        return f"up{self.scope.senders()}[{math.ceil(length_s)}s]"

    def counters(self, instances: Iterable[str]) -> str:
        """Ask for the counters of some targets, and for their starts, over the last scrapes."""
        length_ms = math.ceil(max(_TWINS_SEEN_IN * self._lengths.scrape_s, self._lengths.window_s) * 1000)
        return f"{self.scope.senders(_COUNTERS, one_of('instance', instances))}[{length_ms}ms]"

    def edgeless(self, feature: RolloutFeature) -> str:
        """Ask for the senders that time a feature's sends without an edge that it is judged by."""
        bucket, pair = f"{ACTION_LATENCY_SECONDS}_bucket", Names.of(feature).pair
        every = f"{bucket}{self.scope.senders(*pair, _EVERY)}"
        with_edge = (
            f"{bucket}{self.scope.senders(*pair, one_of('le', spellings(edge_s)))}"
            for edge_s in feature.latency_edges_s
        )
        return " or ".join(
            f"(group without (status, le) ({every}) unless group without (status, le) ({those}))"
            for those in with_edge
        )

    def recorded(self, questions: Sequence[EvidenceRequest], judged: Sequence[float], now: float) -> str:
        """Ask for the recorded samples themselves: only a range selector gives their own timestamps."""
        limits_s = {edge_s for q in questions for edge_s in q.feature.latency_edges_s}
        edges = {text for limit_s in limits_s for text in spellings(limit_s)} | {"", "+Inf"}
        behind_s = [now - instant for instant in judged]
        # A feature that nobody sends any more must not ask for hours of all others at each tick.
        recent_s = [one for one in behind_s if one < LONGEST_LOOK_BACK_S] or behind_s
        # The first window behind the judged instant asks which flags were obeyed when it began; the
        # evaluation that tells it may be missing, and then the one before does.
        before_s = self._lengths.begun_s + self._lengths.window_s
        reach_s = max(max([0.0, *recent_s]) + before_s, self._lengths.oldest_sample_s)
        reach_ms = math.ceil(min(reach_s, LONGEST_LOOK_BACK_S) * 1000)
        return (
            f"{self.scope.recorded(one_of('__name__', EVIDENCE_SERIES), one_of('le', edges))}[{reach_ms}ms]"
        )

    def lost_windows(self, recorded: Iterable[Entry], judged: Sequence[float]) -> tuple[float, float] | None:
        """Return the first and the last end of the newest judged windows that no rule recorded.

        Rules are evaluated at whole intervals, so what is missing between two evaluations is known.
        """
        since, window_s = max(judged, default=math.inf), self._lengths.window_s
        times = sorted(
            {
                float(at)
                for entry in recorded
                if entry["metric"]["__name__"] == EVIDENCE_SENDS
                for at, _ in entry["values"]
                if at >= since
            }
        )
        for before, after in reversed(list(pairwise(times))):
            missing = round((after - before) / window_s) - 1
            if missing > 0 and abs(after - before - (missing + 1) * window_s) < _SAME_PHASE * window_s:
                return after - min(missing, MOST_LOST) * window_s, after - window_s
        return None

    @cached_property
    def counted_again(self) -> str:
        """Ask for all that the evidence rules would have recorded, each with the name of its series."""
        return "\nor ".join(self._named(rule) for rule in self._recordings)

    @staticmethod
    def _named(rule: Recording) -> str:
        named = f'label_replace({rule.expr}, "{_SERIES}", "{rule.name}", "", "")'
        why = rule.labels.get("why")
        return f'label_replace({named}, "why", "{why}", "", "")' if why else named


_ACTIVE = 'alertstate=~"pending|firing"'
_EVERY = 'le="+Inf"'
_COUNTERS = (
    f'__name__=~"{ACTION_EXEC_TOTAL}|{ACTION_LATENCY_SECONDS}_sum|action_.*_created|process_cpu_seconds_total'
    '|process_start_time_seconds|python_gc_.*_total"'
)
_SAME_PHASE = 0.1


def one_of(label: str, values: Iterable[str]) -> str:
    """Match a label that has one of these values."""
    return f"{label}=~{quoted('|'.join(re.escape(one) for one in sorted(values)))}"


def spellings(edge_s: float) -> tuple[str, ...]:
    """Write an edge as the clients do: 1.0 in Python, 1 in Go."""
    return tuple({repr(float(edge_s)), f"{edge_s:g}"})


def as_recorded(entry: Entry) -> Entry:
    """Return an entry of `counted_again` as if a rule had recorded it."""
    labels = dict(entry["metric"])
    labels["__name__"] = labels.pop(_SERIES)
    return {"metric": labels, "values": entry["values"]}


def joined(entries: Iterable[Entry], scope: Scope) -> list[Entry]:
    """Join the entries of each series by time; what was counted again has no labels of a scope."""
    series: dict[frozenset[tuple[str, str]], list[Entry]] = defaultdict(list)
    for entry in entries:
        series[frozenset(item for item in entry["metric"].items() if item[0] not in scope.names)].append(
            entry
        )
    return [
        {
            "metric": some[0]["metric"],
            "values": sorted((value for one in some for value in one["values"]), key=itemgetter(0)),
        }
        for some in series.values()
    ]


def concerned(feature: RolloutFeature, measured: PrometheusReading) -> bool:
    """Whether some sender lacks an edge that a feature is judged by."""
    pair = (feature.provider, feature.action)
    return any(
        doubt.why is Doubt.EDGE and doubt.concerns(pair, feature.latency_edges_s)
        for doubts in measured.doubts.values()
        for doubt in doubts
    )
