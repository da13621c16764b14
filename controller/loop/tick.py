"""One tick for all features at once: read, judge, decide, write, record.

Everything that varies (the store, the source, the lease, both clocks) is an argument, so that the same lines
run live, dry and under a test's clock. A tick never raises for what a dependency does: it says so and ends.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import structlog

from controller.contract import Flags
from controller.decision.byhand import external_change
from controller.decision.decide import decide
from controller.decision.feature import RolloutFeature
from controller.decision.model import Evidence, Reason, Reference, Snapshot, State
from controller.decision.ramp import most_restrictive, same_flags
from controller.decision.record import changed_flags, flags_from_record
from controller.decision.telling.common_cause import reference_of
from controller.evidence.windows import EvidenceRequest, MetricSource
from controller.features import config_hash
from controller.journal.sinks import Journal
from controller.loop.freezes import open_freeze
from controller.loop.standby import StandbyStates
from controller.loop.writes import FeatureTick, PendingWrite, WriteBuilder, needs_no_lease, refusal
from controller.shared.log_on_change import LogOnChange
from controller.shared.plain_text import LONGEST_TEXT, fit_line
from controller.store.flag_store import (
    FlagStore,
    Stored,
    StoreError,
    WriteOutcome,
    existed_before,
    first_flags,
    read_state,
    tee,
    write_with_retry,
)
from controller.store.lease import Leadership, Lease
from controller.store.record_json import dump

_REFUSED = "Redis refuses to keep a decision"
READ_SHARE = 0.7
"""Of the time that is left to a tick, for reading evidence: a hanging source leaves enough to write."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one tick did."""

    records: tuple[dict[str, Any], ...] = ()
    leader: bool = False
    leader_until: float = 0.0
    """On the monotonic clock."""
    error: str = ""
    """The dependency that failed the whole tick, in words."""
    ours: bool = False
    """The error is a mistake of this program."""
    duration_s: float = 0.0
    source_problem: str = ""
    store_problem: str = ""
    """What the store refused although the tick went on, in words."""
    seen: Mapping[str, "FeatureReport"] = field(default_factory=dict)
    """Each feature as this tick left it; on a standby too."""


@dataclass(frozen=True, slots=True)
class FeatureReport:
    """One feature at the end of a tick."""

    flags: Flags
    evidence: Evidence


class CatchUp(Protocol):
    """What compares the journals of one feature, and tells whether the store is no longer as it was read."""

    def __call__(self, stored: Stored, *, foreign: bool) -> bool: ...


class Controller:
    """Ticks over all features.

    Between two ticks it keeps its dependencies, the newest flags it knows of (to notice when they go back in
    time) and the states it wrote (to notice when another wrote); no decision needs any of it.
    """

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
        known: Mapping[str, Flags] | None = None,
        catch_up: CatchUp | None = None,
    ) -> None:
        """Take the dependencies.

        `known` are the flags, with their revisions, that a journal remembers from before this process.
        `catch_up` is called with each feature as read, and whether another wrote it meanwhile.
        """
        self._store = store
        self._source = source
        self._lease = lease
        self._journal = journal
        self._wall = wall
        self._monotonic = monotonic
        self._window_s = window_s
        self._deadline_s = deadline_s
        self._dry_run = dry_run
        self._known = dict(known or {})
        self._catch_up = catch_up
        self._writes = WriteBuilder(dry_run=dry_run, deadline_s=deadline_s)
        self._said = LogOnChange()
        self._standby = StandbyStates()
        self._lost: set[str] = set()
        """Features whose flags could not be created, as under a key of another type."""
        self._log = structlog.get_logger("tick")
        self.use(features)

    def use(self, features: Mapping[str, RolloutFeature]) -> None:
        """Decide over these features from the next tick on."""
        self._features = dict(features)
        self._hashes = {name: config_hash(feature) for name, feature in features.items()}
        self._writes.use(features)

    def tick(self) -> Report:
        """Decide every feature once."""
        started = self._monotonic()
        leadership, problem = self._leadership()
        try:
            report = self._tick(leadership, started)
        except StoreError as error:
            report = Report(error=str(error))
        problem = problem or report.store_problem
        return replace(report, duration_s=self._monotonic() - started, store_problem=problem)

    def _leadership(self) -> tuple[Leadership | None, str]:
        """Ask for the lease; without an answer go on as a standby, because a pause needs none."""
        try:
            return self._lease.acquire(), ""
        except StoreError as error:
            return None, str(error)

    def release(self) -> None:
        """Let another controller lead at once."""
        try:
            self._lease.release()
        except StoreError as error:
            self._log.warning("lease_not_released", error=str(error))

    def _tick(self, leadership: Leadership | None, started: float) -> Report:
        now = self._wall()
        stored = self._read_flags(create=leadership is not None)
        leads = leadership is not None
        states = [self._state(one, leads=leads) for one in stored]
        questions = [
            EvidenceRequest(self._features[one.feature], one.flags.revision, state)
            for one, state in zip(stored, states, strict=True)
        ]
        left_s = self._deadline_s - (self._monotonic() - started)
        evidence = self._source.read(questions, now, READ_SHARE * left_s)
        judged = (
            self._judged(one, state, evidence, now, leadership)
            for one, state in zip(stored, states, strict=True)
        )
        records, outcomes = self._write(one for one in judged if one)
        left = _flags_left(stored, records)
        for one in stored:
            self._remember(one, left[one.feature])
        problems = {e.detail for e in evidence.values() if e.problem is Reason.METRICS_UNREACHABLE}
        return Report(
            tuple(records),
            leader=leadership is not None,
            leader_until=leadership.until if leadership else 0.0,
            source_problem=next(iter(problems), ""),
            store_problem=_REFUSED if WriteOutcome.FAILED in outcomes else "",
            seen={name: FeatureReport(flags, evidence[name]) for name, flags in left.items()},
        )

    def _read_flags(self, *, create: bool) -> list[Stored]:
        stored = self._store.read(list(self._features))
        given_back = [one.feature for one in stored if self._gives_back(one)]
        if given_back:
            stored = self._store.read(list(self._features))
        missing = [one for one in stored if one.flags.missing]
        self._lost &= {one.feature for one in missing}
        if not missing or not create or self._dry_run:
            return stored
        for one in missing:
            self._create(one)
        return self._store.read(list(self._features))

    def _gives_back(self, stored: Stored) -> bool:
        """Compare the journals of a feature, and tell whether that changed what the store holds."""
        foreign = self._writes.our_state(stored) is None or self._moved(stored)
        return self._catch_up is not None and self._catch_up(stored, foreign=foreign)

    def _create(self, stored: Stored) -> None:
        """Create the missing keys. Those of a feature that was there before are created paused.

        A lost key, whoever lost it, may have held a person's pause.
        """
        known = self._known.get(stored.feature)
        lost = known is not None or existed_before(self._store, stored)
        first = first_flags(
            self._features[stored.feature], paused=lost, revision=known.revision if known else 0
        )
        self._store.create_missing(stored.feature, first)
        if lost and stored.feature not in self._lost:
            self._log.error("flags_lost", feature=stored.feature, missing=list(stored.flags.missing))
            self._lost.add(stored.feature)

    def _state(self, stored: Stored, *, leads: bool) -> State:
        ours = self._writes.our_state(stored)
        state, mistake = read_state(stored) if ours is None else (ours, "")
        self._say("state_unreadable", stored.feature, mistake)
        return self._standby.state(stored.feature, state, self._hashes[stored.feature], leads=leads)

    def _moved(self, stored: Stored) -> bool:
        """Whether another wrote the flags; who pauses what is paused leaves the state as it was."""
        known = self._known.get(stored.feature)
        return known is not None and known.revision != stored.flags.revision

    def _judged(
        self,
        stored: Stored,
        state: State,
        evidence: Mapping[str, Evidence],
        now: float,
        leadership: Leadership | None,
    ) -> PendingWrite | None:
        """Decide one feature, and give what is to be done; a standby only pauses.

        What goes wrong in a feature must not keep another from being paused, and a state that nothing can be
        decided from is worth nothing: the tests start again.
        """
        write, mistake = None, ""
        for tried in (state, State(flags=stored.flags)):
            try:
                case = self._case(stored, tried, evidence, now)
                self._standby.note(case.snapshot, case.decision)
                if leadership or needs_no_lease(case.decision):
                    write = self._writes.of(case, leadership)
                break
            except Exception as error:  # noqa: BLE001 - a state of another version, a mistake of ours
                mistake = repr(error)
        self._say("decision_failed", stored.feature, mistake)
        return write

    def _say(self, event: str, feature: str, error: str) -> None:
        """Log what is wrong with a feature when it is new; an empty text says that it has recovered.

        A log that cannot be written to keeps nobody from being paused.
        """
        if self._said.is_new(f"{event} {feature}", error):
            with suppress(OSError):
                self._log.error(event, feature=feature, error=error)

    def _case(
        self, stored: Stored, state: State, measured: Mapping[str, Evidence], now: float
    ) -> FeatureTick:
        feature, evidence = self._features[stored.feature], measured[stored.feature]
        snapshot = Snapshot(
            now=now,
            feature=feature,
            flags=stored.flags,
            evidence=_bounded(evidence),
            state=state,
            config_hash=self._hashes[stored.feature],
            window_s=self._window_s,
            frozen=open_freeze(feature, now, evidence.now),
            newer=self._newer(stored),
            reference=self._reference(feature, measured),
        )
        # What the leader changed is no change from outside.
        outside = None if self._standby.has(feature.name) else external_change(state, stored.flags)
        return FeatureTick(stored, snapshot, decide(snapshot), outside)

    def _reference(self, feature: RolloutFeature, measured: Mapping[str, Evidence]) -> Reference | None:
        """Return the feature beside which this one is reported, as this tick measured it."""
        other = self._features.get(feature.reference)
        if other is None or other.name not in measured:
            return None
        return reference_of(other, measured[other.name], compared=bool(feature.delta))

    def _newer(self, stored: Stored) -> Flags | None:
        """Return the flags as they were last known, where those read are of an earlier revision."""
        known = self._known.get(stored.feature)
        return known if known is not None and stored.flags.revision < known.revision else None

    def _write(self, pending: Iterable[PendingWrite]) -> tuple[list[dict[str, Any]], list[WriteOutcome]]:
        """Write all decisions in one round trip; return their records, and what became of each write."""
        made: list[PendingWrite] = []
        outcomes = write_with_retry(self._store, (one.write for one in tee(pending, made)))
        told: list[dict[str, Any]] = []
        for one, outcome in zip(made, outcomes, strict=True):
            refused = refusal(one, outcome)
            told += one.records if refused is None else [self._kept(refused)]
            self._writes.note(one, outcome)
        self._journal.keep(*told)
        return told, outcomes

    def _kept(self, refused: dict[str, Any]) -> dict[str, Any]:
        """Keep the record of a refused decision in the stream too, where that can be."""
        trouble = ""
        try:
            self._store.append(refused["feature"], dump(refused))
        except StoreError as error:
            trouble = str(error)
        self._say("refusal_not_kept", refused["feature"], trouble)
        return refused

    def _remember(self, stored: Stored, left: Flags) -> None:
        """Take the flags for known as this tick left them.

        Flags that went back in time are taken only once they keep out whoever the lost ones kept out.
        """
        known = self._known.get(stored.feature)
        back = (
            known is not None
            and left.revision < known.revision
            and not same_flags(left, most_restrictive(left, known))
        )
        if not back and not stored.flags.missing:
            self._known[stored.feature] = left


def _bounded(evidence: Evidence) -> Evidence:
    """Cut what Prometheus named at such length that every record would be full of it."""
    long = len(evidence.detail) > LONGEST_TEXT
    return replace(evidence, detail=fit_line(evidence.detail)) if long else evidence


def _flags_left(stored: Sequence[Stored], records: Sequence[Mapping[str, Any]]) -> dict[str, Flags]:
    """Return the flags of each feature after a tick: as read, or as an applied record says."""
    left = {one.feature: one.flags for one in stored}
    for record in records:
        if changed_flags(record):
            left[record["feature"]] = flags_from_record(record)
    return left
