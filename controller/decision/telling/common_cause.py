"""A feature beside its reference, in words: whether a breach is of both, and which one fails more often."""

from math import log

from msgspec import UNSET

from controller.decision.feature import RolloutFeature
from controller.decision.judging.comparison import compared, comparison_needed
from controller.decision.model import Evidence, Reference, ReferenceWindow, Snapshot, State
from controller.decision.sequential.logarithms import log_mean, worth
from controller.decision.sequential.wallet import breach_rates

_CLEAR = log(20.0)
"""Evidence of a breach of the reference that is worth a word."""
_FEW = 20.0
"""With fewer sends nothing is said of it."""


def reference_of(feature: RolloutFeature, evidence: Evidence, *, compared: bool = False) -> Reference:
    """Return a feature as a reference: the sums of its newest windows, and these where it is `compared`."""
    sends = sum(window.sends for window in evidence.windows)
    errors = sum(min(window.errors, window.sends) for window in evidence.windows)
    windows = (
        tuple(ReferenceWindow(one.at, one.sends, min(one.errors, one.sends)) for one in evidence.windows)
        if compared and evidence.problem is None
        else UNSET
    )
    return Reference(feature.name, feature.slo_error_rate_threshold, sends, errors, windows)


def common_cause_text(snapshot: Snapshot) -> str:
    """Say after a breach whether it is only this feature; nothing where no reference is configured."""
    other = snapshot.reference
    if other is None:
        return ""
    seen = f"{other.errors:,.6g} of {other.sends:,.6g} sends failed"
    if relative_evidence(other) >= _CLEAR:
        return f" {other.name} is breached too ({seen}): a common cause is likely."
    if other.sends < _FEW:
        return f" Whether it is only this feature cannot be told: {other.name} had {other.sends:,.6g} sends."
    return f" Only this feature: of {other.name} {seen}."


def comparison_text(feature: RolloutFeature, state: State) -> str:
    """Say what the comparison with the reference has seen at this step; empty where there is none."""
    seen = compared(state, feature.reference, feature.delta)
    if not seen:
        return ""
    evidence, needed = seen.wallet.evidence(), comparison_needed(feature)
    proven = "proven to fail" if evidence >= needed else "not proven to fail"
    return (
        f"{proven} more than {seen.delta:g} x as often as {seen.reference}: {seen.bad:,.6g} of "
        f"{seen.sends:,.6g} sends failed, of {seen.reference} {seen.other_bad:,.6g} of "
        f"{seen.other_sends:,.6g} in the same windows; evidence (ln) {evidence:.2f} of {needed:.2f}"
    )


def relative_evidence(other: Reference) -> float:
    """Tell how much speaks for a breach of the reference in these windows: ln of the mean of the bets."""
    worths = [worth(rate, other.limit) for rate in breach_rates(other.limit)]
    return log_mean([other.errors * hit + (other.sends - other.errors) * miss for hit, miss in worths])
