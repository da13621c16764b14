"""Each reason of a decision in one sentence, without numbers."""

from controller.decision.model import Reason

REASONS: dict[Reason, str] = {
    Reason.DISABLED: "The feature is not enabled, so nobody is in it.",
    Reason.PAUSED: "The feature is paused; only a person resumes it.",
    Reason.STOPPED: "A person set it to 0 %; `resume` begins the ramp again.",
    Reason.COMPLETE: "The end of the plan is reached; the tests keep monitoring.",
    Reason.FIRST_STEP: "Nobody is in yet and nothing can be measured at 0 %, so the first step is taken.",
    Reason.HEALTHY: "Every SLO is proven met at this step and the bake time is over.",
    Reason.BAKING: "The SLOs are proven met, but the step's bake time is not over.",
    Reason.GATHERING_EVIDENCE: "Not enough sends yet to prove every SLO met.",
    Reason.NO_TRAFFIC: "No send was seen, and silence proves nothing.",
    Reason.METRICS_UNREACHABLE: "Prometheus did not give a usable answer in time.",
    Reason.METRICS_STALE: "The newest sample is too old to stand for now.",
    Reason.METRICS_INCOMPLETE: "A rule, a sender or a series that the decision needs is missing.",
    Reason.GATE_NOT_CONVERGED: "Not every sender obeys the newest flags yet.",
    Reason.FROZEN: "A freeze window is open.",
    Reason.AWAITING_APPROVAL: "The next step needs a person's approval.",
    Reason.ALERT_FIRING: "An alert of this feature is pending or firing.",
    Reason.WORSE_THAN_REFERENCE: "It is proven to fail more often than its reference, by more than `delta`.",
    Reason.SLO_ERROR_RATE: "The error rate is proven above its limit.",
    Reason.SLO_LATENCY: "The share of slow sends is proven above its limit.",
    Reason.SLO_VERY_SLOW: "The share of sends slower than 4 x the p95 limit is proven above its limit.",
    Reason.OUTAGE: "At least half of the sends of one tick failed.",
    Reason.HARM_BUDGET: "More sends failed at this step than its harm budget allows.",
    Reason.FLAGS_UNREADABLE: "A flag holds a text that cannot be understood, so it is read as closed.",
    Reason.CONFLICT: "The flags were not as they were left: changed while deciding, or gone back in time.",
    Reason.NOT_LEADER: "The right to act was lost: another controller holds it, or the tick took too long.",
    Reason.MANUAL: "A person did it.",
}
