"""The two policies side by side, and what the policies cannot do."""

from dataclasses import replace

import pytest
from hypothesis import given
from worlds.snapshots import FEATURE, at_step, snapshots, window

from controller.decision.decide import assess, decide
from controller.decision.judging.judge import feature_tests
from controller.decision.judging.policies import POLICIES, sequential, threshold
from controller.decision.model import Kind, Reason, Snapshot, State, Verdict, Window

JUDGED = feature_tests(FEATURE, 30.0).judge(State(), FEATURE, 5.0)
MET, BREACHED, UNKNOWN = Verdict.MET, Verdict.BREACHED, Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("newest", "verdicts"),
    [
        (window(1000, 9, 49), (MET, MET)),
        (window(1000, 10, 50), (MET, MET)),
        (window(1000, 11, 0), (BREACHED, MET)),
        (window(1000, 0, 51), (MET, BREACHED)),
        (window(1, 1, 0), (BREACHED, MET)),
        (window(0), (UNKNOWN, UNKNOWN)),
        (window(1000, converged=False), (UNKNOWN, UNKNOWN)),
    ],
)
def test_threshold_looks_at_the_newest_window_alone(
    newest: Window, verdicts: tuple[Verdict, Verdict]
) -> None:
    findings = threshold(JUDGED, (window(1000, 900, 900), newest))
    assert tuple(finding.verdict for finding in findings) == verdicts


def test_threshold_knows_nothing_without_a_window() -> None:
    assert {finding.verdict for finding in threshold(JUDGED, ())} == {UNKNOWN}


def test_one_failed_send_of_five_pauses_by_threshold_and_not_by_the_tests() -> None:
    few = {"windows": (window(5, 1),)}
    by_threshold = decide(at_step(feature={"policy": "threshold"}, evidence=few))
    assert (by_threshold.kind, by_threshold.reason) == (Kind.PAUSE, Reason.SLO_ERROR_RATE)
    assert by_threshold.detail.startswith("In the newest window 1 of 5 sends failed")
    assert decide(at_step(evidence=few)).kind is Kind.HOLD


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_every_policy_gives_one_finding_for_each_slo(name: str) -> None:
    findings = POLICIES[name](JUDGED, (window(),))
    assert [finding.slo for finding in findings] == ["error_rate", "latency"]


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_the_guard_stands_before_every_policy(name: str) -> None:
    healthy = {"windows": (window(100_000),)}
    feature = {"policy": name}
    assert decide(at_step(feature=feature, evidence=healthy)).kind is Kind.STEP_UP
    assert decide(at_step(feature=feature, evidence=healthy, frozen="x")).reason is Reason.FROZEN


def test_the_slos_share_one_alarm() -> None:
    """Two SLOs that both speak for a breach are averaged, not added: neither alarm comes any earlier."""
    both = at_step(evidence={"windows": (window(60, 8, 20),)})
    one = at_step(evidence={"windows": (window(60, 8, 0),)})
    [of_both, _] = decide(both).findings
    [of_one, _] = decide(one).findings
    assert of_both.evidence_for_breach == of_one.evidence_for_breach
    assert decide(both).kind is Kind.HOLD


def test_sequential_says_what_the_tests_say() -> None:
    assert sequential(JUDGED, ()) == JUDGED
    assert [finding.evidence_for_breach for finding in JUDGED] == [0.0, 0.0]


@given(snapshots())
def test_what_is_still_needed_is_all_that_is_added_to_a_finding(snapshot: Snapshot) -> None:
    case = assess(snapshot)
    told = case.tests.with_needed(case.findings, case.state, snapshot.feature, snapshot.flags.rollout_percent)
    assert told == tuple(replace(f, needed=t.needed) for f, t in zip(case.findings, told, strict=True))
