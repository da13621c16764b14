"""The tests of live counts: what senders report each second proves harm within seconds, never health. Pure.

An *outage* is most of the sends failing for longer than a blip, at any time. It spends no alpha.
The *first-seconds test* looks at the time right after the tests began, when a fault that came with the
feature shows. It bets on the share of each second's sends, so nothing is assumed about sends within one
second, and by Ville's inequality it is wrong with at most its share of alpha. One second brings so little
that a blip never pauses by itself. Later the *late-change test* of live_late looks for what lasts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import ceil, log

from controller.decision.feature import RolloutFeature
from controller.decision.judging.live_late import (
    LATE_S,
    LOOK_S,
    PART,
    bet,
    exceeds,
    late_evidence,
    late_needed,
    newest,
    seen_s,
)
from controller.decision.model import SLOW_SHARE_LIMIT, Finding, LiveState, LiveTest, Slo, Verdict, Window
from controller.decision.sequential.logarithms import log_mean
from controller.decision.sequential.wallet import LIVE_SHARE

FIRST_S = 45.0
"""So long after its start the first-seconds test bets: a burst that passes is seldom in it."""
CERTAIN = 0.99
"""A blip brings at most this share of the way to the alarm."""

OUTAGE_SHARE = 0.5
OUTAGE_SENDS = 20
OUTAGE_MAILBOXES = 3
"""So many mailboxes hit in one second tell an outage from one mailbox's trouble, ..."""
OUTAGE_SENDS_UNNAMED = 60
"""... or so many sends do, where mailboxes are not told apart."""
UNSURE_S = 0.05
"""How much longer than a blip must be seen to fail: where in a second it begins and ends is a guess."""
OUTAGE_REACH = 5 / 3
"""An outage is looked for in so many times the length of a blip."""
USUAL_S = 60.0
"""From so much time it is known how many sends are usual."""


def alarm_at(feature: RolloutFeature, live: LiveState) -> float:
    """Return what evidence the first-seconds test needs, as a natural logarithm.

    The first start has half of its part of alpha, each further one half of the rest.
    """
    return max(live.starts, 1) * log(2) - log((1 - PART) * LIVE_SHARE * feature.alpha)


def cap(feature: RolloutFeature, live: LiveState) -> float:
    """Return what one second may bring: the counts of a blip come in at most `touched` looks."""
    touched = ceil((feature.blip_s + LATE_S) / LOOK_S) + 1
    return CERTAIN * alarm_at(feature, live) / touched


def limits(feature: RolloutFeature) -> tuple[float, float]:
    """Return the allowed shares of failed and of slow sends."""
    return feature.slo_error_rate_threshold, SLOW_SHARE_LIMIT


def with_seconds(feature: RolloutFeature, live: LiveState, windows: Iterable[Window]) -> LiveState:
    """Add the seconds that are new. A start that was not seen to begin is not tested."""
    if not live.begun_at:
        return live
    most = cap(feature, live)
    of_errors, of_slow = limits(feature)
    for window in windows:
        if live.judged_to < window.at <= live.begun_at + FIRST_S:
            live = replace(
                live,
                judged_to=window.at,
                error_rate=_with_second(live.error_rate, of_errors, most, window.sends, window.errors),
                latency=_with_second(live.latency, of_slow, most, window.timed, window.slow),
            )
    return live


def _with_second(test: LiveTest, limit: float, most: float, n: float, k: float) -> LiveTest:
    busiest = max(test.busiest, n)
    worth = bet(limit, n, k, busiest)
    if not worth:
        return test
    evidence = test.evidence + min(log(worth), most)
    return LiveTest(evidence, test.sends + n, test.bad + min(max(k, 0.0), n), busiest)


def live_findings(
    feature: RolloutFeature, live: LiveState, windows: Sequence[Window] = ()
) -> tuple[Finding, Finding]:
    """Judge both SLOs. For the alarm their evidence is averaged, and the larger one is the cause.

    Nothing is breached whose counts, all that the test has seen, keep the limit. The windows are the newest
    seconds, for the late-change test.
    """
    seconds = newest(windows, seen_s(feature)) if windows else ()
    of_errors, of_slow = limits(feature)
    failed = [(one.sends, one.errors) for one in seconds]
    slow = [(one.timed, one.slow) for one in seconds]
    errors = _finding(feature, live, Slo.ERROR_RATE, live.error_rate, of_errors, failed)
    latency = _finding(feature, live, Slo.LATENCY, live.latency, of_slow, slow)
    for evidence, needed in (
        ((errors.evidence_for_breach, latency.evidence_for_breach), errors.breach_needed),
        ((errors.late_evidence, latency.late_evidence), errors.late_needed),
    ):
        if log_mean(evidence) >= needed:
            if evidence[0] >= evidence[1]:
                return _breached(errors), latency
            return errors, _breached(latency)
    return errors, latency


def _breached(finding: Finding) -> Finding:
    over = exceeds(finding.limit, finding.n, finding.k)
    return replace(finding, verdict=Verdict.BREACHED) if over else finding


def _finding(
    feature: RolloutFeature,
    live: LiveState,
    slo: Slo,
    test: LiveTest,
    limit: float,
    counts: Sequence[tuple[float, float]],
) -> Finding:
    """Weigh one SLO, with the counts of the first seconds, or of the newest where those prove harm."""
    needed, late, enough = (
        alarm_at(feature, live),
        late_evidence(feature, limit, counts),
        late_needed(feature),
    )
    sends, bad = test.sends, test.bad
    if test.evidence < needed and late >= enough:
        sends, bad = sum(n for n, _ in counts), sum(k for _, k in counts)
    return Finding(
        slo=slo,
        verdict=Verdict.UNKNOWN,
        n=sends,
        k=bad,
        limit=limit,
        evidence_for_breach=test.evidence,
        evidence_for_health=0.0,
        breach_needed=needed,
        health_needed=needed,
        late_evidence=late,
        late_needed=enough,
        needed=None,
    )


def reach_s(feature: RolloutFeature) -> float:
    """Return how far back an outage is looked for."""
    return ceil(OUTAGE_REACH * max(feature.blip_s, LOOK_S) / LOOK_S) * LOOK_S


def outage_windows(feature: RolloutFeature, windows: Sequence[Window]) -> Sequence[Window]:
    """Return the newest seconds that an outage is looked for in."""
    return newest(windows, reach_s(feature))


def is_outage(feature: RolloutFeature, windows: Sequence[Window]) -> bool:
    """Whether most sends fail for longer than a blip, and of more than one mailbox.

    A second counts by the share of its sends that failed, less what chance may add where they are few. Most
    of how many are usual must fail, too: sends that time out are counted when the others are long over.
    """
    failing = outage_windows(feature, windows) if windows else ()
    sends, errors = _totals(failing)
    if sends < OUTAGE_SENDS or errors < OUTAGE_SHARE * sends:
        return False
    hit = max(one.failed_mailboxes or 0.0 for one in failing)
    if hit < OUTAGE_MAILBOXES and sends < OUTAGE_SENDS_UNNAMED:
        return False
    if failing_s(failing) <= feature.blip_s + UNSURE_S:
        return False
    lately = newest(windows, USUAL_S)
    all_sends, all_errors = _totals(lately)
    usual = all_sends / len(lately) * len(failing)
    return errors >= OUTAGE_SHARE * usual and exceeds(limits(feature)[0], all_sends, all_errors)


def _totals(windows: Sequence[Window]) -> tuple[float, float]:
    return sum(one.sends for one in windows), sum(one.errors for one in windows)


def failing_s(windows: Sequence[Window]) -> float:
    """Return for how long sends failed, as far as their counts can tell."""
    before = [windows[0].at - LOOK_S, *(one.at for one in windows)]
    lengths = (one.at - begin for one, begin in zip(windows, before, strict=False))
    return sum(length * _failing_share(one) for one, length in zip(windows, lengths, strict=True))


def _failing_share(window: Window) -> float:
    """Return the share of failed sends, less what chance may have added to it."""
    n, k = window.sends, window.errors
    chance = (k * (n - k) / n) ** 0.5 if 0 < k < n else 0.0
    return max(k - chance, 0.0) / (n + 2)
