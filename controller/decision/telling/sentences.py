"""A decision in words, with this moment's numbers."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from controller.contract import FLAG_NAMES, Flags, format_percent
from controller.decision.causes import cause_text
from controller.decision.judging.live import outage_windows
from controller.decision.judging.live_late import LOOK_S
from controller.decision.model import (
    LIVE,
    Decision,
    Finding,
    Kind,
    Reason,
    Slo,
    Snapshot,
    State,
    Verdict,
)
from controller.decision.ramp import bake_s_of, baked_s, step_above
from controller.decision.telling.common_cause import common_cause_text, comparison_text
from controller.decision.telling.reasons import REASONS

_HAPPENED = {
    Slo.ERROR_RATE: "failed",
    Slo.LATENCY: "were too slow",
    Slo.VERY_SLOW: "took over 4 x the p95 limit",
}
_BAD_SENDS = {Slo.ERROR_RATE: "failures", Slo.LATENCY: "slow sends", Slo.VERY_SLOW: "very slow sends"}
CLUSTERED = 1.5
"""From this design effect on the hold says that clusters are reckoned with."""
_MOST_SENDS = 1e12
_LONGEST_S = 100 * 365 * 86_400.0
"""What takes more sends, or longer, is never reached; so the figures stay finite, as JSON wants them."""


@dataclass(frozen=True, slots=True)
class Telling:
    """What the words may speak of: the state is the one with the new windows in it."""

    snapshot: Snapshot
    decision: Decision
    findings: tuple[Finding, ...]
    state: State
    more_sends: float | None
    more_s: float | None


def in_words(snapshot: Snapshot, decision: Decision, findings: tuple[Finding, ...], state: State) -> Decision:
    """Add the findings, the reason in words, and what is still needed until the next step."""
    more_sends, more_s = _still_needed(snapshot, decision.reason, findings, state)
    telling = Telling(snapshot, decision, findings, state, more_sends, more_s)
    detail = _WORDS.get(decision.reason, _plainly)(telling)
    return Decision(
        decision.kind, decision.reason, decision.flags, decision.state, findings, detail, more_sends, more_s
    )


def _still_needed(
    snapshot: Snapshot, reason: Reason, findings: tuple[Finding, ...], state: State
) -> tuple[float | None, float | None]:
    """Return (sends, seconds) until the next step, each None where it does not apply or cannot be told."""
    if reason not in {Reason.GATHERING_EVIDENCE, Reason.NO_TRAFFIC, Reason.BAKING}:
        return None, None
    bake_s = max(bake_s_of(snapshot) - baked_s(snapshot.evidence, state), 0.0)
    if reason is Reason.BAKING:
        return 0.0, bake_s
    waits = [finding.needed for finding in findings if finding.verdict is not Verdict.MET]
    if any(wait is None for wait in waits):
        return None, None
    more = max((wait or 0.0 for wait in waits), default=0.0)
    if more > _MOST_SENDS:
        return None, None
    rate = sends_per_s(snapshot, state)
    return more, max(more / rate, bake_s) if more < rate * _LONGEST_S else None


def sends_per_s(snapshot: Snapshot, state: State) -> float:
    """Return the rate of sends at this step, 0 while it cannot be told."""
    measured_s = snapshot.evidence.judged_to - state.counted_from
    return state.step_sends / measured_s if measured_s > 0 else 0.0


def duration_text(seconds: float) -> str:
    """Write a length of time as a person says it: two figures and one unit."""
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{_two_figures(seconds / length_s)} {unit}"
    return f"{seconds:.0f} s"


def _two_figures(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0") if number < 10 else f"{number:.0f}"


def count_text(number: float) -> str:
    """Write a count that may have decimals."""
    return f"{number:,.1f}".removesuffix(".0")


def share_text(share: float) -> str:
    """Write a share of 1 in per cent."""
    return f"{share * 100:.3g} %"


def finding_text(finding: Finding) -> str:
    """Write what was seen of one SLO, such as `31 of 312 sends failed (9.94 %, limit 1 %)`."""
    seen = f"{count_text(finding.k)} of {count_text(finding.n)} sends {_HAPPENED[finding.slo]}"
    rate = f"{share_text(finding.k / finding.n)}, " if finding.n > 0 else ""
    return f"{seen} ({rate}limit {share_text(finding.limit)})"


def _plainly(telling: Telling) -> str:
    return REASONS[telling.decision.reason]


def audience_text(percent: float, *, internal_only: bool) -> str:
    """Write who is in at a percentage, as in `10 %`, or `10 % of internal mail`."""
    return f"{format_percent(percent)} %{' of internal mail' if internal_only else ''}"


def _percent(telling: Telling) -> str:
    flags = telling.snapshot.flags
    return audience_text(flags.rollout_percent, internal_only=flags.internal_only)


def _next(telling: Telling) -> str:
    flags = telling.snapshot.flags
    above = step_above(telling.snapshot.feature.steps, flags.rollout_percent)
    return audience_text(above or 100.0, internal_only=flags.internal_only)


def _flags_unreadable(telling: Telling) -> str:
    flags = telling.snapshot.flags
    unknown = [f"{name} holds a text that is not understood" for name in flags.unreadable]
    lost = [f"{name} is missing" for name in flags.missing]
    return f"{' and '.join(unknown + lost)}: read as closed. Set it again by hand."


def _gone_back(telling: Telling) -> str:
    read, newer = telling.snapshot.flags, telling.snapshot.newer or telling.snapshot.flags
    return (
        f"The flags went back from revision {newer.revision} to {read.revision}, so writes were lost. "
        f"The safer of the two, paused at {format_percent(telling.decision.flags.rollout_percent)} %, "
        "holds until a person resumes."
    )


def _disabled(telling: Telling) -> str:
    gone = telling.snapshot.flags.missing == FLAG_NAMES
    return "The flags do not exist yet, so nobody is in." if gone else REASONS[Reason.DISABLED]


def _paused(telling: Telling) -> str:
    by = telling.state.paused_by
    why = f" By {cause_text(by)}." if by else ""
    return f"{paused_text(telling.snapshot.flags)}; only a person resumes it.{why}"


def paused_text(flags: Flags) -> str:
    """Say that nobody is in, and who would be."""
    at = audience_text(flags.rollout_percent, internal_only=flags.internal_only)
    return f"Paused: nobody is in ({at} when resumed)"


def _stopped(telling: Telling) -> str:
    by = telling.state.stopped_by
    return f"{REASONS[Reason.STOPPED]}{f' By {cause_text(by)}.' if by else ''}"


def _metrics(telling: Telling) -> str:
    said, detail = REASONS[telling.decision.reason], telling.snapshot.evidence.detail
    return f"{said.removesuffix('.')}: {detail}." if detail else said


def _complete(telling: Telling) -> str:
    end = telling.snapshot.feature.steps[-1]
    if telling.snapshot.flags.rollout_percent > end:
        return (
            f"At {_percent(telling)}, above the end of the plan, {format_percent(end)} %; "
            "nothing steps it down. The tests keep monitoring."
        )
    return f"At {_percent(telling)}, the end of the plan; the tests keep monitoring."


def _first_step(telling: Telling) -> str:
    return f"Nobody is in yet and nothing can be measured at 0 %: to {_next(telling)}."


def _healthy(telling: Telling) -> str:
    seen = "; ".join(finding_text(finding) for finding in telling.findings)
    return f"Proven healthy at {_percent(telling)}: {seen}. To {_next(telling)}."


def _baking(telling: Telling) -> str:
    left = duration_text(telling.more_s or 0.0)
    return f"Proven healthy at {_percent(telling)}; the bake time is over in {left}."


def _gathering(telling: Telling) -> str:
    if telling.snapshot.evidence.source == LIVE:
        return "Live counts prove no harm, and never health."
    unproven = [finding for finding in telling.findings if finding.verdict is not Verdict.MET]
    seen = "; ".join(_unproven_text(finding) for finding in unproven)
    if telling.more_sends is None:
        return f"At the rate seen so far health would never be proven: {seen}."
    about = f"about {max(telling.more_sends, 1):,.0f} more sends"
    if telling.more_s is None:
        return f"{about} to go; {seen}.".capitalize()
    return f"{about}, about {duration_text(telling.more_s)} at this rate; {seen}.".capitalize()


def _unproven_text(finding: Finding) -> str:
    if finding.effect < CLUSTERED:
        return finding_text(finding)
    what = _BAD_SENDS[finding.slo]
    clusters = f"reckoned with {what} in groups of about {finding.effect:.2g}, so more sends are asked for"
    return f"{finding_text(finding)}, {clusters}"


def _no_traffic(telling: Telling) -> str:
    needed = f" About {telling.more_sends:,.0f} more sends are needed." if telling.more_sends else ""
    return f"No send was seen at {_percent(telling)}, and silence proves nothing.{needed}"


def _gate_not_converged(telling: Telling) -> str:
    obeyed, newest = telling.snapshot.evidence.gate_revision, telling.snapshot.flags.revision
    return f"A sender still obeys revision {obeyed} of the flags; the newest is {newest}."


def _frozen(telling: Telling) -> str:
    return f"Freeze window {telling.snapshot.frozen!r} is open."


def _awaiting_approval(telling: Telling) -> str:
    return f"{_next(telling)} needs a person: rollout approve {telling.snapshot.feature.name}."


def _alert_firing(telling: Telling) -> str:
    return f"Pending or firing: {', '.join(telling.snapshot.evidence.alerts)}."


def _worse_than_reference(telling: Telling) -> str:
    seen = comparison_text(telling.snapshot.feature, telling.state)
    return (
        f"No step up: {seen}. It ends when new sends of both say otherwise, or a person pauses and resumes."
    )


def _breach(telling: Telling) -> str:
    seen = [finding for finding in telling.findings if finding.verdict is Verdict.BREACHED]
    live = "Seen live: " if telling.snapshot.evidence.source == LIVE else ""
    said = "; ".join(_breach_text(telling, finding) for finding in seen)
    return f"{live}{said}.{common_cause_text(telling.snapshot)}{_done(telling)}"


def _breach_text(telling: Telling, finding: Finding) -> str:
    """Say what was proven: a breach at this step, a late change, or only what the newest window shows."""
    if finding.evidence_for_breach >= finding.breach_needed:
        return f"Proven breached: {finding_text(finding)}"
    if not telling.snapshot.evidence.windows:
        return f"Proven breached before this tick: {finding_text(finding)}"
    if telling.snapshot.evidence.source == LIVE:
        windows = telling.snapshot.evidence.windows
        seconds = windows[-1].at - windows[0].at + LOOK_S
        return f"Proven to have changed for the worse: in the last {seconds:.0f} s {finding_text(finding)}"
    newest = _newest(telling.snapshot, finding)
    if finding.late_evidence >= finding.late_needed:
        return f"Proven to have changed for the worse: in the newest window {newest}"
    return f"In the newest window {newest}"


def _newest(snapshot: Snapshot, finding: Finding) -> str:
    window = snapshot.evidence.windows[-1]
    counted = {
        Slo.ERROR_RATE: (window.sends, window.errors),
        Slo.LATENCY: (window.timed, window.slow),
        Slo.VERY_SLOW: (window.timed, window.very_slow or 0.0),
    }
    n, k = counted[finding.slo]
    return finding_text(replace(finding, n=n, k=k))


def _outage(telling: Telling) -> str:
    if telling.snapshot.evidence.source == LIVE:
        return _live_outage(telling)
    worst = max(telling.snapshot.evidence.windows, key=lambda window: window.errors)
    seen = f"{count_text(worst.errors)} of {count_text(worst.sends)} sends"
    before = ", and at least half in the window before" if telling.state.half_failed > 1 else ""
    return (
        f"Outage: {seen} failed in one window{before}.{common_cause_text(telling.snapshot)}{_done(telling)}"
    )


def _live_outage(telling: Telling) -> str:
    seen = outage_windows(telling.snapshot.feature, telling.snapshot.evidence.windows)
    failed, sends = sum(one.errors for one in seen), sum(one.sends for one in seen)
    return (
        f"Outage, seen live: {count_text(failed)} of {count_text(sends)} sends failed in the last "
        f"{len(seen)} s.{common_cause_text(telling.snapshot)}{_done(telling)}"
    )


def _harm_budget(telling: Telling) -> str:
    failed = count_text(telling.state.step_errors)
    budget = telling.snapshot.feature.max_failed_sends_per_step
    return f"{failed} sends failed at this step, its budget is {budget}.{_done(telling)}"


def _done(telling: Telling) -> str:
    flags = telling.decision.flags
    after = audience_text(flags.rollout_percent, internal_only=flags.internal_only)
    if telling.decision.kind is Kind.STEP_BACK:
        return f" Back to {after}."
    again = flags.rollout_percent in telling.state.stepped_back
    return f" {'The second breach of this step in this ramp: paused' if again else 'Paused'} at {after}."


_WORDS: dict[Reason, Callable[[Telling], str]] = {
    Reason.CONFLICT: _gone_back,
    Reason.FLAGS_UNREADABLE: _flags_unreadable,
    Reason.DISABLED: _disabled,
    Reason.PAUSED: _paused,
    Reason.STOPPED: _stopped,
    Reason.METRICS_UNREACHABLE: _metrics,
    Reason.METRICS_STALE: _metrics,
    Reason.METRICS_INCOMPLETE: _metrics,
    Reason.COMPLETE: _complete,
    Reason.FIRST_STEP: _first_step,
    Reason.HEALTHY: _healthy,
    Reason.BAKING: _baking,
    Reason.GATHERING_EVIDENCE: _gathering,
    Reason.NO_TRAFFIC: _no_traffic,
    Reason.GATE_NOT_CONVERGED: _gate_not_converged,
    Reason.FROZEN: _frozen,
    Reason.AWAITING_APPROVAL: _awaiting_approval,
    Reason.ALERT_FIRING: _alert_firing,
    Reason.WORSE_THAN_REFERENCE: _worse_than_reference,
    Reason.SLO_ERROR_RATE: _breach,
    Reason.SLO_LATENCY: _breach,
    Reason.SLO_VERY_SLOW: _breach,
    Reason.OUTAGE: _outage,
    Reason.HARM_BUDGET: _harm_budget,
}
