"""Live counts prove harm within seconds, and never health."""

from dataclasses import replace
from math import log
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.contract import Flags
from controller.decision.decide import decide
from controller.decision.feature import RolloutFeature
from controller.decision.judging.live import (
    FIRST_S,
    alarm_at,
    cap,
    is_outage,
    live_findings,
    with_seconds,
)
from controller.decision.model import (
    LIVE,
    Evidence,
    Kind,
    LiveState,
    LiveTest,
    Reason,
    Snapshot,
    State,
    Verdict,
    Window,
)
from controller.decision.record import UNRELEASED, record_of, verify
from controller.decision.sequential.wallet import LIVE_SHARE
from controller.features import ROLLOUT_FEATURES, config_hash

FEATURE = ROLLOUT_FEATURES["microsoft"]
OPEN = Flags(enabled=True, internal_only=False, rollout_percent=10.0, paused=False, revision=5)
BEGUN = LiveState(starts=1, begun_at=1000.0, judged_to=1000.0)


def seconds(*counts: tuple[float, float], mailboxes: float | None = None) -> tuple[Window, ...]:
    """Return one window for each (sends, errors), a second apart."""
    return tuple(
        Window(1001.0 + i, n, k, n, 0.0, failed_mailboxes=k if mailboxes is None else min(mailboxes, k))
        for i, (n, k) in enumerate(counts)
    )


def snapshot(windows: tuple[Window, ...], feature: RolloutFeature = FEATURE, **of: object) -> Snapshot:
    state = State(config_hash=config_hash(feature), flags=OPEN, live=BEGUN)
    seen = Evidence(now=windows[-1].at, windows=windows, judged_to=windows[-1].at, source=LIVE)
    made = Snapshot(2000.0, feature, OPEN, seen, state, config_hash(feature), 30.0)
    return replace(made, **of)  # type: ignore[arg-type]


def record(seen: Snapshot) -> dict[str, Any]:
    return record_of(
        seen,
        decide(seen),
        decision_id="x",
        actor="controller",
        dry_run=False,
        applied="applied",
        epoch=0,
        revision=6,
    )


def evidence_of(live: LiveState) -> float:
    return live_findings(FEATURE, live)[0].evidence_for_breach


@pytest.mark.parametrize(("blip_s", "per_s", "after"), [(3.0, 50, 4), (1.0, 50, 2), (3.0, 5, 4)])
def test_a_total_failure_is_an_outage_a_second_after_it_outlasts_a_blip(
    blip_s: float, per_s: int, after: int
) -> None:
    feature = replace(FEATURE, blip_s=blip_s)
    failing = seconds(*[(per_s, 0)] * 5, *[(per_s, per_s)] * 10)
    verdicts = [is_outage(feature, failing[: 5 + n]) for n in range(11)]
    assert verdicts.index(True) == after if per_s > 10 else verdicts.index(True) >= after
    assert all(verdicts[verdicts.index(True) :])


@given(st.floats(0, 0.999), st.sampled_from([5, 20, 50, 500]), st.sampled_from([1, 2, 3, 5]))
def test_what_lasts_no_longer_than_a_blip_is_no_outage_wherever_it_falls(
    phase: float, per_s: int, blip_s: int
) -> None:
    """All sends of a blip fail, in whole seconds and in parts of two."""
    feature = replace(FEATURE, blip_s=float(blip_s))
    parts = [1 - phase, *[1.0] * (blip_s - 1), phase]
    burst = seconds(*[(per_s, 0)] * 5, *[(per_s, round(per_s * part)) for part in parts], *[(per_s, 0)] * 9)
    assert not any(is_outage(feature, burst[:n]) for n in range(1, len(burst) + 1))


def test_few_sends_and_one_mailbox_are_no_outage() -> None:
    assert not is_outage(FEATURE, seconds(*[(1, 1)] * 10))
    assert not is_outage(FEATURE, seconds(*[(5, 5)] * 10, mailboxes=1))
    assert is_outage(FEATURE, seconds(*[(20, 20)] * 10, mailboxes=0)), "where nobody tells mailboxes apart"
    assert not is_outage(FEATURE, ())


def test_few_that_time_out_when_nothing_else_is_sent_are_no_outage() -> None:
    """0.5 % of 5,000 sends, half a minute after the others; all of what is usual is one."""
    sent = [*[(1000.0, 0.0)] * 5, *[(0.0, 0.0)] * 25]
    late = seconds(*sent, *[(5.0, 5.0)] * 10)
    assert not any(is_outage(FEATURE, late[:n]) for n in range(1, len(late) + 1))
    assert is_outage(FEATURE, seconds(*sent, *[(400.0, 400.0)] * 4))
    assert is_outage(FEATURE, late[-10:]), "where nothing else is known"


def test_no_outage_is_seen_where_all_of_a_minute_keeps_the_limit() -> None:
    feature = replace(FEATURE, slo_error_rate_threshold=0.5)
    counts = seconds(*[(50, 0)] * 55, *[(50, 50)] * 5)
    assert is_outage(FEATURE, counts)
    assert not is_outage(feature, counts)


def test_nothing_is_breached_whose_counts_keep_the_limit() -> None:
    proven = replace(BEGUN, error_rate=LiveTest(50.0, sends=1000.0, bad=10.0, busiest=50.0))
    assert {one.verdict for one in live_findings(FEATURE, proven)} == {Verdict.UNKNOWN}
    over = replace(BEGUN, error_rate=LiveTest(50.0, sends=1000.0, bad=11.0, busiest=50.0))
    assert live_findings(FEATURE, over)[0].verdict is Verdict.BREACHED


def test_a_bad_send_alone_in_its_second_weighs_no_more_than_among_others() -> None:
    alone = with_seconds(FEATURE, BEGUN, seconds((60, 0), (0, 0), (1, 1)))
    among = with_seconds(FEATURE, BEGUN, seconds((60, 0), (0, 0), (60, 1)))
    assert evidence_of(alone) < 0.4 < alarm_at(FEATURE, BEGUN)
    assert evidence_of(alone) - evidence_of(among) < 0.3


@pytest.mark.parametrize("starts", [0, 1, 1100, 10**9])
def test_any_number_of_starts_can_be_reckoned_with(starts: int) -> None:
    assert alarm_at(FEATURE, LiveState(starts)) >= alarm_at(FEATURE, LiveState(1))


def test_a_second_brings_so_little_that_a_blip_never_pauses_by_itself() -> None:
    """The counts of a blip come in at most so many looks: its length, a second late, and one more."""
    live = with_seconds(FEATURE, BEGUN, seconds(*[(1000, 1000)] * 6))
    assert evidence_of(live) < alarm_at(FEATURE, live)
    assert cap(FEATURE, BEGUN) * 6 < alarm_at(FEATURE, BEGUN)


def test_ten_times_the_limit_is_proven_within_seconds_of_the_start() -> None:
    live, needed = BEGUN, alarm_at(FEATURE, BEGUN)
    assert needed == pytest.approx(log(2 / (0.9 * LIVE_SHARE * FEATURE.alpha)))
    windows = seconds(*[(50, 5)] * 12)
    verdicts = []
    for window in windows:
        live = with_seconds(FEATURE, live, [window])
        verdicts.append(live_findings(FEATURE, live)[0].verdict)
    assert verdicts.index(Verdict.BREACHED) < 10


def test_each_start_has_half_of_the_alpha_that_is_left() -> None:
    shares = [1 / 2.718281828 ** alarm_at(FEATURE, replace(BEGUN, starts=n)) for n in range(1, 30)]
    assert sum(shares) <= 0.9 * LIVE_SHARE * FEATURE.alpha * 1.0001


def test_nothing_is_bet_on_a_start_that_was_not_seen_or_is_long_ago() -> None:
    windows = seconds(*[(50, 5)] * 12)
    unseen = replace(BEGUN, begun_at=0.0)
    assert with_seconds(FEATURE, unseen, windows) == unseen
    late = replace(BEGUN, begun_at=1000.0 - FIRST_S)
    assert with_seconds(FEATURE, late, windows) == late


def test_a_second_is_added_once() -> None:
    windows = seconds(*[(50, 5)] * 4)
    once = with_seconds(FEATURE, BEGUN, windows)
    assert with_seconds(FEATURE, once, windows) == once


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), min_size=1, max_size=30))
def test_live_counts_pause_or_hold_and_can_be_decided_again(counts: list[tuple[int, int]]) -> None:
    seen = snapshot(seconds(*[(n, min(n, k)) for n, k in counts]))
    decision = decide(seen)
    assert decision.kind in {Kind.PAUSE, Kind.HOLD}
    assert decision.flags == replace(OPEN, paused=decision.kind is Kind.PAUSE)
    assert (decision.state.error_rate, decision.state.latency) == (seen.state.error_rate, seen.state.latency)
    assert verify(record(seen)) == []


def test_a_record_of_live_tests_that_no_release_had_says_so() -> None:
    seen = snapshot(seconds(*[(50, 50)] * 6))
    written = record(seen)
    assert verify(written) == []
    for older in ({"form": 3}, {"form": 2, "findings": []}, {"form": 3, "state_before": {"live": "other"}}):
        assert verify(written | older) == [UNRELEASED]


def test_a_live_pause_says_so_in_words() -> None:
    outage = decide(snapshot(seconds(*[(50, 50)] * 6)))
    assert (outage.kind, outage.reason) == (Kind.PAUSE, Reason.OUTAGE)
    assert outage.detail == "Outage, seen live: 250 of 250 sends failed in the last 5 s. Paused at 10 %."
    breach = decide(snapshot(seconds(*[(50, 5)] * 12)))
    assert (breach.kind, breach.reason) == (Kind.PAUSE, Reason.SLO_ERROR_RATE)
    assert breach.detail.startswith("Seen live: Proven breached: 60 of 600 sends failed (10 %, limit 1 %).")


def test_live_counts_pause_where_a_step_back_is_configured() -> None:
    feature = replace(FEATURE, on_breach="step_back")
    assert decide(snapshot(seconds(*[(50, 50)] * 6), feature)).kind is Kind.PAUSE


@pytest.mark.parametrize(
    "flags",
    [replace(OPEN, paused=True), replace(OPEN, enabled=False), replace(OPEN, rollout_percent=0.0)],
)
def test_closed_flags_are_paused_by_nothing(flags: Flags) -> None:
    assert decide(snapshot(seconds(*[(50, 50)] * 6), flags=flags)).kind is Kind.HOLD
