"""One decision from one snapshot: guard, then policy, then clamp. No clock, no I/O, no chance.

The checks below are asked in their order, and the first that has an answer decides. All but the last few
are the guard, which no policy can overrule; a policy only says what the evidence is worth. So a wrong
policy can at worst be too slow, and can never step past the plan, up without fresh evidence, or up at all
against a person's pause.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from controller.contract import Flags
from controller.decision.judge import FeatureTests, feature_tests, weigh, with_needed
from controller.decision.model import (
    Decision,
    Finding,
    Kind,
    Reason,
    Slo,
    Snapshot,
    State,
    Verdict,
    Window,
)
from controller.decision.policies import POLICIES
from controller.decision.ramp import (
    begin_anew,
    begin_ramp,
    begin_step,
    followed,
    is_open,
    placed,
    safer,
    same_flags,
    step_above,
    step_below,
)
from controller.decision.words import in_words

OUTAGE_SENDS = 20
OUTAGE_SHARE = 0.5
"""One window with at least so many sends, at least this share of them failed, pauses at once."""
CAUSES = {Slo.ERROR_RATE: Reason.SLO_ERROR_RATE, Slo.LATENCY: Reason.SLO_LATENCY}


@dataclass(frozen=True, slots=True)
class Case:
    """What the checks look at: the snapshot, what its windows added up to, and what that says."""

    snapshot: Snapshot
    state: State
    """Followed up to now, the new windows in it."""
    windows: tuple[Window, ...]
    """The new windows that count."""
    findings: tuple[Finding, ...]
    tests: FeatureTests

    @property
    def at_zero(self) -> bool:
        return self.snapshot.flags.rollout_percent == 0


@dataclass(frozen=True, slots=True)
class Move:
    """What one check decided."""

    kind: Kind
    reason: Reason


Check = Callable[[Case], Move | None]


def decide(snapshot: Snapshot) -> Decision:
    """Decide one feature, with the reason in words and what is still needed."""
    case = case_of(snapshot)
    findings = with_needed(case.findings, case.tests, case.state)
    return in_words(snapshot, settle(case), findings, case.state)


def case_of(snapshot: Snapshot) -> Case:
    """Follow the flags, weigh the windows that still count, and let the policy judge."""
    tests = feature_tests(snapshot.feature, snapshot.window_s)
    state, counts = followed(snapshot)
    windows = snapshot.evidence.windows if counts and is_open(snapshot.flags) else ()
    state = weigh(tests, state, windows, snapshot.evidence)
    findings = POLICIES[snapshot.feature.policy](tests, state, windows)
    return Case(snapshot, state, windows, findings, tests)


def settle(case: Case) -> Decision:
    """Decide without words: the first check that has an answer."""
    for check in CHECKS:
        move = check(case)
        if move is not None:
            return _carried_out(case, move)
    return _carried_out(case, Move(Kind.STEP_UP, Reason.HEALTHY))


def overruled(snapshot: Snapshot, decision: Decision, reason: Reason) -> Decision:
    """Give what stands when a decision could not be written: a hold that changes nothing."""
    return Decision(
        kind=Kind.HOLD,
        reason=reason,
        flags=snapshot.flags,
        state=snapshot.state,
        findings=decision.findings,
        detail=f"{decision.kind} ({decision.reason}) was decided but not written: {reason}.",
    )


def _hold(reason: Reason) -> Move:
    return Move(Kind.HOLD, reason)


def _gone_back(case: Case) -> Move | None:
    """Pause on flags that went back in time: what was lost may have been a pause. Only a person confirms."""
    flags, newer = case.snapshot.flags, case.snapshot.newer
    if newer is None or same_flags(flags, safer(flags, newer)):
        return None
    return Move(Kind.PAUSE, Reason.CONFLICT)


def _flags_unreadable(case: Case) -> Move | None:
    """Hold on text that cannot be understood, and on a lost key that would otherwise read as 0 % or less."""
    flags = case.snapshot.flags
    lost = flags.missing and flags.enabled and not flags.paused
    return _hold(Reason.FLAGS_UNREADABLE) if flags.unreadable or lost else None


def _disabled(case: Case) -> Move | None:
    return None if case.snapshot.flags.enabled else _hold(Reason.DISABLED)


def _paused(case: Case) -> Move | None:
    return _hold(Reason.PAUSED) if case.snapshot.flags.paused else None


def _outage(case: Case) -> Move | None:
    for window in case.windows:
        if window.sends >= OUTAGE_SENDS and window.errors >= OUTAGE_SHARE * window.sends:
            return _stop(case, Reason.OUTAGE)
    return None


def _breach(case: Case) -> Move | None:
    """Stop on what is proven, also by windows of senders that lag behind or of metrics with a problem."""
    breached = [finding for finding in case.findings if finding.verdict is Verdict.BREACHED]
    if not breached:
        return None
    cause = max(breached, key=lambda finding: max(finding.evidence_for_breach, finding.late_evidence))
    return _stop(case, CAUSES[cause.slo])


def _harm_budget(case: Case) -> Move | None:
    budget = case.snapshot.feature.max_failed_sends_per_step
    over = budget is not None and case.state.step_errors > budget and not case.at_zero
    return _stop(case, Reason.HARM_BUDGET) if over else None


def _stop(case: Case, reason: Reason) -> Move:
    """Pause, or step back where the feature asks for it and the plan has a step below."""
    feature = case.snapshot.feature
    back = step_below(feature.steps, case.snapshot.flags.rollout_percent)
    steps_back = feature.on_breach == "step_back" and back is not None
    return Move(Kind.STEP_BACK if steps_back else Kind.PAUSE, reason)


def _metrics(case: Case) -> Move | None:
    """Hold on unusable metrics. At 0 % nothing is measured: only Prometheus and its rules must be there."""
    evidence = case.snapshot.evidence
    if evidence.problem is None:
        return None
    blocks = evidence.problem is Reason.METRICS_UNREACHABLE or evidence.rules_missing
    return None if case.at_zero and not blocks else _hold(evidence.problem)


def _complete(case: Case) -> Move | None:
    snapshot = case.snapshot
    at_the_end = snapshot.flags.rollout_percent >= snapshot.feature.steps[-1]
    return _hold(Reason.COMPLETE) if at_the_end else None


def _gate_not_converged(case: Case) -> Move | None:
    obeyed = case.snapshot.evidence.gate_revision
    lags = obeyed is not None and obeyed < case.snapshot.flags.revision and not case.at_zero
    return _hold(Reason.GATE_NOT_CONVERGED) if lags else None


def _frozen(case: Case) -> Move | None:
    return _hold(Reason.FROZEN) if case.snapshot.frozen else None


def _awaiting_approval(case: Case) -> Move | None:
    feature = case.snapshot.feature
    if not feature.approval_steps:
        return None
    step = step_above(feature.steps, case.snapshot.flags.rollout_percent) or 0.0
    waits = step in feature.approval_steps and step > case.state.approved_percent
    return _hold(Reason.AWAITING_APPROVAL) if waits else None


def _alert_firing(case: Case) -> Move | None:
    fires = case.snapshot.feature.hold_on_alert and case.snapshot.evidence.alerts
    return _hold(Reason.ALERT_FIRING) if fires else None


def _first_step(case: Case) -> Move | None:
    return Move(Kind.STEP_UP, Reason.FIRST_STEP) if case.at_zero else None


def _unproven(case: Case) -> Move | None:
    """Hold while any SLO is not proven met; say whether it is silence or only too little so far."""
    if all(finding.verdict is Verdict.MET for finding in case.findings):
        return None
    windows = case.snapshot.evidence.windows
    silent = windows and not any(window.sends > 0 for window in windows)
    return _hold(Reason.NO_TRAFFIC if silent else Reason.GATHERING_EVIDENCE)


def _baking(case: Case) -> Move | None:
    early = case.snapshot.now - case.state.step_started_at < case.snapshot.feature.bake_s
    return _hold(Reason.BAKING) if early else None


CHECKS: tuple[Check, ...] = (
    _gone_back,
    _flags_unreadable,
    _disabled,
    _paused,
    _outage,
    _breach,
    _harm_budget,
    _metrics,
    _complete,
    _gate_not_converged,
    _frozen,
    _awaiting_approval,
    _alert_firing,
    _first_step,
    _unproven,
    _baking,
)
"""In this order. Harm is asked before the state of the metrics: what is proven stays proven."""


def _carried_out(case: Case, move: Move) -> Decision:
    """Clamp the move to one step on the plan, and keep the books of what begins anew."""
    snapshot = case.snapshot
    flags = _flags_after(case, move)
    state = _state_after(case, move, flags)
    held_since = _held_since(snapshot, move)
    if state.held_since != held_since:
        state = replace(state, held_since=held_since)
    return Decision(kind=move.kind, reason=move.reason, flags=flags, state=state, findings=case.findings)


def _flags_after(case: Case, move: Move) -> Flags:
    flags, steps = case.snapshot.flags, case.snapshot.feature.steps
    if move.kind is Kind.PAUSE and case.snapshot.newer is not None:
        return safer(flags, case.snapshot.newer)
    if move.kind is Kind.PAUSE:
        return replace(flags, paused=True)
    if move.kind is Kind.STEP_UP:
        above = step_above(steps, flags.rollout_percent)
        return flags if above is None else replace(flags, rollout_percent=min(above, 100.0))
    if move.kind is Kind.STEP_BACK:
        below = step_below(steps, flags.rollout_percent)
        return flags if below is None else replace(flags, rollout_percent=max(below, 0.0))
    return flags


def _state_after(case: Case, move: Move, flags: Flags) -> State:
    snapshot, state = case.snapshot, case.state
    if move.kind is Kind.STEP_UP and case.at_zero:
        begun = begin_ramp(state, snapshot.feature, flags, snapshot.now, snapshot.config_hash)
    elif move.kind is Kind.STEP_UP:
        begun = begin_step(state, snapshot.feature, flags, snapshot.now)
    elif move.kind is Kind.STEP_BACK:
        begun = begin_anew(state, snapshot.feature, flags, snapshot.now)
    else:
        return state if state.flags is flags else replace(state, flags=flags)
    return placed(begun, snapshot.evidence)


def _held_since(snapshot: Snapshot, move: Move) -> float:
    """Since when nothing was done; 0 when something is done now."""
    if move.kind is not Kind.HOLD:
        return 0.0
    return snapshot.state.held_since or snapshot.now
