"""The checks, in the order in which they are asked: the guard first, then what the policy says.

Each looks at a case and answers with a move or not at all. The first answer decides.
"""

from collections.abc import Callable
from dataclasses import dataclass

from controller.decision.judging.comparison import is_worse
from controller.decision.judging.live import is_outage
from controller.decision.judging.policies import Tests
from controller.decision.model import Finding, Kind, Reason, Slo, Snapshot, State, Verdict, Window
from controller.decision.ramp import bake_s_of, baked_s, most_restrictive, same_flags, step_above, step_below

CAUSES = {
    Slo.ERROR_RATE: Reason.SLO_ERROR_RATE,
    Slo.LATENCY: Reason.SLO_LATENCY,
    Slo.VERY_SLOW: Reason.SLO_VERY_SLOW,
}


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the checks look at: the snapshot, what its windows added up to, and what that says."""

    snapshot: Snapshot
    state: State
    """Followed up to now, the new windows in it."""
    windows: tuple[Window, ...]
    """The new windows that count."""
    findings: tuple[Finding, ...]
    tests: Tests

    @property
    def at_zero(self) -> bool:
        """Whether nobody is in."""
        return self.snapshot.flags.rollout_percent == 0


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one check decided."""

    kind: Kind
    reason: Reason


Check = Callable[[Assessment], Proposal | None]


def _hold(reason: Reason) -> Proposal:
    return Proposal(Kind.HOLD, reason)


def _gone_back(case: Assessment) -> Proposal | None:
    """Pause on flags that went back in time: what was lost may have been a pause. Only a person confirms."""
    flags, newer = case.snapshot.flags, case.snapshot.newer
    if newer is None or same_flags(flags, most_restrictive(flags, newer)):
        return None
    return Proposal(Kind.PAUSE, Reason.CONFLICT)


def _flags_unreadable(case: Assessment) -> Proposal | None:
    """Hold on text that cannot be understood, and on a lost key that would otherwise read as 0 % or less."""
    flags = case.snapshot.flags
    lost = flags.missing and flags.enabled and not flags.paused
    return _hold(Reason.FLAGS_UNREADABLE) if flags.unreadable or lost else None


def _disabled(case: Assessment) -> Proposal | None:
    """Hold while nobody is to be in."""
    return None if case.snapshot.flags.enabled else _hold(Reason.DISABLED)


def _paused(case: Assessment) -> Proposal | None:
    """Hold until a person resumes."""
    return _hold(Reason.PAUSED) if case.snapshot.flags.paused else None


def _stopped(case: Assessment) -> Proposal | None:
    """Hold at the 0 % that a person set, until a person begins the ramp again."""
    return _hold(Reason.STOPPED) if case.at_zero and case.state.stopped_by else None


def _outage(case: Assessment) -> Proposal | None:
    """Stop at once when half of many sends failed, for longer than a blip and of more than one mailbox."""
    outage = case.tests.is_outage(case.windows, case.snapshot.state.half_failed)
    return _stop(case, Reason.OUTAGE) if outage else None


def _live_outage(case: Assessment) -> Proposal | None:
    """Pause while the senders tell that most sends fail, for longer than a blip."""
    outage = is_outage(case.snapshot.feature, case.windows)
    return Proposal(Kind.PAUSE, Reason.OUTAGE) if outage else None


def _breach(case: Assessment) -> Proposal | None:
    """Stop on what is proven, also by windows of senders that lag behind or of metrics with a problem."""
    cause = _breached(case)
    return None if cause is None else _stop(case, CAUSES[cause])


def _live_breach(case: Assessment) -> Proposal | None:
    """Pause on what live counts prove, also where a step back is configured: that needs the lease."""
    cause = _breached(case)
    return None if cause is None else Proposal(Kind.PAUSE, CAUSES[cause])


def _breached(case: Assessment) -> Slo | None:
    breached = [finding for finding in case.findings if finding.verdict is Verdict.BREACHED]
    if not breached:
        return None
    return max(breached, key=lambda finding: max(finding.evidence_for_breach, finding.late_evidence)).slo


def _never_health(_: Assessment) -> Proposal:
    """Hold: live counts step nothing up."""
    return _hold(Reason.GATHERING_EVIDENCE)


def _harm_budget(case: Assessment) -> Proposal | None:
    """Pause when more sends failed at this step than the feature may cost; a person decides on more."""
    budget = case.snapshot.feature.max_failed_sends_per_step
    over = budget is not None and case.state.step_errors > budget and not case.at_zero
    return Proposal(Kind.PAUSE, Reason.HARM_BUDGET) if over else None


def _stop(case: Assessment, reason: Reason) -> Proposal:
    """Pause; or step back, once from each step, where the feature asks for it and a step is below."""
    feature, percent = case.snapshot.feature, case.snapshot.flags.rollout_percent
    first = percent not in case.state.stepped_back
    steps_back = feature.on_breach == "step_back" and first and step_below(feature.steps, percent) is not None
    return Proposal(Kind.STEP_BACK if steps_back else Kind.PAUSE, reason)


def _metrics(case: Assessment) -> Proposal | None:
    """Hold on unusable metrics. At 0 % nothing is measured: only Prometheus and its rules must be there."""
    evidence = case.snapshot.evidence
    if evidence.problem is None:
        return None
    blocks = evidence.problem is Reason.METRICS_UNREACHABLE or evidence.rules_missing
    return None if case.at_zero and not blocks else _hold(evidence.problem)


def _complete(case: Assessment) -> Proposal | None:
    """Hold at the end of the plan, where only harm is still asked about."""
    snapshot = case.snapshot
    at_the_end = snapshot.flags.rollout_percent >= snapshot.feature.steps[-1]
    return _hold(Reason.COMPLETE) if at_the_end else None


def _gate_not_converged(case: Assessment) -> Proposal | None:
    """Hold until every sender obeys the flags that were written last."""
    obeyed = case.snapshot.evidence.gate_revision
    lags = obeyed is not None and obeyed < case.snapshot.flags.revision and not case.at_zero
    return _hold(Reason.GATE_NOT_CONVERGED) if lags else None


def _frozen(case: Assessment) -> Proposal | None:
    """Hold while a freeze window is open."""
    return _hold(Reason.FROZEN) if case.snapshot.frozen else None


def _awaiting_approval(case: Assessment) -> Proposal | None:
    """Hold before a step that a person has to approve."""
    feature = case.snapshot.feature
    if not feature.approval_steps:
        return None
    step = step_above(feature.steps, case.snapshot.flags.rollout_percent) or 0.0
    waits = step in feature.approval_steps and step > case.state.approved_percent
    return _hold(Reason.AWAITING_APPROVAL) if waits else None


def _alert_firing(case: Assessment) -> Proposal | None:
    """Hold while an alert of this feature is pending or firing."""
    fires = case.snapshot.feature.hold_on_alert and case.snapshot.evidence.alerts
    return _hold(Reason.ALERT_FIRING) if fires else None


def _worse_than_reference(case: Assessment) -> Proposal | None:
    """Hold while it is proven to fail more than `delta` times as often as its reference, limit or not.

    At 0 % nothing could be seen that ends the hold, and a new ramp compares from scratch.
    """
    worse = not case.at_zero and is_worse(case.snapshot.feature, case.state)
    return _hold(Reason.WORSE_THAN_REFERENCE) if worse else None


def _first_step(case: Assessment) -> Proposal | None:
    """Leave 0 %, where nothing can be measured and nobody can be harmed."""
    return Proposal(Kind.STEP_UP, Reason.FIRST_STEP) if case.at_zero else None


def _unproven(case: Assessment) -> Proposal | None:
    """Hold while any SLO is not proven met; say whether it is silence or only too little so far."""
    if all(finding.verdict is Verdict.MET for finding in case.findings):
        return None
    windows = case.snapshot.evidence.windows
    silent = windows and not any(window.sends > 0 for window in windows)
    return _hold(Reason.NO_TRAFFIC if silent else Reason.GATHERING_EVIDENCE)


def _baking(case: Assessment) -> Proposal | None:
    """Hold until the step has lasted its bake time."""
    early = baked_s(case.snapshot.evidence, case.state) < bake_s_of(case.snapshot)
    return _hold(Reason.BAKING) if early else None


CHECKS: tuple[Check, ...] = (
    _gone_back,
    _flags_unreadable,
    _disabled,
    _paused,
    _stopped,
    _outage,
    _breach,
    _harm_budget,
    _metrics,
    _complete,
    _gate_not_converged,
    _frozen,
    _awaiting_approval,
    _alert_firing,
    _worse_than_reference,
    _first_step,
    _unproven,
    _baking,
)
"""In this order. Harm is asked before the state of the metrics: what is proven stays proven."""

LIVE_CHECKS: tuple[Check, ...] = (
    _flags_unreadable,
    _disabled,
    _paused,
    _stopped,
    _live_outage,
    _live_breach,
    _never_health,
)
"""The same of live counts, which can pause and nothing else."""
