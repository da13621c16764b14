"""Whether what breaches a feature breaches its reference too, in words. Nothing is decided by it."""

from math import log

from controller.decision.feature import RolloutFeature
from controller.decision.model import Evidence, Reference, Snapshot
from controller.decision.sequential.logarithms import log_mean, worth
from controller.decision.sequential.wallet import breach_rates

_CLEAR = log(20.0)
"""Evidence of a breach of the reference that is worth a word."""
_FEW = 20.0
"""With fewer sends nothing is said of it."""


def reference_of(feature: RolloutFeature, evidence: Evidence) -> Reference:
    """Return a feature as a reference: the sums of its newest windows."""
    sends = sum(window.sends for window in evidence.windows)
    errors = sum(min(window.errors, window.sends) for window in evidence.windows)
    return Reference(feature.name, feature.slo_error_rate_threshold, sends, errors)


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


def relative_evidence(other: Reference) -> float:
    """Tell how much speaks for a breach of the reference in these windows: ln of the mean of the bets."""
    worths = [worth(rate, other.limit) for rate in breach_rates(other.limit)]
    return log_mean([other.errors * hit + (other.sends - other.errors) * miss for hit, miss in worths])
