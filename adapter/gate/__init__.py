"""The gate: is a user's send open or closed, and why. Importing it loads nothing but the standard library."""

from adapter.gate.rule import (
    BUCKETS,
    GATE_REASONS,
    NO_BUCKET,
    GateAnswer,
    GateReason,
    Rule,
    answer,
    bucket,
    threshold,
)

__all__ = [
    "BUCKETS",
    "GATE_REASONS",
    "NO_BUCKET",
    "GateAnswer",
    "GateReason",
    "Rule",
    "answer",
    "bucket",
    "threshold",
]
