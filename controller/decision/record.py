"""Every decision is one record, a plain dict, from which it can be decided again with the same outcome."""

from collections.abc import Iterator, Mapping
from typing import Any

from controller.contract import Flags
from controller.decision.byhand import by_hand, external_change
from controller.decision.codec import decode, encode
from controller.decision.decide import decide, rejected_write
from controller.decision.feature import RolloutFeature
from controller.decision.judging.first_form import FirstState
from controller.decision.model import (
    FIRST_FORM,
    FORM,
    LIVE,
    Decision,
    Evidence,
    Kind,
    Reason,
    Reference,
    Snapshot,
    State,
)

NOT_WRITTEN = frozenset({Reason.CONFLICT, Reason.NOT_LEADER})
_SILENT = frozenset({Kind.HOLD, Kind.EXTERNAL_CHANGE, Kind.APPROVE})
_OUTCOME = ("kind", "reason", "to", "detail", "more_sends", "more_s", "findings", "approved_percent")
_FIRST_OUTCOME = ("kind", "reason", "to", "more_sends", "more_s", "findings")
"""Of records of the first form: what they decided, by the tests of that time, is computed again and compared,
but not their words, nor what an approval counts for, which have changed since."""

LIVE_FORM = 4
"""The first form with today's tests of live counts."""
UNRELEASED = "tests of live counts decided it that are in no release (before form 4), and cannot decide again"
"""Instead of differences, of a record that was paused by such tests."""


def record_of(
    snapshot: Snapshot,
    decision: Decision,
    *,
    decision_id: str,
    actor: str,
    dry_run: bool,
    applied: str,
    epoch: int,
    revision: int,
    note: str = "",
    config: Mapping[str, Any] | None = None,
    state_before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the record of a decision.

    `applied` is one of applied, skipped, conflict and failed, `revision` the flags' revision after the
    write, and `note` what a person gave as the reason. `config` and `state_before` are the snapshot's feature
    and state where the caller has them as plain values already.
    """
    before = snapshot.state.flags if decision.kind is Kind.EXTERNAL_CHANGE else snapshot.flags
    return {
        "id": decision_id,
        "form": FORM,
        "at": snapshot.now,
        "feature": snapshot.feature.name,
        "kind": decision.kind.value,
        "reason": decision.reason.value,
        "detail": decision.detail,
        "from": flags_to_dict(before),
        "to": flags_to_dict(decision.flags),
        "findings": list(encode(decision.findings)),
        "more_sends": decision.more_sends,
        "more_s": decision.more_s,
        "evidence": encode(snapshot.evidence),
        "state_before": state_to_dict(snapshot.state) if state_before is None else state_before,
        "approved_percent": decision.state.approved_percent,
        "actor": actor,
        "note": note,
        "dry_run": dry_run,
        "applied": applied,
        "epoch": epoch,
        "revision": revision,
        "config_hash": snapshot.config_hash,
        "config": encode(snapshot.feature) if config is None else config,
        "flags_read": encode(snapshot.flags),
        "window_s": snapshot.window_s,
        "frozen": snapshot.frozen,
        "newer": encode(snapshot.newer),
        "reference": encode(snapshot.reference),
    }


def manual_record(
    decision: Decision,
    flags: Flags,
    feature: RolloutFeature,
    state: State,
    *,
    at: float,
    config_hash: str,
    decision_id: str,
    actor: str,
    note: str,
    dry_run: bool,
    applied: str,
    epoch: int,
    revision: int,
) -> dict[str, Any]:
    """Return the record of what a person did (`by_hand`): the same fields, without evidence.

    `flags` and `state` are as they were before.
    """
    unseen = Snapshot(
        now=at,
        feature=feature,
        flags=flags,
        evidence=Evidence(now=0.0),
        state=state,
        config_hash=config_hash,
        window_s=0.0,
    )
    record = record_of(
        unseen,
        decision,
        decision_id=decision_id,
        actor=actor,
        dry_run=dry_run,
        applied=applied,
        epoch=epoch,
        revision=revision,
        note=note,
    )
    return record | {"evidence": None, "window_s": None}


def snapshot_from(record: Mapping[str, Any]) -> Snapshot:
    """Return what the decision of this record saw. Raises KeyError, TypeError or ValueError."""
    evidence = record["evidence"]
    return Snapshot(
        now=float(record["at"]),
        feature=decode(RolloutFeature, record["config"]),
        flags=decode(Flags, record["flags_read"]),
        evidence=Evidence(now=0.0) if evidence is None else decode(Evidence, evidence),
        state=decode(FirstState if form_of(record) == FIRST_FORM else State, record["state_before"]),
        config_hash=record["config_hash"],
        window_s=float(record["window_s"] or 0.0),
        frozen=record["frozen"],
        newer=decode(Flags, record["newer"]) if record.get("newer") else None,
        reference=decode(Reference, record["reference"]) if record.get("reference") else None,
        form=form_of(record),
    )


def form_of(record: Mapping[str, Any]) -> int:
    """Return the form of the mathematics that a record was decided by. Raises ValueError."""
    form = record.get("form", FIRST_FORM)
    if form not in range(FIRST_FORM, FORM + 1):
        raise ValueError(f"its form is {form!r}, which this version does not know")
    return int(form)


def decided_again(record: Mapping[str, Any]) -> Decision:
    """Decide once more from a record alone."""
    snapshot = snapshot_from(record)
    kind = Kind(record["kind"])
    if kind is Kind.EXTERNAL_CHANGE:
        noticed = external_change(snapshot.state, snapshot.flags)
        if noticed is None:
            raise ValueError("the record tells of an external change, but its flags are as they were")
        return noticed
    if record["evidence"] is None:
        return _by_hand_again(kind, snapshot, record)
    decision = decide(snapshot)
    reason = Reason(record["reason"])
    refused = reason in NOT_WRITTEN and kind is Kind.HOLD
    return rejected_write(snapshot, decision, reason) if refused else decision


def _by_hand_again(kind: Kind, snapshot: Snapshot, record: Mapping[str, Any]) -> Decision:
    percent = {
        Kind.SET: record["to"]["rollout_percent"],
        Kind.APPROVE: record["approved_percent"],
    }.get(kind)
    return by_hand(
        kind,
        snapshot.flags,
        snapshot.feature,
        snapshot.state,
        snapshot.now,
        percent=percent,
        actor=record["actor"],
        note=record["note"],
    )


def verify(record: Mapping[str, Any]) -> list[str]:
    """Decide again from the record alone and name every difference; an empty list says it is the same.

    Something may be missing in a record that another wrote: that is a difference, too.
    """
    try:
        if (record["evidence"] or {}).get("source") == LIVE and form_of(record) < LIVE_FORM:
            return [UNRELEASED]
        return list(_differences(record))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return [f"the record is not whole: {type(error).__name__}: {error}"]


def _differences(record: Mapping[str, Any]) -> Iterator[str]:
    again = decided_again(record)
    form = form_of(record)
    findings = list(encode(again.findings))
    recomputed = {
        "kind": again.kind.value,
        "reason": again.reason.value,
        "to": flags_to_dict(again.flags),
        "detail": again.detail,
        "more_sends": again.more_sends,
        "more_s": again.more_s,
        "findings": [_without_effect(one) for one in findings] if form == FIRST_FORM else findings,
        "approved_percent": again.state.approved_percent,
    }
    return (
        f"{name}: recorded {record[name]!r}, recomputed {recomputed[name]!r}"
        for name in (_FIRST_OUTCOME if form == FIRST_FORM else _OUTCOME)
        if record[name] != recomputed[name]
    )


def _without_effect(finding: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in finding.items() if name != "effect"}


def flags_to_dict(flags: Flags) -> dict[str, Any]:
    """Return the four flags alone."""
    return {
        "enabled": flags.enabled,
        "internal_only": flags.internal_only,
        "rollout_percent": flags.rollout_percent,
        "paused": flags.paused,
    }


def flags_from_record(record: Mapping[str, Any]) -> Flags:
    """Return the flags that a record left, with their revision."""
    return Flags(**record["to"], revision=record["revision"])


def changed_flags(record: Mapping[str, Any]) -> bool:
    """Whether this record wrote flags: applied, with a revision of its own, unlike a needless resume."""
    read: Mapping[str, Any] = record.get("flags_read") or {}
    raised: bool = record["revision"] > read.get("revision", -1)
    return raised and record["applied"] == "applied" and record["kind"] not in _SILENT


def state_to_dict(state: State) -> dict[str, Any]:
    """Return the state as plain JSON values."""
    plain: dict[str, Any] = encode(state)
    return plain


def state_from_dict(plain: Mapping[str, Any]) -> State:
    """Read the state again; what an older version did not write takes its default."""
    return decode(State, plain)
