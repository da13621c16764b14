"""What a person does to a feature: read, decide by hand, write, and keep the record."""

from typing import Any

from controller.contract import format_flags
from controller.decision.byhand import by_hand, external_change
from controller.decision.causes import OUTSIDE
from controller.decision.feature import RolloutFeature
from controller.decision.model import Kind, State
from controller.decision.record import manual_record, state_to_dict
from controller.features import config_hash
from controller.journal.sinks import Journal
from controller.store.flag_store import (
    FlagStore,
    Stored,
    StoreError,
    Write,
    WriteOutcome,
    existed_before,
    first_flags,
    new_decision_id,
    read_state,
    state_text,
    write_with_retry,
)
from controller.store.record_json import dump

_TRIES = 5


def operate(
    store: FlagStore,
    journal: Journal,
    feature: RolloutFeature,
    kind: Kind,
    *,
    actor: str,
    note: str,
    now: float,
    percent: float | None = None,
) -> dict[str, Any]:
    """Do what a person asked for and give its record; a change that comes between is read again.

    `now` is unix seconds, `percent` is for `set` and `approve`. Raises StoreError, and ValueError where it
    cannot be done.
    """
    for _ in range(_TRIES):
        [stored] = store.read([feature.name])
        if stored.flags.missing and kind is not Kind.PAUSE:
            store.create_missing(feature.name, first_flags(feature, paused=existed_before(store, stored)))
            [stored] = store.read([feature.name])
        write, records = _decided(stored, feature, kind, actor=actor, note=note, now=now, percent=percent)
        [outcome] = write_with_retry(store, [write])
        if outcome is WriteOutcome.APPLIED:
            journal.keep(*records)
            return records[-1]
        if outcome is WriteOutcome.FAILED:
            raise StoreError(f"Redis refused to write the flags of {feature.name}; rollout doctor says why")
    raise StoreError(f"the flags of {feature.name} changed {_TRIES} times meanwhile; try again")


def _decided(
    stored: Stored, feature: RolloutFeature, kind: Kind, **asked: Any
) -> tuple[Write, list[dict[str, Any]]]:
    """Return the write and its records; from a state that nothing can be decided from, without that state."""
    state, _ = read_state(stored)
    try:
        return _write(stored, state, feature, kind, **asked)
    except (ArithmeticError, AttributeError, LookupError, TypeError):
        return _write(stored, State(flags=stored.flags), feature, kind, **asked)


def _write(
    stored: Stored,
    state: State,
    feature: RolloutFeature,
    kind: Kind,
    *,
    actor: str,
    note: str,
    now: float,
    percent: float | None,
) -> tuple[Write, list[dict[str, Any]]]:
    """Return the write and its records; an edit of the flags that no controller has seen yet comes first."""
    decision = by_hand(kind, stored.flags, feature, state, now, percent=percent, actor=actor, note=note)
    # A pause is always written out: that also gets through where a full Redis keeps nothing else.
    changes = kind is Kind.PAUSE or format_flags(decision.flags) != stored.texts
    # An approval leaves the state's flags as they were: the next tick notices the edit.
    outside = None if kind is Kind.APPROVE else external_change(state, stored.flags)
    told = [(outside, OUTSIDE, "", False)] if outside else []
    records = [
        manual_record(
            what,
            stored.flags,
            feature,
            state,
            at=now,
            config_hash=config_hash(feature),
            decision_id=new_decision_id(feature.name, now),
            actor=who,
            note=why,
            dry_run=False,
            applied="applied",
            epoch=0,
            revision=stored.flags.revision + rises,
        )
        for what, who, why, rises in [*told, (decision, actor, note, changes)]
    ]
    write = Write(
        decision_id=records[-1]["id"],
        stored=stored,
        records=tuple(dump(record) for record in records),
        state=state_text(state_to_dict(decision.state), records[-1]["id"]),
        flags=decision.flags if changes else None,
    )
    return write, records
