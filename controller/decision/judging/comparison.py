"""Whether a feature is proven worse than its reference: the hold that `delta` asks for. It pauses nothing.

It has an alpha of its own, as large as that of the pauses: over a whole ramp, the chance that a feature which
fails at most `delta` times as often as its reference is ever held for it is at most `alpha`.
"""

from dataclasses import replace
from math import log

from msgspec import UNSET, UnsetType

from controller.decision.feature import RolloutFeature
from controller.decision.model import Comparison, Reference, Snapshot, State, Window
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
    seen = state.comparison
    if not (feature.delta and seen):
        return False
    return seen.wallet.evidence() >= comparison_needed(feature)


def with_comparison(snapshot: Snapshot, state: State, windows: tuple[Window, ...]) -> State:
    """Compare new windows with the reference's of the same moments; `state` is from before them."""
    feature, reference = snapshot.feature, snapshot.reference
    if not feature.delta:
        return replace(state, comparison=UNSET) if state.comparison else state
    if not (windows and reference and reference.windows) or snapshot.evidence.problem:
        return state
    seen = _begun(state.comparison, reference, feature.delta)
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


def _begun(seen: Comparison | UnsetType, reference: Reference, delta: float) -> Comparison:
    """Go on, or begin where there is none or one with another feature or another `delta`."""
    if seen and (seen.reference, seen.delta) == (reference.name, delta):
        return seen
    return Comparison(reference.name, delta, wallet=seen.wallet.emptied() if seen else Wallet())


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
