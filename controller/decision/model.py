"""The values that decisions are made of and made into: frozen, typed, times as unix seconds.

Every word here is one of the field's own. A time is a number that arrives from outside;
nothing below `controller/decision` reads a clock.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from msgspec import UNSET, UnsetType

from controller.contract import CLOSED, Flags
from controller.decision.feature import RolloutFeature
from controller.decision.sequential.clusters import Clusters, Health
from controller.decision.sequential.wallet import Wallet

FIRST_FORM, FORM = 1, 4
"""Of the mathematics: of the records that name none, and of those that are written now."""


class Kind(StrEnum):
    """What a record says was done."""

    HOLD = "hold"
    STEP_UP = "step_up"
    PAUSE = "pause"
    STEP_BACK = "step_back"
    EXTERNAL_CHANGE = "external_change"
    RESUME = "resume"
    SET = "set"
    ENABLE = "enable"
    DISABLE = "disable"
    APPROVE = "approve"
    OPEN = "open"
    CLOSE = "close"


class Reason(StrEnum):
    """Why it was done. The list is closed; `telling.reasons.REASONS` has the sentence for each."""

    DISABLED = "disabled"
    PAUSED = "paused"
    STOPPED = "stopped"
    COMPLETE = "complete"
    FIRST_STEP = "first_step"
    HEALTHY = "healthy"
    BAKING = "baking"
    GATHERING_EVIDENCE = "gathering_evidence"
    NO_TRAFFIC = "no_traffic"
    METRICS_UNREACHABLE = "metrics_unreachable"
    METRICS_STALE = "metrics_stale"
    METRICS_INCOMPLETE = "metrics_incomplete"
    GATE_NOT_CONVERGED = "gate_not_converged"
    FROZEN = "frozen"
    AWAITING_APPROVAL = "awaiting_approval"
    ALERT_FIRING = "alert_firing"
    WORSE_THAN_REFERENCE = "worse_than_reference"
    SLO_ERROR_RATE = "slo_error_rate"
    SLO_LATENCY = "slo_latency"
    SLO_VERY_SLOW = "slo_very_slow"
    OUTAGE = "outage"
    HARM_BUDGET = "harm_budget"
    FLAGS_UNREADABLE = "flags_unreadable"
    CONFLICT = "conflict"
    NOT_LEADER = "not_leader"
    MANUAL = "manual"


METRICS_PROBLEMS = frozenset({Reason.METRICS_UNREACHABLE, Reason.METRICS_STALE, Reason.METRICS_INCOMPLETE})

AT_REST = frozenset({Reason.DISABLED, Reason.STOPPED, Reason.COMPLETE})
"""Holds that may last: nothing is waited for."""


class Verdict(StrEnum):
    """What the evidence says of one SLO."""

    MET = "met"
    BREACHED = "breached"
    UNKNOWN = "unknown"


class Slo(StrEnum):
    """The SLOs of a feature; the last one only where it is configured."""

    ERROR_RATE = "error_rate"
    LATENCY = "latency"
    VERY_SLOW = "very_slow"


SLOW_SHARE_LIMIT = 0.05
"""p95 <= L says the same as: at most 5 % of the sends are slower than L."""


@dataclass(frozen=True, slots=True)
class Window:
    """Counts of one stretch of time that no other window shares; `at` is its end on the source's clock."""

    at: float
    sends: float
    errors: float
    timed: float
    """Sends that have a latency: the n of the latency SLO."""
    slow: float
    converged: bool = True
    """Every sender obeyed the current flags when the window began: only then it may prove health."""
    failed_mailboxes: float | None = None
    """How many mailboxes a failure hit in it, at most; None where nobody tells."""
    very_slow: float | UnsetType = UNSET
    """Timed sends slower than four times the limit; not there where they are not judged."""


PROMETHEUS, LIVE = "prometheus", "live"
"""Where evidence comes from."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured for one feature since the last judged instant, and how fresh that is.

    With a `problem` (one of METRICS_PROBLEMS) the windows may prove harm, never health.
    """

    now: float
    """The metric source's own clock, so that a wrong clock here makes nothing fresh or stale."""
    windows: tuple[Window, ...] = ()
    judged_to: float = 0.0
    """The end of the newest window that exists; the next decision starts behind it."""
    unmeasured_s: float = 0.0
    """How much further the source's clock went since the last judged instant than its windows tell of:
    nothing was recorded for so long, or the clock was set. Negative where it was set back."""
    problem: Reason | None = None
    detail: str = ""
    """The problem in words, with names and numbers."""
    sample_age_s: float | None = None
    """Age of the newest recorded sample."""
    input_age_s: float | None = None
    """Age of the oldest sender's last scrape."""
    targets: int = 0
    targets_down: tuple[str, ...] = ()
    gate_revision: int | None = None
    """The lowest revision that any sender obeys; None where senders do not export it."""
    left_out_sends: float = 0.0
    """Sends of windows that began before the newest change of the flags."""
    alerts: tuple[str, ...] = ()
    """Names of this feature's alerts that are pending or firing."""
    rules_missing: tuple[str, ...] = ()
    """Recorded series without a loaded, healthy rule; the first step, too, waits for them."""
    source: str = PROMETHEUS
    """`prometheus`, or `live`: the counts that the senders tell second by second, on the leader's own clock.
    Those may prove harm, never health."""


@dataclass(frozen=True, slots=True)
class SloState:
    """What the tests of one SLO have added up."""

    wallet: Wallet = field(default_factory=Wallet)
    """The breach test, over the whole ramp."""
    late: tuple[float, ...] = ()
    """The late-change test: natural logarithms, one for each rate that it bets on."""
    health: Health = field(default_factory=Health)
    """The health test of this step."""
    clusters: Clusters = field(default_factory=Clusters)
    sends: float = 0.0
    bad: float = 0.0
    """Counts of this step."""


@dataclass(frozen=True, slots=True)
class LiveTest:
    """What the test of live counts of one SLO has added up; `busiest` is the most sends of one second."""

    evidence: float = 0.0
    """How much speaks for a rate above the limit, a natural logarithm."""
    sends: float = 0.0
    bad: float = 0.0
    busiest: float = 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the comparison with the reference has added up; the counts are of this step."""

    reference: str
    delta: float
    wallet: Wallet = field(default_factory=Wallet)
    clusters: Clusters = field(default_factory=Clusters)
    """Of the reference."""
    sends: float = 0.0
    bad: float = 0.0
    other_sends: float = 0.0
    other_bad: float = 0.0


@dataclass(frozen=True, slots=True)
class LiveState:
    """What the tests of live counts have added up since the tests began last."""

    starts: int = 0
    """How often tests began in this ramp; each start has its share of alpha."""
    begun_at: float = 0.0
    """When the leader saw this start, on its clock; 0 where it came later: then nothing is tested."""
    judged_to: float = 0.0
    error_rate: LiveTest = LiveTest()
    latency: LiveTest = LiveTest()


@dataclass(frozen=True, slots=True)
class Cause:
    """What stopped a feature first: `controller`, `outside` or a person, when, and why in words."""

    reason: Reason
    actor: str
    at: float
    detail: str
    """What was measured or changed."""
    note: str = ""
    """The reason that a person gave."""


@dataclass(frozen=True, slots=True)
class State:
    """What the next decision needs of the past; it lives beside the flags and is written with them."""

    config_hash: str = ""
    ramp_started_at: float = 0.0
    step_started_at: float = 0.0
    """On our clock: for people to read."""
    counted_from: float = 0.0
    """On the source's clock, and moved with it where it is set: the bake time counts from here, and windows
    that began earlier are left out."""
    judged_to: float = 0.0
    """On the source's clock: windows up to here are already in the tests."""
    held_since: float = 0.0
    flags: Flags = CLOSED
    """The flags as this product last saw or wrote them; another value now is an external change."""
    error_rate: SloState = field(default_factory=SloState)
    latency: SloState = field(default_factory=SloState)
    step_sends: float = 0.0
    step_errors: float = 0.0
    ramp_sends: float = 0.0
    ramp_errors: float = 0.0
    approved_percent: float = 0.0
    """The highest step that a person approved."""
    tests_started: int = 0
    """Tests begun in this ramp, steps and resumes; each stakes a part of the wallet."""
    alpha_spent: float = 0.0
    """What the tests may have spent of alpha so far; never more than alpha in one ramp."""
    half_failed: int = 0
    """Newest windows, one after the other, of which at least half failed."""
    previous_config_hash: str = ""
    unplaced: bool = False
    """The tests were reset, but `counted_from` is not yet known on the source's clock: no window counts."""
    paused_by: Cause | None = None
    """The first cause of the present pause; None while it is not paused, or where nobody saw how it began."""
    stopped_by: Cause | None = None
    """Who set the percentage to 0, which stays until a person begins the ramp again; None otherwise."""
    stepped_back: tuple[float, ...] = ()
    """Steps of this ramp that were left by a step back: a second breach there pauses."""
    live: LiveState = LiveState()
    """Of live counts; a controller that looks at them keeps the newest in memory."""
    very_slow: SloState | UnsetType = UNSET
    """Not there, nor in a record, where no limit of very slow sends is configured."""
    comparison: Comparison | UnsetType = UNSET
    """With the reference; not there, nor in a record, where no `delta` is configured."""


@dataclass(frozen=True, slots=True)
class ReferenceWindow:
    """What the reference counted in one window."""

    at: float
    sends: float
    errors: float


@dataclass(frozen=True, slots=True)
class Reference:
    """Another feature, beside which this one is reported: what its newest windows counted."""

    name: str
    limit: float
    """Its limit of the share of failed sends."""
    sends: float
    errors: float
    windows: tuple[ReferenceWindow, ...] | UnsetType = UNSET
    """The windows behind these sums; only where `delta` asks for a comparison and nothing is doubtful."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one decision may see."""

    now: float
    feature: RolloutFeature
    flags: Flags
    evidence: Evidence
    state: State
    config_hash: str
    window_s: float
    """Length of one window of evidence."""
    frozen: str = ""
    """Name of the freeze window that is open, worked out before."""
    newer: Flags | None = None
    """The flags as they were last known, where those read are of an earlier revision: writes were lost."""
    reference: Reference | None = None
    """The feature that `reference` names, as it was measured in the same windows."""
    form: int = FORM
    """The form of the mathematics: older records are decided again by that of their time."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the evidence says of one SLO at this step, with the numbers that say it.

    Evidence is given as natural logarithms; it suffices where it reaches its `*_needed`.
    """

    slo: Slo
    verdict: Verdict
    n: float
    k: float
    limit: float
    evidence_for_breach: float
    evidence_for_health: float
    breach_needed: float
    health_needed: float
    late_evidence: float
    late_needed: float
    needed: float | None
    """About how many more sends prove health at the rate seen so far; None when they never would."""
    effect: float = 1.0
    """The design effect of health: bad sends are reckoned to come in groups of about so many."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done, why, and what the next decision needs."""

    kind: Kind
    reason: Reason
    flags: Flags
    """The flags after the decision."""
    state: State
    findings: tuple[Finding, ...] = ()
    detail: str = ""
    """The reason in words, with this moment's numbers."""
    more_sends: float | None = None
    more_s: float | None = None
