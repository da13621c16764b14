"""From what was decided of a feature to what is written and told of it, and the states that this left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from controller.decision.causes import CONTROLLER, OUTSIDE
from controller.decision.codec import encode
from controller.decision.decide import rejected_write
from controller.decision.feature import RolloutFeature
from controller.decision.model import Decision, Kind, Reason, Snapshot, State
from controller.decision.record import record_of, state_to_dict
from controller.store.flag_store import Stored, Write, WriteOutcome, new_decision_id, state_text
from controller.store.lease import Leadership
from controller.store.record_json import dump

_APPLIED = {
    WriteOutcome.APPLIED: "applied",
    WriteOutcome.SKIPPED: "skipped",
    WriteOutcome.CONFLICT: "conflict",
    WriteOutcome.FENCED: "failed",
    WriteOutcome.FAILED: "failed",
}
_REFUSALS = {
    WriteOutcome.CONFLICT: Reason.CONFLICT,
    WriteOutcome.FENCED: Reason.NOT_LEADER,
    WriteOutcome.FAILED: Reason.CONFLICT,
}


class LastWritten(NamedTuple):
    """The state of a feature that this controller wrote last: as the store holds it, and as it was."""

    text: str
    state: State
    plain: Mapping[str, Any]
    """The state as its record has it."""


@dataclass(frozen=True, slots=True)
class FeatureTick:
    """One feature's way through a tick."""

    stored: Stored
    snapshot: Snapshot
    decision: Decision
    outside: Decision | None
    """The change that somebody made without this product, if there was one."""


class PendingWrite(NamedTuple):
    """What is to be written of a case, and what of it is reported."""

    case: FeatureTick
    records: Sequence[dict[str, Any]]
    state: Mapping[str, Any]
    write: Write


class WriteBuilder:
    """Makes the acts of one controller's decisions.

    Between two ticks it keeps the states that its writes left, to notice when another wrote.
    """

    def __init__(self, *, dry_run: bool, deadline_s: float) -> None:
        self._dry_run = dry_run
        self._deadline_s = deadline_s
        self._left: dict[str, LastWritten] = {}
        self._configs: dict[str, Any] = {}

    def use(self, features: Mapping[str, RolloutFeature]) -> None:
        """Build writes for these features from now on."""
        self._configs = {name: encode(feature) for name, feature in features.items()}

    def our_state(self, stored: Stored) -> State | None:
        """Return the state that was read where it is the one left here, which then need not be read again."""
        left = self._left.get(stored.feature)
        return left.state if left is not None and left.text == stored.state else None

    def of(self, case: FeatureTick, leadership: Leadership | None) -> PendingWrite:
        """Make what is to be written of a case."""
        records = self._records(case, leadership.epoch if leadership else 0)
        state = state_to_dict(case.decision.state)
        text = state_text(state, records[-1]["id"])
        return PendingWrite(case, records, state, self._write(case, records, text, leadership))

    def note(self, act: PendingWrite, outcome: WriteOutcome) -> None:
        """Keep the state that was left, so that another's shows."""
        feature = act.write.stored.feature
        if outcome is WriteOutcome.APPLIED:
            self._left[feature] = LastWritten(act.write.state, act.case.decision.state, act.state)
        else:
            self._left.pop(feature, None)

    def _records(self, case: FeatureTick, epoch: int) -> list[dict[str, Any]]:
        """Return the record of a change from outside, if there was one, and the decision's."""
        revision = case.stored.flags.revision
        left = max(revision, newer.revision) + 1 if (newer := case.snapshot.newer) else revision + 1
        decided = self._record(
            case, case.decision, CONTROLLER, epoch, left if _writes_flags(case.decision) else revision
        )
        if case.outside is None:
            return [decided]
        return [self._record(case, case.outside, OUTSIDE, epoch, revision), decided]

    def _record(
        self, case: FeatureTick, decision: Decision, actor: str, epoch: int, revision: int
    ) -> dict[str, Any]:
        left = self._left.get(case.stored.feature)
        return record_of(
            case.snapshot,
            decision,
            decision_id=new_decision_id(case.stored.feature, case.snapshot.now),
            actor=actor,
            dry_run=self._dry_run,
            applied=_APPLIED[WriteOutcome.SKIPPED if self._dry_run else WriteOutcome.APPLIED],
            epoch=epoch,
            revision=case.stored.flags.revision if self._dry_run else revision,
            config=self._configs[case.stored.feature],
            state_before=left.plain if left is not None and left.state is case.snapshot.state else None,
        )

    def _write(
        self, case: FeatureTick, records: Sequence[dict[str, Any]], state: str, leadership: Leadership | None
    ) -> Write:
        granted_ms = leadership.granted_ms if leadership else None
        until_ms = None if granted_ms is None else granted_ms + int(self._deadline_s * 1000)
        return Write(
            decision_id=records[-1]["id"],
            stored=case.stored,
            records=tuple(dump(record) for record in records),
            state=state,
            flags=case.decision.flags if _writes_flags(case.decision) else None,
            above_revision=case.snapshot.newer.revision if case.snapshot.newer else 0,
            epoch=None if needs_no_lease(case.decision) or not leadership else leadership.epoch,
            until_ms=None if needs_no_lease(case.decision) else until_ms,
        )


def refusal(act: PendingWrite, outcome: WriteOutcome) -> dict[str, Any] | None:
    """Return the record that stands in the place of an act's where its write was refused."""
    if outcome not in _REFUSALS:
        return None
    case, refused = act.case, act.records[-1]
    return record_of(
        case.snapshot,
        rejected_write(case.snapshot, case.decision, _REFUSALS[outcome]),
        decision_id=refused["id"],
        actor=CONTROLLER,
        dry_run=False,
        applied=_APPLIED[outcome],
        epoch=refused["epoch"],
        revision=case.stored.flags.revision,
    )


def needs_no_lease(decision: Decision) -> bool:
    """Whether a decision may be written without the lease: only a pause."""
    return decision.kind is Kind.PAUSE


def _writes_flags(decision: Decision) -> bool:
    return decision.kind in {Kind.STEP_UP, Kind.STEP_BACK, Kind.PAUSE}
