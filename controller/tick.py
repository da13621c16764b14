"""One tick for all features at once: read, judge, decide, act, record.

Everything that varies (the store, the source, the lease, both clocks) is an argument, so that the same lines
run live, dry and under a test's clock. A tick never raises for what a neighbour does: it says so and ends.
"""

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from controller.contract import Flags
from controller.decision.byhand import external_change
from controller.decision.decide import decide, overruled
from controller.decision.model import Decision, Evidence, Kind, Reason, RolloutFeature, Snapshot, State
from controller.decision.record import record_of, state_from_dict, state_to_dict
from controller.evidence import MetricSource, Question
from controller.features import config_hash
from controller.flagstore import FlagStore, Outcome, Stored, StoreError, Write
from controller.freezes import open_freeze
from controller.journal import Journal, dump
from controller.lease import Leadership, Lease

CONTROLLER = "controller"
OUTSIDE = "outside"
"""Actors: this daemon, and whoever wrote a flag without this product."""

_APPLIED = {
    Outcome.APPLIED: "applied",
    Outcome.SKIPPED: "skipped",
    Outcome.CONFLICT: "conflict",
    Outcome.FENCED: "failed",
}
_REFUSALS = {Outcome.CONFLICT: Reason.CONFLICT, Outcome.FENCED: Reason.NOT_LEADER}


@dataclass(frozen=True, slots=True)
class Report:
    """What one tick did."""

    records: tuple[dict[str, Any], ...] = ()
    leader: bool = False
    error: str = ""
    """The neighbour that failed the whole tick, in words."""
    duration_s: float = 0.0
    source_problem: str = ""


@dataclass(frozen=True, slots=True)
class _Case:
    """One feature's way through a tick."""

    stored: Stored
    snapshot: Snapshot
    decision: Decision
    outside: Decision | None
    """The change that somebody made without this product, if there was one."""


class Controller:
    """Ticks over all features; holds nothing between two ticks but its neighbours."""

    def __init__(
        self,
        features: Mapping[str, RolloutFeature],
        *,
        store: FlagStore,
        source: MetricSource,
        lease: Lease,
        journal: Journal,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
        window_s: float,
        deadline_s: float,
        dry_run: bool = False,
    ) -> None:
        self._store = store
        self._source = source
        self._lease = lease
        self._journal = journal
        self._wall = wall
        self._monotonic = monotonic
        self._window_s = window_s
        self._deadline_s = deadline_s
        self._dry_run = dry_run
        self._log = structlog.get_logger("tick")
        self.use(features)

    def use(self, features: Mapping[str, RolloutFeature]) -> None:
        """Decide over these features from the next tick on."""
        self._features = dict(features)
        self._hashes = {name: config_hash(feature) for name, feature in features.items()}

    def tick(self) -> Report:
        """Decide every feature once."""
        started = self._monotonic()
        try:
            leadership = self._lease.acquire()
            report = self._tick(leadership, started)
        except StoreError as error:
            report = Report(error=str(error))
        return replace(report, duration_s=self._monotonic() - started)

    def release(self) -> None:
        """Let another controller lead at once."""
        try:
            self._lease.release()
        except StoreError as error:
            self._log.warning("lease_not_released", error=str(error))

    def _tick(self, leadership: Leadership | None, started: float) -> Report:
        now = self._wall()
        stored = self._read_flags(create=leadership is not None)
        states = [_state(one) for one in stored]
        questions = [
            Question(self._features[one.feature], one.flags.revision, state)
            for one, state in zip(stored, states, strict=True)
        ]
        left_s = self._deadline_s - (self._monotonic() - started)
        evidence = self._source.read(questions, now, left_s)
        cases = [
            self._case(one, state, evidence[one.feature], now)
            for one, state in zip(stored, states, strict=True)
        ]
        records = self._act([case for case in cases if leadership or _needs_no_lease(case)], leadership)
        problems = {e.detail for e in evidence.values() if e.problem is Reason.METRICS_UNREACHABLE}
        return Report(tuple(records), leader=leadership is not None, source_problem=next(iter(problems), ""))

    def _read_flags(self, *, create: bool) -> list[Stored]:
        stored = self._store.read(list(self._features))
        missing = [one for one in stored if one.flags.missing]
        if not missing or not create or self._dry_run:
            return stored
        for one in missing:
            self._store.create_missing(one.feature, _first_flags(self._features[one.feature], one))
        return self._store.read(list(self._features))

    def _case(self, stored: Stored, state: State, evidence: Evidence, now: float) -> _Case:
        feature = self._features[stored.feature]
        snapshot = Snapshot(
            now=now,
            feature=feature,
            flags=stored.flags,
            evidence=evidence,
            state=state,
            config_hash=self._hashes[stored.feature],
            window_s=self._window_s,
            frozen=open_freeze(feature, now),
        )
        return _Case(stored, snapshot, decide(snapshot), external_change(snapshot))

    def _act(self, cases: Sequence[_Case], leadership: Leadership | None) -> list[dict[str, Any]]:
        """Write all decisions in one round trip and give their records, as it turned out."""
        epoch = leadership.epoch if leadership else 0
        records = [self._records(case, epoch) for case in cases]
        writes = [self._as_write(case, found, epoch) for case, found in zip(cases, records, strict=True)]
        outcomes = self._write(writes)
        told = [
            record
            for case, found, outcome in zip(cases, records, outcomes, strict=True)
            for record in (*found[:-1], self._as_it_went(case, found[-1], outcome))
        ]
        for record in told:
            self._journal.keep(record)
        return told

    def _records(self, case: _Case, epoch: int) -> list[dict[str, Any]]:
        """Give the record of a change from outside, if there was one, and the decision's."""
        revision = case.stored.flags.revision
        decided = self._record(case, case.decision, CONTROLLER, epoch, revision + _changes(case.decision))
        if case.outside is None:
            return [decided]
        return [self._record(case, case.outside, OUTSIDE, epoch, revision), decided]

    def _record(
        self, case: _Case, decision: Decision, actor: str, epoch: int, revision: int
    ) -> dict[str, Any]:
        return record_of(
            case.snapshot,
            decision,
            decision_id=_new_id(case.stored.feature, case.snapshot.now),
            actor=actor,
            dry_run=self._dry_run,
            applied=_APPLIED[Outcome.SKIPPED if self._dry_run else Outcome.APPLIED],
            epoch=epoch,
            revision=case.stored.flags.revision if self._dry_run else revision,
        )

    def _as_write(self, case: _Case, records: Sequence[dict[str, Any]], epoch: int) -> Write:
        return Write(
            decision_id=records[-1]["id"],
            stored=case.stored,
            records=tuple(dump(record) for record in records),
            state=dump(state_to_dict(case.decision.state)),
            flags=case.decision.flags if _changes(case.decision) else None,
            epoch=None if _needs_no_lease(case) else epoch,
        )

    def _write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Write, and once more where the answer was lost: a decision id is written at most once."""
        try:
            return self._store.write(writes)
        except StoreError as error:
            self._log.warning("write_sent_again", error=str(error))
            return self._store.write(writes)

    def _as_it_went(self, case: _Case, record: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
        """Give the record as written, or what stands instead when it was refused."""
        if outcome not in _REFUSALS:
            return record
        refused = overruled(case.snapshot, case.decision, _REFUSALS[outcome])
        told = record | record_of(
            case.snapshot,
            refused,
            decision_id=record["id"],
            actor=CONTROLLER,
            dry_run=False,
            applied=_APPLIED[outcome],
            epoch=record["epoch"],
            revision=case.stored.flags.revision,
        )
        self._store.append(case.stored.feature, dump(told))
        return told


def _needs_no_lease(case: _Case) -> bool:
    return case.decision.kind is Kind.PAUSE


def _changes(decision: Decision) -> bool:
    return decision.kind in {Kind.STEP_UP, Kind.STEP_BACK, Kind.PAUSE}


def _state(stored: Stored) -> State:
    return State(flags=stored.flags) if stored.state is None else state_from_dict(json.loads(stored.state))


def _first_flags(feature: RolloutFeature, stored: Stored) -> Flags:
    """What a missing key is created with. A pause that was lost with its key stays a pause."""
    was_paused = stored.state is not None and _state(stored).flags.paused
    return Flags(False, True, feature.initial_percent, was_paused)


def _new_id(feature: str, now: float) -> str:
    return f"{feature}-{int(now * 1000)}-{uuid.uuid4().hex[:8]}"
