"""One decision from one snapshot: guard, then policy, then clamp. No clock, no I/O, no chance.

The first of the checks that has an answer decides. All but the last few are the guard, which no policy can
overrule; a policy only says what the evidence is worth. So a wrong policy can at worst be too slow, and can
never step past the plan, up without fresh evidence, or up at all against a person's pause.
"""

from dataclasses import replace

from controller.contract import Flags
from controller.decision.causes import CONTROLLER, with_causes
from controller.decision.checks import CHECKS, LIVE_CHECKS, Assessment, Proposal
from controller.decision.judging.comparison import with_comparison
from controller.decision.judging.judge import feature_tests, tests_of
from controller.decision.judging.live import live_findings, with_seconds
from controller.decision.judging.policies import POLICIES
from controller.decision.model import LIVE, Cause, Decision, Finding, Kind, Reason, Snapshot, State
from controller.decision.ramp import (
    anchor_to_source_clock,
    apply_flag_changes,
    begin_ramp,
    begin_step,
    is_open,
    most_restrictive,
    reset_tests,
    step_above,
    step_below,
)
from controller.decision.telling.sentences import in_words


def decide(snapshot: Snapshot) -> Decision:
    """Decide one feature, with the reason in words and what is still needed."""
    case = assess(snapshot)
    findings = case.findings if snapshot.evidence.source == LIVE else _with_needed(case)
    return _with_cause(snapshot, in_words(snapshot, decide_bare(case), findings, case.state))


def _with_needed(case: Assessment) -> tuple[Finding, ...]:
    feature, percent = case.snapshot.feature, case.snapshot.flags.rollout_percent
    return case.tests.with_needed(case.findings, case.state, feature, percent)


def _with_cause(snapshot: Snapshot, decision: Decision) -> Decision:
    """Keep what pauses it, in words."""
    if decision.kind is not Kind.PAUSE:
        return decision
    cause = Cause(decision.reason, CONTROLLER, snapshot.now, decision.detail)
    return replace(decision, state=with_causes(decision.state, snapshot.flags, decision.flags, cause))


def assess(snapshot: Snapshot) -> Assessment:
    """Follow the flags, weigh the windows that still count, and let the policy judge."""
    if snapshot.evidence.source == LIVE:
        return _assess_live(snapshot)
    feature = snapshot.feature
    tests = tests_of(feature, snapshot.window_s, snapshot.form)
    state, counts = apply_flag_changes(snapshot)
    windows = snapshot.evidence.windows if counts and is_open(snapshot.flags) else ()
    state = with_comparison(snapshot, state, windows)
    state = tests.with_windows(state, windows, snapshot.evidence)
    judged = tests.judge(state, feature, snapshot.flags.rollout_percent)
    findings = POLICIES[feature.policy](judged, windows)
    return Assessment(snapshot, state, windows, findings, tests)


def _assess_live(snapshot: Snapshot) -> Assessment:
    """Weigh what the senders told; no policy judges it, and it moves nothing but the tests of live counts."""
    state, _ = apply_flag_changes(snapshot)
    windows = snapshot.evidence.windows if is_open(snapshot.flags) else ()
    state = replace(state, live=with_seconds(snapshot.feature, state.live, windows))
    findings = live_findings(snapshot.feature, state.live, windows)
    return Assessment(snapshot, state, windows, findings, feature_tests(snapshot.feature, snapshot.window_s))


def decide_bare(case: Assessment) -> Decision:
    """Decide without words: the first check that has an answer."""
    for check in LIVE_CHECKS if case.snapshot.evidence.source == LIVE else CHECKS:
        move = check(case)
        if move is not None:
            return _carried_out(case, move)
    return _carried_out(case, Proposal(Kind.STEP_UP, Reason.HEALTHY))


def rejected_write(snapshot: Snapshot, decision: Decision, reason: Reason) -> Decision:
    """Return what stands when a decision could not be written: a hold that changes nothing."""
    return Decision(
        kind=Kind.HOLD,
        reason=reason,
        flags=snapshot.flags,
        state=snapshot.state,
        findings=decision.findings,
        detail=f"{decision.kind} ({decision.reason}) was decided but not written: {reason}.",
    )


def _carried_out(case: Assessment, move: Proposal) -> Decision:
    """Clamp the move to one step on the plan, and keep the books of what starts again."""
    snapshot = case.snapshot
    flags = _flags_after(case, move)
    state = _state_after(case, move, flags)
    held_since = _held_since(snapshot, move)
    if state.held_since != held_since:
        state = replace(state, held_since=held_since)
    return Decision(kind=move.kind, reason=move.reason, flags=flags, state=state, findings=case.findings)


def _flags_after(case: Assessment, move: Proposal) -> Flags:
    flags, steps = case.snapshot.flags, case.snapshot.feature.steps
    if move.kind is Kind.PAUSE and case.snapshot.newer is not None:
        return most_restrictive(flags, case.snapshot.newer)
    if move.kind is Kind.PAUSE:
        return replace(flags, paused=True)
    if move.kind is Kind.STEP_UP:
        above = step_above(steps, flags.rollout_percent)
        return flags if above is None else replace(flags, rollout_percent=min(above, 100.0))
    if move.kind is Kind.STEP_BACK:
        below = step_below(steps, flags.rollout_percent)
        return flags if below is None else replace(flags, rollout_percent=max(below, 0.0))
    return flags


def _state_after(case: Assessment, move: Proposal, flags: Flags) -> State:
    snapshot, state = case.snapshot, case.state
    if move.kind is Kind.STEP_UP and case.at_zero:
        begun = begin_ramp(state, snapshot.feature, flags, snapshot.now, snapshot.config_hash)
    elif move.kind is Kind.STEP_UP:
        begun = begin_step(state, snapshot.feature, flags, snapshot.now)
    elif move.kind is Kind.STEP_BACK:
        left = (*state.stepped_back, snapshot.flags.rollout_percent)
        begun = reset_tests(replace(state, stepped_back=left), snapshot.feature, flags, snapshot.now)
    elif move.kind is Kind.PAUSE:
        return replace(state, flags=flags, approved_percent=0.0)
    else:
        return state if state.flags == flags else replace(state, flags=flags)
    return anchor_to_source_clock(begun, snapshot.evidence)


def _held_since(snapshot: Snapshot, move: Proposal) -> float:
    """Since when nothing was done; 0 when something is done now."""
    if move.kind is not Kind.HOLD:
        return 0.0
    return snapshot.state.held_since or snapshot.now
