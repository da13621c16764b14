"""From what the tests have added up to findings: each SLO met, breached or unknown, with the numbers."""

from dataclasses import dataclass, replace

from controller.decision.model import (
    SLOW_SHARE_LIMIT,
    Evidence,
    Finding,
    RolloutFeature,
    Slo,
    SloState,
    State,
    Verdict,
    Window,
)
from controller.decision.sequential import (
    SloTest,
    breach_evidence,
    health_evidence,
    late_evidence,
    log_mean,
    sends_until_healthy,
    slo_test,
    with_window,
)


@dataclass(frozen=True, slots=True)
class FeatureTests:
    """The tests of the two SLOs of one feature."""

    error_rate: SloTest
    latency: SloTest


_LATELY_USED: dict[tuple[float, ...], FeatureTests] = {}
_KEPT = 256


def feature_tests(feature: RolloutFeature, window_s: float) -> FeatureTests:
    """Work out a feature's tests. They follow from these numbers alone, so lately used ones are kept."""
    key = (
        feature.slo_error_rate_threshold,
        feature.margin,
        feature.alpha,
        feature.step_up_error,
        feature.longest_ramp_s,
        len(feature.steps),
        window_s,
    )
    tests = _LATELY_USED.get(key)
    if tests is None:
        tests = FeatureTests(
            error_rate=slo_test(feature.slo_error_rate_threshold, feature, window_s),
            latency=slo_test(SLOW_SHARE_LIMIT, feature, window_s),
        )
        if len(_LATELY_USED) >= _KEPT:
            _LATELY_USED.clear()
        _LATELY_USED[key] = tests
    return tests


def add_windows(tests: FeatureTests, state: State, windows: tuple[Window, ...], evidence: Evidence) -> State:
    """Add windows to the tests and the counts, and say up to when all is judged.

    Only a converged window of metrics without a problem proves health.
    """
    errors, latency = state.error_rate, state.latency
    for window in windows:
        proves = window.converged and evidence.problem is None
        errors = with_window(tests.error_rate, errors, window.sends, window.errors, proves_health=proves)
        latency = with_window(tests.latency, latency, window.timed, window.slow, proves_health=proves)
    judged_to = evidence.judged_to or state.judged_to
    if errors is state.error_rate and latency is state.latency:
        return state if judged_to == state.judged_to else replace(state, judged_to=judged_to)
    # Written out: replace() would take a tenth of the whole tick. A test sees to it that no field is lost.
    return State(
        config_hash=state.config_hash,
        ramp_started_at=state.ramp_started_at,
        step_started_at=state.step_started_at,
        counted_from=state.counted_from,
        judged_to=judged_to,
        held_since=state.held_since,
        flags=state.flags,
        error_rate=errors,
        latency=latency,
        step_sends=errors.sends,
        step_errors=errors.bad,
        ramp_sends=state.ramp_sends + (errors.sends - state.error_rate.sends),
        ramp_errors=state.ramp_errors + (errors.bad - state.error_rate.bad),
        approved_percent=state.approved_percent,
        tests_started=state.tests_started,
        alpha_spent=state.alpha_spent,
        previous_config_hash=state.previous_config_hash,
        unplaced=state.unplaced,
        paused_by=state.paused_by,
        stopped_by=state.stopped_by,
        stepped_back=state.stepped_back,
        live=state.live,
    )


def judge(tests: FeatureTests, state: State) -> tuple[Finding, Finding]:
    """Judge both SLOs by the sequential tests.

    For the alarm the SLOs' e-values are averaged, which is valid under any dependence between them; the
    largest is named as the cause. `needed` is left to `with_needed`, since not every reader asks.
    """
    errors = _measured(Slo.ERROR_RATE, tests.error_rate, state.error_rate)
    latency = _measured(Slo.LATENCY, tests.latency, state.latency)
    cause = _cause(errors, latency)
    if cause is None:
        return errors, latency
    if cause is Slo.ERROR_RATE:
        return replace(errors, verdict=Verdict.BREACHED), latency
    return errors, replace(latency, verdict=Verdict.BREACHED)


def _cause(errors: Finding, latency: Finding) -> Slo | None:
    """Name the SLO behind an alarm, or None where there is no alarm."""
    pairs = (
        (errors.evidence_for_breach, latency.evidence_for_breach, errors.breach_needed),
        (errors.late_evidence, latency.late_evidence, errors.late_needed),
    )
    for of_errors, of_latency, needed in pairs:
        # The mean reaches the goal only where the larger one does, which is cheaper to ask first.
        if max(of_errors, of_latency) >= needed and log_mean((of_errors, of_latency)) >= needed:
            return Slo.ERROR_RATE if of_errors >= of_latency else Slo.LATENCY
    return None


def _measured(slo: Slo, test: SloTest, state: SloState) -> Finding:
    health = health_evidence(state)
    return Finding(
        slo=slo,
        verdict=Verdict.MET if health >= test.health_needed else Verdict.UNKNOWN,
        n=state.sends,
        k=state.bad,
        limit=test.limit,
        evidence_for_breach=breach_evidence(state),
        evidence_for_health=health,
        breach_needed=test.breach_needed,
        health_needed=test.health_needed,
        late_evidence=late_evidence(state),
        late_needed=test.late_needed,
        needed=None,
    )


def with_needed(findings: tuple[Finding, ...], tests: FeatureTests, state: State) -> tuple[Finding, ...]:
    """Estimate for each finding how many more sends prove health at the rate seen so far."""
    parts = {
        Slo.ERROR_RATE: (tests.error_rate, state.error_rate),
        Slo.LATENCY: (tests.latency, state.latency),
    }
    return tuple(_needing(finding, sends_until_healthy(*parts[finding.slo])) for finding in findings)


def _needing(finding: Finding, needed: float | None) -> Finding:
    """Do what replace() does, in a third of its time."""
    return Finding(
        finding.slo,
        finding.verdict,
        finding.n,
        finding.k,
        finding.limit,
        finding.evidence_for_breach,
        finding.evidence_for_health,
        finding.breach_needed,
        finding.health_needed,
        finding.late_evidence,
        finding.late_needed,
        needed,
    )
