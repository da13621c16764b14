"""What becomes evidence: which windows count, when they prove health, and each way of not knowing."""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from controller.contract import Doubt
from controller.decision.model import Reason, State
from controller.evidence.doubts import DoubtSeen
from controller.evidence.progress import Lengths
from controller.evidence.reading import PrometheusReading, Target
from controller.evidence.windows import EvidenceRequest, evidence_of
from controller.features import ROLLOUT_FEATURES

PAIR = ("microsoft", "outlook.send")
LENGTHS = Lengths(window_s=30, scrape_s=10)
NOW = 10_000.0
STAMPS = tuple(NOW - 5 - 30 * n for n in range(5, -1, -1))
"""The times of six recorded samples, the newest 5 s old."""


def question(judged_to: float = STAMPS[0], counted_from: float = 0.0, revision: int = 3) -> EvidenceRequest:
    state = State(judged_to=judged_to, counted_from=counted_from)
    return EvidenceRequest(ROLLOUT_FEATURES["microsoft"], revision, state)


def constant(value: float) -> dict[float, float]:
    return dict.fromkeys(STAMPS, value)


def measured(**changes: object) -> PrometheusReading:
    healthy = PrometheusReading(
        now=NOW,
        sends={PAIR: constant(100)},
        errors={PAIR: constant(2)},
        buckets={PAIR: {0.5: constant(97), math.inf: constant(100)}},
        gate_revisions={"microsoft": constant(3)},
        targets={"one:9100": Target(up=True, scraped_at=NOW - 4)},
    )
    return replace(healthy, **changes)  # type: ignore[arg-type]


def test_each_window_behind_the_last_judged_instant_is_counted_once() -> None:
    evidence = evidence_of(question(judged_to=STAMPS[2]), measured(), LENGTHS)
    assert [window.at for window in evidence.windows] == list(STAMPS[3:])
    assert evidence.judged_to == STAMPS[-1]
    window = evidence.windows[0]
    assert (window.sends, window.errors, window.timed, window.slow) == (100, 2, 100, 3)
    assert evidence.problem is None


@given(st.lists(st.integers(0, len(STAMPS) - 1), max_size=6))
def test_however_the_ticks_fall_no_window_is_counted_twice_or_dropped(ticks: list[int]) -> None:
    judged_to, counted = STAMPS[0], []
    for newest in sorted(ticks):
        seen = dict.fromkeys(STAMPS[: newest + 1], 100.0)
        series = measured(sends={PAIR: seen})
        evidence = evidence_of(question(judged_to=judged_to), series, LENGTHS)
        counted += [window.at for window in evidence.windows]
        judged_to = max(evidence.judged_to, judged_to)
    assert counted == [at for at in STAMPS if STAMPS[0] < at <= judged_to]


def test_without_a_judged_instant_judging_starts_now() -> None:
    evidence = evidence_of(question(judged_to=0), measured(), LENGTHS)
    assert evidence.windows == ()
    assert evidence.judged_to == STAMPS[-1]


@pytest.mark.parametrize(("counted_from", "moved_s"), [(NOW - 3600, 0), (NOW + 60, -3605)])
def test_a_judged_instant_in_the_future_is_a_clock_that_was_set_back(
    counted_from: float, moved_s: float
) -> None:
    """Judging starts now; a step that began in that future takes its bake time with it."""
    evidence = evidence_of(question(NOW + 3600, counted_from), measured(), LENGTHS)
    assert (evidence.windows, evidence.problem) == ((), None)
    assert evidence.judged_to == STAMPS[-1]
    assert evidence.unmeasured_s == moved_s


def test_a_source_whose_clock_was_set_back_and_that_still_holds_the_future_only_repeats_itself() -> None:
    """Prometheus refuses samples older than those it has, and shows the old ones as if they were new."""
    evidence = evidence_of(question(judged_to=NOW + 3600), measured(ahead=True), LENGTHS)
    assert (evidence.windows, evidence.judged_to) == ((), NOW + 3600)
    assert evidence.problem is Reason.METRICS_STALE
    assert "went back 3600 s" in evidence.detail
    caught_up = evidence_of(question(judged_to=STAMPS[-2]), measured(ahead=True), LENGTHS)
    assert (caught_up.problem, len(caught_up.windows)) == (None, 1)


def test_an_answer_that_lags_behind_what_was_judged_takes_nothing_back() -> None:
    """As from another replica, or after a clock was set back by less than a window."""
    evidence = evidence_of(question(judged_to=NOW + 10), measured(), LENGTHS)
    assert (evidence.windows, evidence.judged_to, evidence.unmeasured_s) == ((), NOW + 10, 0)


def test_windows_that_share_time_are_not_both_counted() -> None:
    """As from two servers behind one address, which evaluate at other times."""
    first, other = (
        measured(),
        measured(
            sends={PAIR: {at + 13: 100.0 for at in STAMPS}},
            errors={PAIR: {at + 13: 0.0 for at in STAMPS}},
            buckets={PAIR: {edge: {at + 13: 100.0 for at in STAMPS} for edge in (0.5, math.inf)}},
            now=NOW + 13,
        ),
    )
    judged_to, counted = STAMPS[0], []
    for newest, server in enumerate((first, other, first, other, first), start=1):
        ends = {at for at in server.sends[PAIR] if at <= STAMPS[newest]}
        seen = replace(server, sends={PAIR: {at: server.sends[PAIR][at] for at in sorted(ends)}})
        evidence = evidence_of(question(judged_to=judged_to), seen, LENGTHS)
        counted += [window.at for window in evidence.windows]
        judged_to = evidence.judged_to
    assert len(counted) >= 4
    assert all(later - sooner >= 30 for sooner, later in pairwise(counted))


def test_a_rule_that_is_evaluated_twice_as_often_counts_nothing_twice() -> None:
    often = sorted({*STAMPS, *(at + 15 for at in STAMPS[:-1])})
    twice = measured(
        sends={PAIR: dict.fromkeys(often, 100.0)},
        errors={PAIR: dict.fromkeys(often, 0.0)},
        buckets={PAIR: {edge: dict.fromkeys(often, 100.0) for edge in (0.5, math.inf)}},
    )
    assert [window.at for window in evidence_of(question(), twice, LENGTHS).windows] == list(STAMPS[1:])


HOLES: list[tuple[float, float, float]] = [
    (STAMPS[0], 0, 0),
    (STAMPS[0] - 30, 0, 30),
    (STAMPS[0] - 3600, 0, 3600),
    (STAMPS[0] - 3600, STAMPS[0] - 60, 60),
    (STAMPS[0] - 3600, STAMPS[0] + 5, 0),
    (STAMPS[-1], 0, 0),
]


@pytest.mark.parametrize(("judged_to", "counted_from", "unmeasured_s"), HOLES)
def test_time_of_this_step_that_no_window_tells_of_is_told(
    judged_to: float, counted_from: float, unmeasured_s: float
) -> None:
    late = {at: 100.0 for at in STAMPS if at > STAMPS[0]}
    evidence = evidence_of(question(judged_to, counted_from), measured(sends={PAIR: late}), LENGTHS)
    assert evidence.unmeasured_s == unmeasured_s


def test_windows_that_began_before_the_change_of_flags_are_left_out_and_told() -> None:
    evidence = evidence_of(question(counted_from=STAMPS[-1] - LENGTHS.reach_s), measured(), LENGTHS)
    assert [window.at for window in evidence.windows] == [STAMPS[-1]]
    assert evidence.left_out_sends == 400


def test_a_window_proves_health_only_if_all_obeyed_when_it_began() -> None:
    revisions = {at: 2.0 if at < STAMPS[3] else 3.0 for at in STAMPS}
    evidence = evidence_of(question(), measured(gate_revisions={"microsoft": revisions}), LENGTHS)
    assert [window.converged for window in evidence.windows] == [False, False, False, False, True]
    assert evidence.gate_revision == 3


def test_senders_that_export_no_revision_are_not_waited_for() -> None:
    evidence = evidence_of(question(), measured(gate_revisions={}), LENGTHS)
    assert all(window.converged for window in evidence.windows)
    assert evidence.gate_revision is None


def test_a_moment_that_is_still_being_evaluated_waits_for_the_next_tick() -> None:
    errors = dict.fromkeys(STAMPS[:-1], 2.0)
    evidence = evidence_of(question(), measured(errors={PAIR: errors}), LENGTHS)
    assert evidence.judged_to == STAMPS[-2]


NOT_KNOWING: dict[str, tuple[Mapping[str, object], Reason, str]] = {
    "rules that are not loaded": (
        {"rules_missing": ("rollout:evidence_sends",)},
        Reason.METRICS_INCOMPLETE,
        "rollout:evidence_sends",
    ),
    "no sender at all": ({"targets": {}}, Reason.METRICS_INCOMPLETE, "no target"),
    "a sender that is down": (
        {"targets": {"one:1": Target(True, NOW), "two:2": Target(False, NOW)}},
        Reason.METRICS_INCOMPLETE,
        "two:2",
    ),
    "no series of sends": ({"sends": {}}, Reason.METRICS_INCOMPLETE, "no sender exports sends"),
    "no series of errors": ({"errors": {}}, Reason.METRICS_INCOMPLETE, "no sender exports errors"),
    "no histogram": ({"buckets": {}}, Reason.METRICS_INCOMPLETE, "no sender exports latencies"),
    "a histogram without an edge at the limit": (
        {"buckets": {PAIR: {1.0: constant(1), math.inf: constant(1)}}},
        Reason.METRICS_INCOMPLETE,
        "no edge at 0.5 s",
    ),
    "several series for one": ({"doubled": frozenset({PAIR})}, Reason.METRICS_INCOMPLETE, "several series"),
    "a value that is not a number": (
        {"errors": {PAIR: constant(math.nan)}},
        Reason.METRICS_INCOMPLETE,
        "is nan, which is not a number",
    ),
    "an infinite value": (
        {"sends": {PAIR: constant(math.inf)}},
        Reason.METRICS_INCOMPLETE,
        "is inf, which is not a number",
    ),
    "a negative value": (
        {"errors": {PAIR: constant(-1)}},
        Reason.METRICS_INCOMPLETE,
        "is -1, which is not a number",
    ),
    "a revision that is not a number": (
        {"gate_revisions": {"microsoft": {70.0: 3.0, NOW: math.nan}}},
        Reason.METRICS_INCOMPLETE,
        "not a number",
    ),
    "an infinite revision": (
        {"gate_revisions": {"microsoft": {NOW: math.inf}}},
        Reason.METRICS_INCOMPLETE,
        "not a number",
    ),
    "samples that stopped": ({"now": NOW + 90}, Reason.METRICS_STALE, "95.0 s old"),
    "scrapes that hang": (
        {"targets": {"one:1": Target(True, NOW - 40)}},
        Reason.METRICS_STALE,
        "scraped 40.0 s ago",
    ),
    "rules that were not evaluated yet": (
        {
            "sends": {PAIR: {}},
            "errors": {PAIR: {}},
            "buckets": {PAIR: {0.5: {}, math.inf: {}}},
        },
        Reason.METRICS_STALE,
        "no whole sample",
    ),
}


@pytest.mark.parametrize("name", NOT_KNOWING)
def test_every_way_of_not_knowing_has_its_reason_and_names_what_is_missing(name: str) -> None:
    changes, reason, words = NOT_KNOWING[name]
    evidence = evidence_of(question(), measured(**changes), LENGTHS)
    assert evidence.problem is reason
    assert words in evidence.detail


NO_COUNTS = [math.nan, math.inf, -1.0, 1e300]


@pytest.mark.parametrize("number", NO_COUNTS)
@pytest.mark.parametrize("series", ["sends", "errors"])
def test_sends_that_are_no_count_prove_nothing_and_latencies_still_do(series: str, number: float) -> None:
    window = evidence_of(question(), measured(**{series: {PAIR: constant(number)}}), LENGTHS).windows[0]
    assert (window.sends, window.errors, window.timed, window.slow) == (0, 0, 100, 3)


@pytest.mark.parametrize("number", NO_COUNTS)
@pytest.mark.parametrize("edge", [0.5, math.inf])
def test_latencies_that_are_no_count_prove_nothing_and_sends_still_do(edge: float, number: float) -> None:
    buckets = {PAIR: {0.5: constant(97), math.inf: constant(100), edge: constant(number)}}
    window = evidence_of(question(), measured(buckets=buckets), LENGTHS).windows[0]
    assert (window.sends, window.errors, window.timed, window.slow) == (100, 2, 0, 0)


def test_counts_that_overshoot_are_clipped() -> None:
    odd = measured(
        errors={PAIR: constant(101)}, buckets={PAIR: {0.5: constant(102), math.inf: constant(100)}}
    )
    window = evidence_of(question(), odd, LENGTHS).windows[0]
    assert (window.errors, window.slow) == (100, 0)


def test_only_alerts_of_the_feature_are_seen() -> None:
    alerts = {PAIR: ("Mine",), ("google", "gmail.send"): ("Theirs",)}
    assert evidence_of(question(), measured(alerts=alerts), LENGTHS).alerts == ("Mine",)


def very_slow_judged() -> EvidenceRequest:
    asked = question()
    return replace(asked, feature=replace(asked.feature, slo_very_slow_threshold=0.01))


def test_sends_over_four_times_the_limit_are_counted_where_they_are_judged() -> None:
    buckets = {PAIR: {0.5: constant(90), 2.0: constant(97), math.inf: constant(100)}}
    judged = evidence_of(very_slow_judged(), measured(buckets=buckets), LENGTHS)
    assert judged.problem is None
    assert {(window.slow, window.very_slow) for window in judged.windows} == {(10, 3)}
    usual = evidence_of(question(), measured(buckets=buckets), LENGTHS)
    assert {window.very_slow for window in usual.windows} == {UNSET}


def test_a_histogram_without_the_edge_of_very_slow_sends_is_named_and_all_else_is_still_counted() -> None:
    evidence = evidence_of(very_slow_judged(), measured(), LENGTHS)
    assert evidence.problem is Reason.METRICS_INCOMPLETE
    assert "no edge at 2 s, which slo_very_slow_threshold needs: start the senders" in evidence.detail
    assert {(window.sends, window.slow, window.very_slow) for window in evidence.windows} == {(100, 3, UNSET)}


def lacking_edge(le: str) -> dict[float, tuple[DoubtSeen, ...]]:
    doubt = DoubtSeen(Doubt.EDGE, {"le": le, "provider": PAIR[0], "action": PAIR[1]})
    return dict.fromkeys(STAMPS, (doubt,))


@pytest.mark.parametrize(
    ("le", "counted"), [("2", {(100, 80, UNSET)}), ("0.5", {(0, 0, UNSET)})], ids=["very slow", "p95"]
)
def test_a_sender_without_one_edge_takes_from_the_counts_what_that_edge_tells_and_no_more(
    le: str, counted: set[tuple[object, ...]]
) -> None:
    buckets = {PAIR: {0.5: constant(20), 2.0: constant(10), math.inf: constant(100)}}
    evidence = evidence_of(very_slow_judged(), measured(buckets=buckets, doubts=lacking_edge(le)), LENGTHS)
    assert evidence.problem is Reason.METRICS_INCOMPLETE
    assert f"latency edge at {le} s" in evidence.detail
    assert {(one.timed, one.slow, one.very_slow) for one in evidence.windows} == counted


@pytest.mark.parametrize("seen", [0, 2], ids=["never there", "there until a roll back"])
@pytest.mark.parametrize(
    ("gone", "counted"),
    [((2.0,), (100, 80, UNSET)), ((0.5, 2.0), (0, 0, UNSET)), ((0.5, 2.0, math.inf), (0, 0, UNSET))],
    ids=["no edge far out", "no edge", "no latencies"],
)
def test_latencies_that_no_sender_exports_any_more_keep_no_failure_from_being_counted(
    gone: tuple[float, ...], counted: tuple[object, ...], seen: int
) -> None:
    buckets = {0.5: constant(20), 2.0: constant(10), math.inf: constant(100)}
    buckets |= {edge: dict.fromkeys(STAMPS[:seen], buckets[edge][NOW - 5]) for edge in gone}
    buckets = {edge: series for edge, series in buckets.items() if series}
    evidence = evidence_of(very_slow_judged(), measured(buckets={PAIR: buckets}), LENGTHS)
    assert evidence.problem is Reason.METRICS_INCOMPLETE
    assert [(one.at, one.sends, one.errors) for one in evidence.windows] == [
        (at, 100, 2) for at in STAMPS[1:]
    ]
    newest = evidence.windows[-1]
    assert (newest.timed, newest.slow, newest.very_slow) == counted


@pytest.mark.parametrize("number", [math.nan, math.inf, -1.0, 1e31])
def test_very_slow_sends_that_are_no_count_take_nothing_from_the_p95(number: float) -> None:
    buckets = {PAIR: {0.5: constant(20), 2.0: constant(number), math.inf: constant(100)}}
    evidence = evidence_of(very_slow_judged(), measured(buckets=buckets), LENGTHS)
    assert evidence.problem is Reason.METRICS_INCOMPLETE
    assert {(one.timed, one.slow, one.very_slow) for one in evidence.windows} == {(100, 80, UNSET)}


def test_a_sender_without_the_edge_of_very_slow_sends_is_a_doubt_of_who_is_judged_by_it() -> None:
    doubt = DoubtSeen(Doubt.EDGE, {"le": "2", "provider": PAIR[0], "action": PAIR[1]})
    assert doubt.concerns(PAIR, very_slow_judged().feature.latency_edges_s)
    assert not doubt.concerns(PAIR, question().feature.latency_edges_s)
