"""What must hold after any course of faults: of the records, and of the flags as they were seen."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from worlds.live import SCRAPE_S, TICK_S

from controller.contract import Flags, format_flags
from controller.decision.record import changed_flags, flags_from_record, flags_to_dict, verify
from controller.evidence.progress import Lengths
from controller.journal.verify import inconsistencies

SAMPLE_S = 0.02
Record = dict[str, Any]


@dataclass(frozen=True)
class Course:
    """What a course left, and what was seen on the way; instants are on the monotonic clock."""

    stream: Sequence[Record]
    files: Mapping[str, Sequence[Record]]
    """The records in each controller's file."""
    flags: Flags
    """As they are now."""
    seen: Sequence[tuple[float, tuple[str | None, ...]]]
    """The four flags and the revision at every change, looked at every SAMPLE_S."""
    steps: Sequence[float]
    resumes: Sequence[float]
    """When a person resumed."""
    emptied: Sequence[float]
    went_back: Sequence[float]
    """When Redis lost everything, and when it lost its last writes."""

    def problems(self) -> list[str]:
        """Return everything that is not as it must be, in words."""
        copies = (*self.files.values(), self.stream)
        every = {record["id"]: record for records in copies for record in records}
        return [
            *_unsound(every.values()),
            *_doubled(self.stream, self.files),
            *self._lost(),
            *self._not_as_recorded(every.values()),
            *self._unpaused(),
            *self._unrecorded(every.values()),
            *self._leaps(),
            *([] if self.emptied or self.went_back else inconsistencies(self.stream)),
        ]

    def _lost(self) -> Iterator[str]:
        """Every change is everywhere. Only an emptied Redis may take an act of the operator with it."""
        changes = {record["id"]: record for record in self.stream if changed_flags(record)}
        for name, records in self.files.items():
            held = {record["id"] for record in records}
            yield from (f"{one} is not in the file of {name}" for one in changes if one not in held)
            yield from (
                f"{record['id']} of the file of {name} is not in the stream"
                for record in records
                if changed_flags(record) and record["id"] not in changes
            )

    def _not_as_recorded(self, records: Iterable[Record]) -> Iterator[str]:
        applied = [record for record in records if record["applied"] == "applied"]
        last = max(applied, key=lambda record: (record["at"], record["revision"]))
        now = flags_to_dict(self.flags)
        if last["to"] != now:
            yield f"the flags are {now}, the last record says {last['to']}"

    def _unpaused(self) -> Iterator[str]:
        """Before anybody is in again after a pause, the operator must have resumed.

        Who enables a feature in a Redis that was emptied a moment ago makes it again, at 0 % and not paused,
        because nothing there tells of a pause; a controller that knows better pauses it at its next tick.
        """
        paused_at: float | None = None
        for at, values in self.seen:
            percent, paused = values[2:4]
            if paused == "true" and paused_at is None:
                paused_at = at
            elif paused == "false" and percent != "0" and paused_at is not None:
                excused = [*self.resumes, *self.went_back]
                if not any(paused_at - 0.5 <= one <= at + SAMPLE_S for one in excused):
                    yield f"the pause of {paused_at:.2f} ended at {at:.2f} without a resume"
                paused_at = None

    def _unrecorded(self, records: Iterable[Record]) -> Iterator[str]:
        """Yield what the flags were and no record tells of; an edit by hand may be gone before a tick."""
        told = {
            (str(record["revision"]), *format_flags(flags_from_record(record)))
            for record in records
            if record["applied"] == "applied"
        }
        for at, (*flags, revision) in self.seen:
            created = tuple(flags[:3]) == ("false", "true", "0")
            by_hand = flags[3] == "true" and (revision, *flags[:3], "false") in told
            lost = any(at <= emptied <= at + 3 * TICK_S for emptied in self.emptied)
            if None in flags or created or by_hand or lost or (revision, *flags) in told:
                continue
            yield f"at {at:.2f} the flags were {flags} at revision {revision}, and no record says so"

    def _leaps(self) -> Iterator[str]:
        """Yield every rise of the percentage that is not one step of the plan."""
        rises = pairwise(float(values[2]) for _, values in self.seen if values[2] is not None)
        for low, high in rises:
            if high > low and high != min(step for step in self.steps if step > low):
                yield f"the percentage leapt from {low:g} to {high:g}"


def _unsound(records: Iterable[Record]) -> Iterator[str]:
    lengths = Lengths(TICK_S, SCRAPE_S)
    for record in records:
        if differences := verify(record):
            yield f"{record['id']} is decided otherwise again: {differences}"
        if record["kind"] != "step_up":
            continue
        evidence = record["evidence"]
        if record["newer"] is not None:
            yield f"{record['id']} stepped up on flags that went back"
        if record["reason"] == "healthy" and (
            evidence["problem"]
            or evidence["sample_age_s"] > lengths.oldest_sample_s
            or any(finding["verdict"] != "met" for finding in record["findings"])
        ):
            yield f"{record['id']} stepped up without fresh healthy evidence"
        if evidence["problem"] == "metrics_unreachable":
            yield f"{record['id']} stepped up without Prometheus"
        if record["to"]["rollout_percent"] != next_step(record):
            yield f"{record['id']} skipped a step"


def next_step(record: Record) -> float:
    steps: list[float] = record["config"]["steps"]
    return min(step for step in steps if step > record["from"]["rollout_percent"])


def _doubled(stream: Sequence[Record], files: Mapping[str, Sequence[Record]]) -> Iterator[str]:
    for place, records in {"the stream": stream, **files}.items():
        ids = [record["id"] for record in records]
        yield from (f"{one} is twice in {place}" for one in {one for one in ids if ids.count(one) > 1})
    steps = [record for record in stream if record["kind"] == "step_up" and record["applied"] == "applied"]
    revisions = [record["revision"] for record in steps]
    yield from (f"two steps have revision {one}" for one in {r for r in revisions if revisions.count(r) > 1})
