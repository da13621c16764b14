"""Eventful worlds in which every recorded series of a feature has a value of its own."""

from collections.abc import Sequence
from dataclasses import replace

from controller.alertcheck.cases.provider_alerts import HOUR_S, strangers
from controller.alertcheck.cases.synthetic_series import Phase, Samples, traffic
from controller.decision.feature import RolloutFeature
from controller.rules.scale import Scale


def recorded_worlds(feature: RolloutFeature, scale: Scale) -> dict[str, Samples]:
    """Return one world with much traffic, one with so little that floors and guards show, and silence."""
    before = Phase(
        600, sends_per_s=1, gate_per_s={("open", "open"): 1}, refreshes_per_s={"ok": 1, "expired": 1}
    )
    silence = [before, replace(before, length_s=7 * HOUR_S, sends_per_s=0, gate_per_s={}, refreshes_per_s={})]
    return {
        "much traffic": _world(feature, scale, 1.0),
        "little traffic": _world(feature, scale, 0.01),
        "no traffic": _beside_strangers(feature, silence, scale),
    }


def _world(feature: RolloutFeature, scale: Scale, times: float) -> Samples:
    """Return a steady stretch that ends with bursts inside the shortest window.

    The bursts make each rate and ratio depend on its window's length: a wrong window gives a wrong value.
    """
    steady = Phase(
        0,
        sends_per_s=4,
        error_share=0.02,
        slow_share=0.01,
        very_slow_share=0.01,
        errors_per_s={("MS_AUTH_EXPIRED", "auth"): 0.01, ("INVALID_RECIPIENT", "caller"): 0.02},
        gate_per_s={("open", "open"): 3, ("closed", "percentage"): 5},
        refreshes_per_s={"ok": 0.1, "unavailable": 0.01, "expired": 0.005},
    )
    burst = replace(
        steady,
        sends_per_s=30,
        error_share=0.3,
        slow_share=0.2,
        barely_slow_share=0.05,
        very_slow_share=0.1,
        errors_per_s={
            ("MS_AUTH_EXPIRED", "auth"): 0.9,
            ("GM_AUTH_INVALID", "auth"): 0.3,
            ("MS_API_THROTTLED_429", "provider"): 0.7,
            ("MS_SEND_UNKNOWN", "provider"): 0.5,
            ("INVALID_RECIPIENT", "caller"): 1.1,
            ("ORPHAN_CID", "caller"): 0.2,
        },
        gate_per_s={("open", "open"): 30, ("closed", "percentage"): 7, ("closed", "paused"): 1},
        refreshes_per_s={"ok": 0.5, "unavailable": 0.3, "expired": 0.2},
    )
    phases = [
        replace(steady, length_s=7 * HOUR_S),
        replace(burst, length_s=60),
        replace(steady, length_s=90),
        replace(burst, length_s=30, error_share=0.6),
        replace(steady, length_s=60),
    ]
    return _beside_strangers(feature, [_scaled(phase, times) for phase in phases], scale)


def _beside_strangers(feature: RolloutFeature, phases: Sequence[Phase], scale: Scale) -> Samples:
    own = traffic(feature, phases, scale)
    return own + strangers(feature, scale)(max(len(one.values) for one in own.series))


def _scaled(phase: Phase, times: float) -> Phase:
    return replace(
        phase,
        sends_per_s=phase.sends_per_s * times,
        errors_per_s={key: per_s * times for key, per_s in phase.errors_per_s.items()},
        gate_per_s={key: per_s * times for key, per_s in phase.gate_per_s.items()},
        refreshes_per_s={key: per_s * times for key, per_s in phase.refreshes_per_s.items()},
    )
