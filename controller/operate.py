"""What a person does to a feature: read, decide by hand, write, and keep the record."""

import json
import uuid
from typing import Any

from controller.contract import Flags
from controller.decision.byhand import by_hand
from controller.decision.model import Kind, RolloutFeature, State
from controller.decision.record import manual_record, state_from_dict, state_to_dict
from controller.features import config_hash
from controller.flagstore import FlagStore, Outcome, Stored, StoreError, Write
from controller.journal import Journal, dump

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
        if stored.flags.missing and stored.state is None:
            store.create_missing(feature.name, Flags(False, True, feature.initial_percent, False))
            [stored] = store.read([feature.name])
        write, record = _write(stored, feature, kind, actor=actor, note=note, now=now, percent=percent)
        if store.write([write]) == [Outcome.APPLIED]:
            journal.keep(record)
            return record
    raise StoreError(f"the flags of {feature.name} changed {_TRIES} times meanwhile; try again")


def _write(
    stored: Stored,
    feature: RolloutFeature,
    kind: Kind,
    *,
    actor: str,
    note: str,
    now: float,
    percent: float | None,
) -> tuple[Write, dict[str, Any]]:
    state = State(flags=stored.flags) if stored.state is None else state_from_dict(json.loads(stored.state))
    decision = by_hand(kind, stored.flags, feature, state, now, percent=percent)
    changes = kind is not Kind.APPROVE
    record = manual_record(
        decision,
        stored.flags,
        feature,
        state,
        at=now,
        config_hash=config_hash(feature),
        decision_id=f"{feature.name}-{int(now * 1000)}-{uuid.uuid4().hex[:8]}",
        actor=actor,
        note=note,
        dry_run=False,
        applied="applied",
        epoch=0,
        revision=stored.flags.revision + changes,
    )
    write = Write(
        decision_id=record["id"],
        stored=stored,
        records=(dump(record),),
        state=dump(state_to_dict(decision.state)),
        flags=decision.flags if changes else None,
    )
    return write, record
