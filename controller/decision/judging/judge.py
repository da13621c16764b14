"""From what the tests have added up to findings: each SLO met, breached or unknown, with the numbers."""

from dataclasses import dataclass, replace
from math import log

from msgspec import UNSET, UnsetType

from controller.decision.feature import RolloutFeature
from controller.decision.judging.first_form import first_tests
from controller.decision.judging.outage import OUTAGE_Z, outage_windows, windows_in_a_row
from controller.decision.judging.policies import Tests
from controller.decision.judging.slo_tests import SloTest, slo_test, with_window
from controller.decision.model import (
    FIRST_FORM,
    FORM,
    SLOW_SHARE_LIMIT,
    Evidence,
    Finding,
    Slo,
    SloState,
    State,
    Verdict,
    Window,
)
from controller.decision.ramp import step_above
from controller.decision.sequential.health import step_error
from controller.decision.sequential.late import late_evidence
from controller.decision.sequential.logarithms import log_mean


def tests_of(feature: RolloutFeature, window_s: float, form: int) -> Tests:
    """Return a feature's tests in the form that a record names."""
    return first_tests(feature, window_s) if form == FIRST_FORM else feature_tests(feature, window_s, form)


@dataclass(frozen=True, slots=True)
class FeatureTests:
    """The tests of the SLOs of one feature."""

    error_rate: SloTest
    latency: SloTest
    very_slow: SloTest | None
    window_s: float
    blip_s: float
    outage_z: float

    def with_windows(self, state: State, windows: tuple[Window, ...], evidence: Evidence) -> State:
        """Add windows to the tests and the counts, and say up to when all is judged.

        Only a converged window of metrics without a problem proves health.
        """
        errors, latency, very_slow = state.error_rate, state.latency, state.very_slow
        for one in windows:
            proves = one.converged and evidence.problem is None
            errors = with_window(
                self.error_rate,
                errors,
                one.sends,
                one.errors,
                proves_health=proves,
                mailboxes=one.failed_mailboxes,
            )
            latency = with_window(self.latency, latency, one.timed, one.slow, proves_health=proves)
            if self.very_slow and very_slow and one.very_slow is not UNSET:
                very_slow = with_window(
                    self.very_slow, very_slow, one.timed, one.very_slow, proves_health=proves
                )
        judged_to = evidence.judged_to or state.judged_to
        if errors is state.error_rate and latency is state.latency:
            return state if judged_to == state.judged_to else replace(state, judged_to=judged_to)
        half_failed = windows_in_a_row(windows, state.half_failed, self.outage_z)[-1]
        return _counted(state, errors, latency, very_slow, judged_to, half_failed)

    def judge(self, state: State, feature: RolloutFeature, percent: float) -> tuple[Finding, ...]:
        """Judge each SLO by the sequential tests.

        For the alarm the SLOs' e-values are averaged, which is valid under any dependence between them; the
        largest is named as the cause.
        """
        step = _next_step(feature, percent)
        errors = _measured(Slo.ERROR_RATE, self.error_rate, state.error_rate, feature, step)
        latency = _measured(Slo.LATENCY, self.latency, state.latency, feature, step)
        if not (self.very_slow and state.very_slow):
            return _with_cause((errors, latency))
        very_slow = _measured(Slo.VERY_SLOW, self.very_slow, state.very_slow, feature, step)
        return _with_cause((errors, latency, very_slow))

    def with_needed(
        self, findings: tuple[Finding, ...], state: State, _feature: RolloutFeature, _percent: float
    ) -> tuple[Finding, ...]:
        """Estimate for each finding how many more sends prove health at the rate seen so far."""
        tests = (self.error_rate, self.latency, self.very_slow)
        states = (state.error_rate, state.latency, state.very_slow)
        return tuple(
            _needing(finding, test, of)
            for finding, test, of in zip(findings, tests, states, strict=False)
            if test and of
        )

    def is_outage(self, windows: tuple[Window, ...], before: int) -> bool:
        """Whether these windows are an outage; `before` of the windows before them had half failed."""
        runs = windows_in_a_row(windows, before, self.outage_z)
        return any(runs) and any(
            run and run >= outage_windows(window, self.window_s, self.blip_s)
            for run, window in zip(runs, windows, strict=True)
        )


_LATELY_USED: dict[tuple[float, ...], FeatureTests] = {}
_KEPT = 256


def feature_tests(feature: RolloutFeature, window_s: float, form: int = FORM) -> FeatureTests:
    """Work out a feature's tests. They follow from these numbers alone, so lately used ones are kept."""
    key = (
        feature.slo_error_rate_threshold,
        feature.margin,
        feature.alpha,
        feature.longest_ramp_s,
        feature.blip_s,
        window_s,
        form,
        feature.slo_very_slow_threshold or 0.0,
    )
    tests = _LATELY_USED.get(key)
    if tests is None:
        very_slow = feature.slo_very_slow_threshold
        tests = FeatureTests(
            error_rate=slo_test(feature.slo_error_rate_threshold, feature, window_s),
            latency=slo_test(SLOW_SHARE_LIMIT, feature, window_s),
            very_slow=slo_test(very_slow, feature, window_s) if very_slow else None,
            window_s=window_s,
            blip_s=feature.blip_s,
            outage_z=OUTAGE_Z[form],
        )
        if len(_LATELY_USED) >= _KEPT:
            _LATELY_USED.clear()
        _LATELY_USED[key] = tests
    return tests


def _counted(
    state: State,
    errors: SloState,
    latency: SloState,
    very_slow: SloState | UnsetType,
    judged_to: float,
    half_failed: int,
) -> State:
    """Write out what replace() would do in a tenth of the whole tick. A test sees that no field is lost."""
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
        half_failed=half_failed,
        previous_config_hash=state.previous_config_hash,
        unplaced=state.unplaced,
        paused_by=state.paused_by,
        stopped_by=state.stopped_by,
        stepped_back=state.stepped_back,
        live=state.live,
        very_slow=very_slow,
        comparison=state.comparison,
    )


def _next_step(feature: RolloutFeature, percent: float) -> float:
    """Return the percentage that a step up would lead to; at the end of the plan, the present one."""
    return step_above(feature.steps, percent) or percent


def _with_cause(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Mark the SLO behind an alarm, if there is one."""
    cause = _alarm([one.evidence_for_breach for one in findings], findings[0].breach_needed)
    if cause is None:
        cause = _alarm([one.late_evidence for one in findings], findings[0].late_needed)
    if cause is None:
        return findings
    return tuple(
        replace(one, verdict=Verdict.BREACHED) if place == cause else one
        for place, one in enumerate(findings)
    )


def _alarm(evidence: list[float], needed: float) -> int | None:
    """Return the place of the largest evidence where the mean reaches what is needed, or None."""
    top = max(evidence)
    # The mean reaches the goal only where the largest one does, which is cheaper to ask first.
    return evidence.index(top) if top >= needed and log_mean(evidence) >= needed else None


def _measured(slo: Slo, test: SloTest, state: SloState, feature: RolloutFeature, step: float) -> Finding:
    seen = state.clusters.effect_on_health()
    effect = state.health.effect(seen, step / 100)
    health = test.health.evidence(state.health, effect)
    # Where clusters were seen their size is only an estimate, so more is asked for.
    needed = log(seen / step_error(feature.step_up_error, step))
    return Finding(
        slo,
        Verdict.MET if health >= needed else Verdict.UNKNOWN,
        state.sends,
        state.bad,
        test.limit,
        state.wallet.evidence(),
        health,
        test.breach.needed,
        needed,
        late_evidence(state.late),
        test.late_needed,
        None,
        effect,
    )


def _needing(finding: Finding, test: SloTest, state: SloState) -> Finding:
    """Do what replace() does, in a third of its time."""
    rate = state.health.bad / state.health.sends if state.health.sends > 0 else 0.0
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
        test.health.sends_needed(state.health, finding.effect, finding.health_needed, rate),
        finding.effect,
    )
