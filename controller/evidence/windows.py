"""What was measured becomes evidence: disjoint windows behind the last judged instant, and their freshness.

A source reads all features at once and never raises: what it could not read arrives as a named problem.
The functions that build evidence are pure; `prometheus.py` beside it asks Prometheus.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from msgspec import UNSET

from controller.contract import EVIDENCE_SERIES, Doubt
from controller.decision.feature import RolloutFeature
from controller.decision.model import Evidence, Reason, State, Window
from controller.evidence.doubts import doubts_in_words
from controller.evidence.progress import Lengths, Progress, disjoint, progress_of, was_set_back
from controller.evidence.reading import Pair, PrometheusReading, Series


@dataclass(frozen=True, slots=True)
class EvidenceRequest:
    """For which feature evidence is wanted, and what of it has been judged already."""

    feature: RolloutFeature
    revision: int
    state: State


class MetricSource(Protocol):
    """Where evidence comes from; every implementation passes tests/controller/test_sources.py."""

    def read(
        self, questions: Sequence[EvidenceRequest], now: float, deadline_s: float
    ) -> dict[str, Evidence]:
        """Return the evidence of every feature asked for, by its name, within the deadline; never raises."""


def unreachable(questions: Sequence[EvidenceRequest], now: float, detail: str) -> dict[str, Evidence]:
    """Say for every feature that nothing could be read."""
    return {
        question.feature.name: Evidence(
            now=now,
            judged_to=question.state.judged_to,
            problem=Reason.METRICS_UNREACHABLE,
            detail=detail,
        )
        for question in questions
    }


def partial(questions: Sequence[EvidenceRequest], now: float, why: str) -> dict[str, Evidence]:
    """Say for every feature that an answer was not a whole one: nothing of it counts, not even the rules."""
    return {
        name: replace(
            evidence,
            problem=Reason.METRICS_INCOMPLETE,
            detail=f"Prometheus calls its answer partial ({why}): see that each of its stores answers",
            rules_missing=EVIDENCE_SERIES,
        )
        for name, evidence in unreachable(questions, now, "").items()
    }


def evidence_of(question: EvidenceRequest, measured: PrometheusReading, lengths: Lengths) -> Evidence:
    """Cut one feature's evidence out of a reading."""
    pair = (question.feature.provider, question.feature.action)
    found = _found(question, measured, pair)
    sound = _are_counts(found)
    going_on = _going_on(found, lengths)
    stamps = _stamps(found, going_on)
    behind = _windows(
        question,
        found if sound else _counts_alone(found),
        lengths,
        disjoint(stamps, question.state.judged_to, lengths),
        measured,
    )
    progress = progress_of(question.state, stamps, behind, measured.now, lengths, ahead=measured.ahead)
    sample_age_s = measured.now - stamps[-1] if stamps else None
    problem, detail = (
        _problem(question, measured, pair, going_on, sound=sound)
        or _doubtful(question, measured, [window.at for window in behind], stamps, lengths)
        or _lost(progress, lengths)
        or _clock_went_back(question.state, measured, lengths)
        or _staleness(sample_age_s, measured.input_age_s, lengths)
    )
    obeyed = found.revisions[max(found.revisions)] if found.revisions else math.nan
    return Evidence(
        now=measured.now,
        windows=progress.counted,
        judged_to=progress.judged_to,
        unmeasured_s=progress.unmeasured_s,
        problem=problem,
        detail=detail,
        sample_age_s=sample_age_s,
        input_age_s=measured.input_age_s,
        targets=len(measured.targets),
        targets_down=measured.down,
        gate_revision=int(obeyed) if math.isfinite(obeyed) else None,
        left_out_sends=progress.left_out_sends,
        alerts=measured.alerts.get(pair, ()),
        rules_missing=measured.rules_missing,
    )


class _Found(NamedTuple):
    """The series of one feature; `_NONE` where there is none."""

    sends: Series
    errors: Series
    timed: Series
    fast: Series
    """Those that took no longer than the limit."""
    bearable: Series
    """Those that were not very slow; the fast ones where that is not judged."""
    revisions: Series


_NONE: Series = {}
_MOST = 1e30
"""More than anybody sends: sums of what is below stay finite for as long as a rollout may last."""


def _found(question: EvidenceRequest, measured: PrometheusReading, pair: Pair) -> _Found:
    buckets, edges = measured.buckets.get(pair, {}), question.feature.latency_edges_s
    return _Found(
        measured.sends.get(pair, _NONE),
        measured.errors.get(pair, _NONE),
        buckets.get(math.inf, _NONE),
        buckets.get(edges[0], _NONE),
        buckets.get(edges[-1], _NONE),
        measured.gate_revisions.get(question.feature.name, _NONE),
    )


def _going_on(found: _Found, lengths: Lengths) -> _Found:
    """Leave out a series that ended while sends are still recorded: nobody exports it any more."""
    newest = max(found.sends, default=0.0)
    ended = newest - lengths.oldest_sample_s
    sends, errors, timed, fast, bearable = (
        series if max(series, default=0.0) > ended else _NONE for series in found[:5]
    )
    return _Found(sends, errors, timed, fast, bearable, found.revisions)


def _problem(
    question: EvidenceRequest, measured: PrometheusReading, pair: Pair, found: _Found, *, sound: bool
) -> tuple[Reason, str] | None:
    """Name what is missing for this feature, the general first."""
    if measured.trouble:
        return Reason.METRICS_INCOMPLETE, measured.trouble
    words = ""
    if pair in measured.doubled:
        words = "several series where one is expected for {named}"
    elif found.sends is _NONE:
        words = "no sender exports sends for {named}"
    elif found.errors is _NONE:
        words = "no sender exports errors for {named}"
    elif found.timed is _NONE:
        words = "no sender exports latencies for {named}"
    elif found.fast is _NONE:
        words = "the latency histogram of {named} has no edge at {limit_s:g} s"
    elif found.bearable is _NONE:
        words = (
            "the latency histogram of {named} has no edge at {edge_s:g} s, which slo_very_slow_threshold "
            "needs: start the senders with this configuration, or add the edge to theirs"
        )
    elif not sound:
        words = "a value of {named} is {odd:g}, which is not a number to count with"
    if not words:
        return None
    return Reason.METRICS_INCOMPLETE, words.format(
        named=" ".join(pair),
        limit_s=question.feature.latency_limit_s,
        edge_s=question.feature.latency_edges_s[-1],
        odd=_odd(found),
    )


def _are_counts(found: _Found) -> bool:
    values = [value for series in found for value in series.values()]
    return min(values, default=0.0) >= 0 and sum(values) <= _MOST


def _odd(found: _Found) -> float:
    """Return the first value that is no count; the record keeps it in words alone."""
    values = (value for series in found for value in series.values())
    return next((value for value in values if not 0 <= value <= _MOST), math.inf)


def _counts_alone(found: _Found) -> _Found:
    """Take what is no count for no send at all: it proves nothing, and evidence is always finite."""
    sends, errors = _counted(found.sends, found.errors)
    timed, fast = _counted(found.timed, found.fast)
    bearable = {at: value for at, value in found.bearable.items() if 0 <= value <= _MOST}
    return _Found(sends, errors, timed, fast, bearable, found.revisions)


def _counted(all_: Series, some: Series) -> tuple[Series, Series]:
    """Return 0 of 0 where one of the two is no count."""
    no_count = {at for series in (all_, some) for at, value in series.items() if not 0 <= value <= _MOST}
    zero = dict.fromkeys(no_count & all_.keys() & some.keys(), 0.0)
    return {**all_, **zero}, {**some, **zero}


def _staleness(
    sample_age_s: float | None, input_age_s: float | None, lengths: Lengths
) -> tuple[Reason | None, str]:
    if sample_age_s is None:
        return Reason.METRICS_STALE, "no whole sample is recorded yet"
    if sample_age_s > lengths.oldest_sample_s:
        return Reason.METRICS_STALE, (
            f"the newest sample is {sample_age_s:.1f} s old, more than {lengths.oldest_sample_s:g} s"
        )
    if input_age_s is not None and input_age_s > lengths.oldest_input_s:
        return Reason.METRICS_STALE, (
            f"a sender was last scraped {input_age_s:.1f} s ago, more than {lengths.oldest_input_s:g} s"
        )
    return None, ""


def _stamps(found: _Found, going_on: _Found) -> list[float]:
    """Return the moments that are whole. One at which a series has no value yet is still being evaluated.

    Latencies that nobody exports are not waited for: failures are counted without them.
    """
    awaited = [found.errors, *(one for one in (going_on.timed, going_on.fast, going_on.bearable) if one)]
    return [at for at in found.sends if all(at in series for series in awaited)]


def _windows(
    question: EvidenceRequest,
    found: _Found,
    lengths: Lengths,
    stamps: Sequence[float],
    measured: PrometheusReading,
) -> list[Window]:
    """Join the series at these moments, which must be whole. What is not sure is left out."""
    times, feature = measured.copies, question.feature
    edgeless = _without_edge(feature, feature.latency_edges_s[0], measured)
    unbearable = _without_edge(feature, feature.latency_edges_s[-1], measured)
    timed = {at: found.timed[at] for at in found.timed.keys() & found.fast.keys() - edgeless}
    bearable = found.bearable if feature.slo_very_slow_threshold else _NONE
    judged = timed.keys() & bearable.keys() - unbearable
    return [
        Window(
            at=at,
            sends=found.sends[at] / times,
            errors=min(found.errors[at], found.sends[at]) / times,
            timed=timed.get(at, 0.0) / times,
            slow=max(timed[at] - found.fast[at], 0.0) / times if at in timed else 0.0,
            converged=_converged(found.revisions, at - lengths.begun_s, question.revision),
            very_slow=max(timed[at] - bearable[at], 0.0) / times if at in judged else UNSET,
        )
        for at in stamps
    ]


def _converged(revisions: Series, begun: float, revision: int) -> bool:
    """Whether every sender was seen to obey the revision when a window began."""
    if not revisions:
        return True
    before = max((at for at in revisions if at <= begun), default=None)
    return before is not None and revisions[before] >= revision


def _clock_went_back(
    state: State, measured: PrometheusReading, lengths: Lengths
) -> tuple[Reason, str] | None:
    """Say that the source only repeats what was judged before, until its clock has caught up."""
    if not (measured.ahead and was_set_back(state, measured.now, lengths)):
        return None
    return Reason.METRICS_STALE, (
        f"the clock of Prometheus went back {state.judged_to - measured.now:.0f} s; until it has caught up "
        "nothing new is recorded"
    )


def _doubtful(
    question: EvidenceRequest,
    measured: PrometheusReading,
    judged: Sequence[float],
    stamps: Sequence[float],
    lengths: Lengths,
) -> tuple[Reason, str] | None:
    """Say what is doubtful in the windows that are judged now, and in the newest while it stands for now."""
    if not measured.doubts:
        return None
    feature, newest = question.feature, stamps[-1] if stamps else 0.0
    present = max(newest, measured.now - lengths.oldest_sample_s)
    pair = (feature.provider, feature.action)
    words = doubts_in_words(
        (
            doubt
            for at, doubts in measured.doubts.items()
            if at >= present or at in judged
            for doubt in doubts
            if doubt.concerns(pair, feature.latency_edges_s)
        ),
        measured.names,
        scrape_s=lengths.scrape_s,
        intervals_s=measured.intervals_s,
        lacking=measured.lacking.get(pair, ()),
    )
    return (Reason.METRICS_INCOMPLETE, words) if words else None


def _without_edge(feature: RolloutFeature, edge_s: float, measured: PrometheusReading) -> frozenset[float]:
    """Return the windows in which a sender had no such edge: its sends would all count as slower."""
    pair = (feature.provider, feature.action)
    return frozenset(
        at
        for at, doubts in measured.doubts.items()
        for doubt in doubts
        if doubt.why is Doubt.EDGE and doubt.concerns(pair, (edge_s,))
    )


def _lost(progress: Progress, lengths: Lengths) -> tuple[Reason, str] | None:
    """Say that time passed of which nothing was recorded, nor could be counted afterwards."""
    if not progress.counted or progress.unmeasured_s < lengths.window_s / 2:
        return None
    return Reason.METRICS_INCOMPLETE, (
        f"nothing was recorded for {progress.unmeasured_s:.0f} s before the newest windows: Prometheus was "
        "away or missed evaluations of the group rollout_evidence; what was sent then is not counted"
    )
