"""The JSON Schemas of what the API takes and gives; those of our own values are made from their classes."""

import types
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

from msgspec import UnsetType

from controller.decision.feature import Links
from controller.decision.model import Cause, Evidence, Finding, Kind, Reason, State
from controller.decision.telling.headline import Stage
from controller.shared.openapi import NUMBER, TEXT, TRUTH, Schema, listed, maybe, record_like, ref
from controller.shared.plain_text import LONGEST_TEXT

PERCENT: Schema = {"type": "number", "minimum": 0, "maximum": 100, "multipleOf": 0.001}


def schema_of(kind: Any) -> Schema:
    """Return the schema of a frozen value as `to_plain` writes it."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return record_like({one.name: schema_of(hints[one.name]) for one in fields(kind)}, _required(kind))
    if get_origin(kind) in {Union, types.UnionType}:
        kinds = [schema_of(one) for one in get_args(kind) if one is not UnsetType]
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    if get_origin(kind) is tuple:
        return listed(schema_of(get_args(kind)[0]))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"type": "string", "enum": [one.value for one in kind]}
    return dict(_PLAIN[kind])


def _required(kind: Any) -> list[str]:
    """Return the fields that older records have as well: those without a default."""
    return [one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING]


_PLAIN: dict[Any, Schema] = {
    float: NUMBER,
    int: {"type": "integer"},
    str: TEXT,
    bool: TRUTH,
    type(None): {"type": "null"},
}

FLAGS = record_like({"enabled": TRUTH, "internal_only": TRUTH, "rollout_percent": PERCENT, "paused": TRUTH})

RECORD = record_like(
    {
        "id": TEXT,
        "at": {"type": "number", "description": "unix seconds"},
        "feature": TEXT,
        "kind": schema_of(Kind),
        "reason": schema_of(Reason),
        "detail": {"type": "string", "description": "the reason in words, with this moment's numbers"},
        "from": ref("Flags"),
        "to": ref("Flags"),
        "findings": listed(ref("Finding")),
        "more_sends": schema_of(float | None),
        "more_s": schema_of(float | None),
        "evidence": maybe(ref("Evidence")),
        "state_before": ref("State"),
        "approved_percent": NUMBER,
        "actor": {"type": "string", "description": "controller, outside, or the name of a person"},
        "note": {"type": "string", "description": "the reason that a person gave"},
        "dry_run": TRUTH,
        "applied": {"type": "string", "enum": ["applied", "skipped", "conflict", "failed"]},
        "epoch": {"type": "integer"},
        "revision": {"type": "integer"},
        "config_hash": TEXT,
        "config": {"type": "object"},
        "flags_read": {"type": "object"},
        "window_s": maybe(NUMBER),
        "frozen": TEXT,
    }
)

PROGRESS = record_like(
    dict.fromkeys(
        [
            "ramp_started_at",
            "step_started_at",
            "held_since",
            "step_sends",
            "step_errors",
            "ramp_sends",
            "ramp_errors",
            "approved_percent",
            "sends_per_s",
        ],
        NUMBER,
    )
)

FEATURE = record_like(
    {
        "feature": TEXT,
        "stage": schema_of(Stage),
        "headline": {"type": "string", "description": "who is in, in one line"},
        "audience": {"type": "string", "description": "such as `10 %` or `10 % of internal mail`"},
        "harm": record_like(
            {
                "now": {**maybe(TRUTH), "description": "whether sends fail above a limit; null: not known"},
                "text": TEXT,
            }
        ),
        "live": record_like(
            {
                "processes": {"type": "integer", "description": "sender processes that write live counts"},
                "age_s": {**maybe(NUMBER), "description": "how long ago live counts moved last"},
                "difference": {
                    **maybe(NUMBER),
                    "description": "share by which more was counted live than by windows; null: not known",
                },
                "text": {"type": "string", "description": "how fast harm is answered"},
            }
        ),
        "paused_by": {**maybe(ref("Cause")), "description": "the first cause of the present pause"},
        "stopped_by": {**maybe(ref("Cause")), "description": "who set the percentage to 0, which stays"},
        "next_steps": {
            **listed(record_like({"text": TEXT, "command": TEXT})),
            "description": "what a person does next, with the line to type, which may be empty",
        },
        "links": ref("Links"),
        "name": TEXT,
        "provider": TEXT,
        "action": TEXT,
        "enabled": TRUTH,
        "internal_only": TRUTH,
        "rollout_percent": PERCENT,
        "paused": TRUTH,
        "revision": {"type": "integer"},
        "unreadable": listed(TEXT),
        "missing": listed(TEXT),
        "steps": listed(PERCENT),
        "next_percent": maybe(PERCENT),
        "kind": {"type": "string", "description": "of the newest decision; empty before the first one"},
        "reason": TEXT,
        "detail": TEXT,
        "at": maybe(NUMBER),
        "id": maybe(TEXT),
        "actor": maybe(TEXT),
        "note": maybe(TEXT),
        "more_sends": schema_of(float | None),
        "more_s": schema_of(float | None),
        "findings": maybe(listed(ref("Finding"))),
        "slo": record_like({"error_rate": NUMBER, "latency_p95_ms": NUMBER, "very_slow": maybe(NUMBER)}),
        "bake_s": NUMBER,
        "policy": TEXT,
        "on_breach": TEXT,
        "approval_steps": listed(PERCENT),
        "progress": ref("Progress"),
        "estimate": record_like(
            {
                "remaining_s": {**maybe(NUMBER), "description": "to the end of the plan; null: not known"},
                "text": {"type": "string", "description": "such as `about 2.3 h to 100 % at this traffic`"},
            }
        ),
    }
)

PROBLEM = record_like(
    {"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "detail": TEXT},
    description="RFC 9457",
)

READINESS = record_like(
    {
        "ready": TRUTH,
        "role": {"type": "string", "enum": ["leader", "standby"]},
        "tick_fresh": TRUTH,
        "redis": TRUTH,
        "prometheus": TRUTH,
        "dry_run": TRUTH,
        "pid": {"type": "integer"},
        "reloads": {"type": "integer"},
        "config_error": TEXT,
        "config_agrees": {"type": "boolean", "description": "whether the leader decides by the same"},
        "unwatched": {**listed(TEXT), "description": "features enabled in Redis and in no configuration"},
        "detail": TEXT,
    }
)

_ON_THE_LINE = r"[^\n\r\v\f\u001c-\u001e\u0085\u2028\u2029]*"
REASON: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": LONGEST_TEXT,
    "pattern": rf"^{_ON_THE_LINE}\S{_ON_THE_LINE}$",
}
ACT = record_like({"reason": REASON}, additionalProperties=False)
SET = record_like({"percent": PERCENT, "reason": REASON}, additionalProperties=False)
APPROVE = record_like({"reason": REASON, "percent": PERCENT}, required=["reason"], additionalProperties=False)

OFREP_FLAG = record_like(
    {
        "key": TEXT,
        "value": TRUTH,
        "reason": {"type": "string", "enum": ["SPLIT", "TARGETING_MATCH", "DISABLED", "STALE"]},
        "variant": {"type": "string", "enum": ["on", "off"]},
        "metadata": {"type": "object"},
    }
)
OFREP_ERROR = record_like(
    {"key": TEXT, "errorCode": TEXT, "errorDetails": TEXT}, required=["errorCode", "errorDetails"]
)
OFREP_REQUEST = record_like(
    {
        "context": record_like(
            {
                "targetingKey": {"type": "string", "description": "the user id", "minLength": 1},
                "recipients": {**listed(TEXT), "description": "the mail's recipients; none: the user alone"},
            },
            required=["targetingKey"],
        )
    }
)

COMPONENTS: dict[str, Schema] = {
    "Feature": FEATURE,
    "Progress": PROGRESS,
    "Flags": FLAGS,
    "Record": RECORD,
    "Finding": schema_of(Finding),
    "Cause": schema_of(Cause),
    "Links": schema_of(Links),
    "Evidence": schema_of(Evidence),
    "State": schema_of(State),
    "Problem": PROBLEM,
    "Readiness": READINESS,
    "FlagAnswer": OFREP_FLAG,
    "FlagError": OFREP_ERROR,
}
