"""The tests of the first form, so that records of that time can be decided again bit for bit.

They forget at each step what was seen before, and share alpha between the steps.
"""

from dataclasses import dataclass, field, replace
from math import exp, inf, isfinite, isnan, log

from controller.decision.feature import RolloutFeature
from controller.decision.model import (
    SLOW_SHARE_LIMIT,
    Evidence,
    Finding,
    Slo,
    SloState,
    State,
    Verdict,
    Window,
)
from controller.decision.sequential.late import late_evidence, with_late
from controller.decision.sequential.logarithms import log_mean, log_sum, worth

BREACH_POINTS = 8
BREACH_TOP = 0.9
BREACH_BOTTOM = 1.5
HEALTHY_SHARES = (0.01, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85)
CAP_SHARE = 0.75
STEPS_SHARE = 0.9
LATE_SHARE = 0.1
OUTAGE_SENDS = 20
OUTAGE_SHARE = 0.5

_LN_BREACH_POINTS = log(BREACH_POINTS)
_LN_HEALTHY_POINTS = log(len(HEALTHY_SHARES))


@dataclass(frozen=True, slots=True)
class FirstSloState(SloState):
    """What the tests of one SLO added up, one logarithm per point of their grids."""

    breach: tuple[float, ...] = ()
    healthy: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class FirstState(State):
    """A state as records of the first form hold it."""

    error_rate: FirstSloState = field(default_factory=FirstSloState)
    latency: FirstSloState = field(default_factory=FirstSloState)


@dataclass(frozen=True, slots=True)
class FirstSloTest:
    """The three tests of one SLO: what a bad and a good send are worth at each rate, and the alarms.

    All numbers are natural logarithms, but the limit, which is a share of the sends.
    """

    limit: float
    breach: tuple[tuple[float, float], ...]
    """(worth of a bad send, worth of a good send) for each rate of the grid."""
    healthy: tuple[tuple[float, float], ...]
    cap: float
    breach_needed: float
    late_needed: float
    health_needed: float


def breach_rates(limit: float) -> tuple[float, ...]:
    """Return the rates that the breach test bets on; each is above the limit, whatever the limit."""
    top = max(BREACH_TOP, (1 + limit) / 2)
    bottom = min(BREACH_BOTTOM * limit, (limit + top) / 2)
    ratio = top / bottom
    return tuple(bottom * ratio ** (j / (BREACH_POINTS - 1)) for j in range(BREACH_POINTS))


def slo_test(limit: float, feature: RolloutFeature, window_s: float) -> FirstSloTest:
    """Work out the tests of an SLO that allows a share `limit` of bad sends, 0 < limit < 1."""
    unhealthy = min(feature.margin * limit, (1 + limit) / 2)
    breach_needed = log(len(feature.steps) / (STEPS_SHARE * feature.alpha))
    windows_of_a_ramp = max(1.0, feature.longest_ramp_s / window_s)
    return FirstSloTest(
        limit=limit,
        breach=tuple(worth(rate, limit) for rate in breach_rates(limit)),
        healthy=tuple(worth(share * unhealthy, unhealthy) for share in HEALTHY_SHARES),
        cap=CAP_SHARE * breach_needed,
        breach_needed=breach_needed,
        late_needed=log(windows_of_a_ramp / (LATE_SHARE * feature.alpha)),
        health_needed=log(1 / feature.step_up_error),
    )


def with_window(
    test: FirstSloTest, state: FirstSloState, n: float, k: float, *, proves_health: bool
) -> FirstSloState:
    """Add one window of n sends, k of them bad. Without sends, or without a number, nothing changes."""
    if not 0 < n < inf or isnan(k):
        return state
    bad = min(max(k, 0.0), n)
    good = n - bad
    cap = test.cap
    bets = [bad * hit + good * miss for hit, miss in test.breach]
    capped = [bet if bet < cap else cap for bet in bets]  # noqa: FURB136  (min() takes twice as long)
    return FirstSloState(
        breach=tuple([held + bet for held, bet in zip(state.breach, capped, strict=True)])
        if state.breach
        else tuple(capped),
        late=with_late(state.late, capped),
        healthy=_with_health(test, state.healthy, bad, good) if proves_health else state.healthy,
        sends=state.sends + n,
        bad=state.bad + bad,
    )


def _with_health(test: FirstSloTest, held: tuple[float, ...], bad: float, good: float) -> tuple[float, ...]:
    bets = [bad * hit + good * miss for hit, miss in test.healthy]
    return tuple([sum_ + bet for sum_, bet in zip(held, bets, strict=True)] if held else bets)


def breach_evidence(state: FirstSloState) -> float:
    """Tell how much speaks for a rate above the limit at this step: ln E."""
    return log_sum(state.breach) - _LN_BREACH_POINTS if state.breach else 0.0


def health_evidence(state: FirstSloState) -> float:
    """Tell how much speaks for a rate below margin x limit at this step: ln H."""
    return log_sum(state.healthy) - _LN_HEALTHY_POINTS if state.healthy else 0.0


def sends_until_healthy(test: FirstSloTest, state: FirstSloState, rate: float | None = None) -> float | None:
    """Estimate how many more sends prove health at a rate, else at the one seen so far; None if never.

    The evidence after N more sends is a convex function of N, so Newton's method, begun to the right of
    the root, stays to the right of it and three steps come within a send or two.
    """
    if rate is None:
        rate = state.bad / state.sends if state.sends > 0 else 0.0
    drifts = [rate * hit + (1 - rate) * miss for hit, miss in test.healthy]
    held = state.healthy or (0.0,) * len(drifts)
    goal = test.health_needed + _LN_HEALTHY_POINTS
    if log_sum(held) >= goal:
        return 0.0
    waits = [(goal - h) / drift for h, drift in zip(held, drifts, strict=True) if drift > 0]
    if not waits:
        return None
    more = min(waits)
    for _ in range(3):
        terms = [h + more * drift for h, drift in zip(held, drifts, strict=True)]
        reached = log_sum(terms)
        slope = sum([exp(t - reached) * drift for t, drift in zip(terms, drifts, strict=True)])
        if slope <= 0:
            break
        more -= (reached - goal) / slope
    return more if isfinite(more) and more > 0 else None


@dataclass(frozen=True, slots=True)
class FirstTests:
    """The tests of the two SLOs of one feature, as they were."""

    error_rate: FirstSloTest
    latency: FirstSloTest

    def with_windows(self, state: State, windows: tuple[Window, ...], evidence: Evidence) -> State:
        """Add windows to the tests and the counts, and say up to when all is judged."""
        before, latency = _of_first(state.error_rate), _of_first(state.latency)
        errors = before
        for one in windows:
            proves = one.converged and evidence.problem is None
            errors = with_window(self.error_rate, errors, one.sends, one.errors, proves_health=proves)
            latency = with_window(self.latency, latency, one.timed, one.slow, proves_health=proves)
        state = replace(
            state, error_rate=errors, latency=latency, judged_to=evidence.judged_to or state.judged_to
        )
        if errors is before and latency is state.latency:
            return state
        return replace(state, step_sends=errors.sends, step_errors=errors.bad)

    def judge(self, state: State, _feature: RolloutFeature, _percent: float) -> tuple[Finding, ...]:
        """Judge both SLOs: their e-values are averaged, the largest is named as the cause."""
        errors = _measured(Slo.ERROR_RATE, self.error_rate, _of_first(state.error_rate))
        latency = _measured(Slo.LATENCY, self.latency, _of_first(state.latency))
        pairs = (
            (errors.evidence_for_breach, latency.evidence_for_breach, errors.breach_needed),
            (errors.late_evidence, latency.late_evidence, errors.late_needed),
        )
        for of_errors, of_latency, needed in pairs:
            if max(of_errors, of_latency) >= needed and log_mean((of_errors, of_latency)) >= needed:
                if of_errors >= of_latency:
                    return replace(errors, verdict=Verdict.BREACHED), latency
                return errors, replace(latency, verdict=Verdict.BREACHED)
        return errors, latency

    def with_needed(
        self, findings: tuple[Finding, ...], state: State, _feature: RolloutFeature, _percent: float
    ) -> tuple[Finding, ...]:
        """Estimate for each finding how many more sends prove health at the rate seen so far."""
        errors, latency = findings
        of_errors = sends_until_healthy(self.error_rate, _of_first(state.error_rate))
        of_latency = sends_until_healthy(self.latency, _of_first(state.latency))
        return replace(errors, needed=of_errors), replace(latency, needed=of_latency)

    def is_outage(self, windows: tuple[Window, ...], _before: int) -> bool:
        """Whether at least half of many sends of one window failed."""
        return any(one.sends >= OUTAGE_SENDS and one.errors >= OUTAGE_SHARE * one.sends for one in windows)


def first_tests(feature: RolloutFeature, window_s: float) -> FirstTests:
    """Work out a feature's tests of that time."""
    return FirstTests(
        error_rate=slo_test(feature.slo_error_rate_threshold, feature, window_s),
        latency=slo_test(SLOW_SHARE_LIMIT, feature, window_s),
    )


def _of_first(state: SloState) -> FirstSloState:
    """Return a state of that time; tests that were begun again in this decision have only their late part."""
    return state if isinstance(state, FirstSloState) else FirstSloState(late=state.late)


def _measured(slo: Slo, test: FirstSloTest, state: FirstSloState) -> Finding:
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
        late_evidence=late_evidence(state.late),
        late_needed=test.late_needed,
        needed=None,
    )
