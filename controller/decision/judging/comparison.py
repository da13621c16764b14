"""Whether a feature is proven worse than its reference: the hold that `delta` asks for. It pauses nothing.

It has an alpha of its own, as large as that of the pauses: over a whole ramp, the chance that a feature which
fails at most `delta` times as often as its reference is ever held for it is at most `alpha`.
"""

from dataclasses import replace
from math import log

from msgspec import UNSET, UnsetType

from controller.decision.feature import RolloutFeature
from controller.decision.model import Comparison, Snapshot, State, Window
from controller.decision.sequential.clusters import counted_once
from controller.decision.sequential.relative import relative_bets
from controller.decision.sequential.wallet import Wallet, capped, most_of_a_window

_KEPT = 2.0
"""Evidence is kept up to so many times what is needed, so that a hold ends when as much speaks against it."""


def comparison_needed(feature: RolloutFeature) -> float:
    """Return what evidence the hold needs, as a natural logarithm."""
    return log(1 / feature.alpha)


def is_worse(feature: RolloutFeature, state: State) -> bool:
    """Whether the feature is proven more than `delta` times as bad as its reference."""
    seen = compared(state, feature.reference, feature.delta)
    return seen is not UNSET and seen.wallet.evidence() >= comparison_needed(feature)


def compared(state: State, reference: str, delta: float | UnsetType) -> Comparison | UnsetType:
    """Return what was seen of this reference, where it says something of this `delta`.

    A failure more than three times as often is also one more than twice as often, but not the reverse.
    """
    seen = state.comparison
    return seen if seen and delta and seen.reference == reference and seen.delta >= delta else UNSET


def with_comparison(snapshot: Snapshot, state: State, windows: tuple[Window, ...]) -> State:
    """Compare new windows with the reference's of the same moments; `state` is from before them."""
    feature, reference = snapshot.feature, snapshot.reference
    if not feature.delta:
        return _dropped(state)
    if not (windows and reference and reference.windows) or snapshot.evidence.problem:
        return state
    seen = _begun(state, reference.name, feature.delta)
    own_effect = state.error_rate.clusters.effect_on_bets()
    cap = most_of_a_window(feature.alpha, snapshot.window_s, feature.blip_s)
    others = {other.at: other for other in reference.windows}
    for one in windows:
        if other := others.get(one.at):
            bad = counted_once(min(max(one.errors, 0.0), one.sends), one.failed_mailboxes)
            seen = _with_window(seen, (one.sends, bad), (other.sends, other.errors), own_effect, cap)
    most = _KEPT * comparison_needed(feature)
    held = tuple(capped(list(seen.wallet.bets), most)) if seen.wallet.bets else ()
    return replace(state, comparison=replace(seen, wallet=replace(seen.wallet, bets=held)))


def _begun(state: State, reference: str, delta: float) -> Comparison:
    """Go on, or begin where nothing was seen of this reference or only of a lower `delta`."""
    if seen := compared(state, reference, delta):
        return replace(seen, delta=delta)
    before = state.comparison
    return Comparison(reference, delta, before.wallet.emptied() if before else Wallet())


def _dropped(state: State) -> State:
    """Drop what was seen, where nothing is compared any more; what it cost stays spent in this ramp."""
    seen = state.comparison
    if not (seen and seen.wallet.bets):
        return state
    return replace(state, comparison=Comparison(seen.reference, seen.delta, seen.wallet.emptied()))


def _with_window(
    seen: Comparison, own: tuple[float, float], other: tuple[float, float], own_effect: float, cap: float
) -> Comparison:
    effect = max(own_effect, seen.clusters.effect_on_bets())
    bets = capped(relative_bets(own, other, seen.delta, effect), cap)
    return replace(
        seen,
        wallet=seen.wallet.with_bets(bets),
        clusters=seen.clusters.with_window(other[1], other[1], None),
        sends=seen.sends + own[0],
        bad=seen.bad + own[1],
        other_sends=seen.other_sends + other[0],
        other_bad=seen.other_bad + other[1],
    )
