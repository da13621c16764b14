"""Where a feature is: its flags, its plan, what was decided last, and what a person on call asks first."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from controller.config.command_line import command_line
from controller.config.settings import ControllerSettings
from controller.decision.codec import encode
from controller.decision.feature import RolloutFeature
from controller.decision.model import State
from controller.decision.ramp import is_open, step_above
from controller.decision.telling.headline import Stage, headline, stage_of
from controller.decision.telling.sentences import audience_text
from controller.loop.harm import harm
from controller.loop.next_steps import CommandLine, next_steps
from controller.store.flag_store import Stored, read_state
from controller.store.live_sight import LiveSight, sight_status

_OF_DECISION = ("kind", "reason", "detail", "at", "id", "actor", "note", "more_sends", "more_s", "findings")


@dataclass(frozen=True, slots=True)
class StatusContext:
    """What a status needs beside the feature."""

    now: float
    fresh_s: float
    """A newest decision that is older says nothing about now."""
    line: CommandLine
    live: Mapping[str, LiveSight] = field(default_factory=dict)
    """What the leader tells of live counts."""


def status_context(
    settings: ControllerSettings, now: float, live: Mapping[str, LiveSight] | None = None
) -> StatusContext:
    """Return what a status needs of these settings; `now` is unix seconds."""
    return StatusContext(now, 3 * settings.interval_s + 5, partial(command_line, settings), live or {})


def feature_status(
    feature: RolloutFeature, stored: Stored, last: Mapping[str, Any], context: StatusContext
) -> dict[str, Any]:
    """Return where a feature is. `last` is its newest record, empty before the first one.

    Times are unix seconds, rates are shares of 1.
    """
    flags, (state, _) = stored.flags, read_state(stored)
    reason = str(last.get("reason", ""))
    stage = stage_of(feature, flags, stopped=state.stopped_by is not None, reason=reason)
    hurt = harm(flags, last, now=context.now, fresh_s=context.fresh_s)
    return {
        "feature": feature.name,
        "stage": stage.value,
        "headline": headline(feature, flags, stage, str(last.get("kind", ""))),
        "audience": audience_text(flags.rollout_percent, internal_only=flags.internal_only),
        "harm": {"now": hurt.now, "text": hurt.text},
        "live": sight_status(context.live.get(feature.name)),
        "paused_by": encode(state.paused_by),
        "stopped_by": encode(state.stopped_by),
        "next_steps": [one._asdict() for one in next_steps(feature, flags, stage, reason, context.line)],
        "links": encode(feature.links),
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
            "very_slow": feature.slo_very_slow_threshold or None,
        },
        "bake_s": feature.bake_s_at(flags.rollout_percent),
        "policy": feature.policy,
        "on_breach": feature.on_breach,
        "approval_steps": list(feature.approval_steps),
        "progress": _progress(state),
    }


def unwatched_status(stored: Stored, context: StatusContext) -> dict[str, Any]:
    """Return where a feature is that is enabled in Redis and in no configuration: nobody judges its sends."""
    feature = RolloutFeature(name=stored.feature, provider="unknown", action="unknown")
    steps = next_steps(feature, stored.flags, Stage.UNWATCHED, "", context.line)
    nobody = not is_open(stored.flags)
    return feature_status(feature, stored, {}, context) | {
        "stage": Stage.UNWATCHED.value,
        "headline": headline(feature, stored.flags, Stage.UNWATCHED, ""),
        "harm": {
            "now": False if nobody else None,
            "text": "No: nobody is in." if nobody else "Not known: nobody measures it.",
        },
        "next_steps": [one._asdict() for one in steps],
        "kind": Stage.UNWATCHED.value,
        "detail": "Enabled in Redis and in no configuration: nothing steps it, and nothing pauses it.",
    }


def _of_decision(last: Mapping[str, Any]) -> dict[str, Any]:
    if not last:
        return {**dict.fromkeys(_OF_DECISION), "kind": "", "reason": "", "detail": "no decision yet"}
    return {key: last.get(key) for key in _OF_DECISION}


def _progress(state: State) -> dict[str, float]:
    """Return what has been counted at this step and over the ramp, and since when."""
    measured_s = state.judged_to - state.counted_from
    return {
        "ramp_started_at": state.ramp_started_at,
        "step_started_at": state.step_started_at,
        "held_since": state.held_since,
        "step_sends": state.step_sends,
        "step_errors": state.step_errors,
        "ramp_sends": state.ramp_sends,
        "ramp_errors": state.ramp_errors,
        "approved_percent": state.approved_percent,
        "sends_per_s": state.step_sends / measured_s if measured_s > 0 else 0.0,
    }
