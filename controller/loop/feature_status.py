"""Where a feature stands: its flags, its plan and what was decided last, as `status` and the API tell it."""

from collections.abc import Mapping
from typing import Any

from controller.decision.model import RolloutFeature
from controller.decision.ramp import step_above
from controller.store.flag_store import Stored, read_state

_OF_DECISION = ("kind", "reason", "detail", "at", "id", "actor", "note", "more_sends", "more_s", "findings")


def feature_status(feature: RolloutFeature, stored: Stored, last: Mapping[str, Any]) -> dict[str, Any]:
    """Return where a feature stands. `last` is its newest record, empty before the first one.

    Times are unix seconds, rates are shares of 1.
    """
    flags = stored.flags
    return {
        "feature": feature.name,
        "name": feature.name,
        "provider": feature.provider,
        "action": feature.action,
        "enabled": flags.enabled,
        "internal_only": flags.internal_only,
        "rollout_percent": flags.rollout_percent,
        "paused": flags.paused,
        "revision": flags.revision,
        "unreadable": list(flags.unreadable),
        "missing": list(flags.missing),
        "steps": list(feature.steps),
        "next_percent": step_above(feature.steps, flags.rollout_percent),
        **_of_decision(last),
        "slo": {
            "error_rate": feature.slo_error_rate_threshold,
            "latency_p95_ms": feature.slo_latency_p95_ms,
        },
        "bake_s": feature.bake_s,
        "policy": feature.policy,
        "on_breach": feature.on_breach,
        "approval_steps": list(feature.approval_steps),
        "progress": _progress(stored),
    }


def _of_decision(last: Mapping[str, Any]) -> dict[str, Any]:
    if not last:
        return {**dict.fromkeys(_OF_DECISION), "kind": "", "reason": "", "detail": "no decision yet"}
    return {key: last.get(key) for key in _OF_DECISION}


def _progress(stored: Stored) -> dict[str, float]:
    """Return what has been counted at this step and over the ramp, and since when."""
    state, _ = read_state(stored)
    return {
        "ramp_started_at": state.ramp_started_at,
        "step_started_at": state.step_started_at,
        "held_since": state.held_since,
        "step_sends": state.step_sends,
        "step_errors": state.step_errors,
        "ramp_sends": state.ramp_sends,
        "ramp_errors": state.ramp_errors,
        "approved_percent": state.approved_percent,
    }
