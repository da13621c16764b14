"""Checks a journal of one feature: revisions without a gap, each change from where the one before led."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controller.decision.model import Kind
from controller.decision.record import changed_flags

Record = Mapping[str, Any]


def inconsistencies(records: Sequence[Record]) -> Iterator[str]:
    """Yield every place at which a record does not follow from the one before, oldest first.

    A change from outside has no revision of its own: it only says where the next one begins.
    """
    last: Record | None = None
    ids: set[str] = set()
    for record in sorted(_applied(records), key=lambda one: (one["revision"], one["at"])):
        if record["id"] in ids:
            continue
        ids.add(record["id"])
        if last is not None:
            yield from _link(last, record)
        last = record


def differences(stream: Sequence[Record], file: Sequence[Record]) -> Iterator[str]:
    """Yield the changes that only one of the two holds, of the time that both of them cover."""
    if not stream or not file:
        return
    begin = max(stream[0]["at"], file[0]["at"])
    held = {
        name: {record["id"]: record for record in records if changed_flags(record) and record["at"] >= begin}
        for name, records in (("stream", stream), ("file", file))
    }
    for one, other in (("stream", "file"), ("file", "stream")):
        yield from (
            f"{record['id']} ({record['kind']}, revision {record['revision']}) is only in the {one}"
            for record_id, record in held[one].items()
            if record_id not in held[other]
        )


def _applied(records: Sequence[Record]) -> Iterator[Record]:
    return (
        record
        for record in records
        if record["applied"] == "applied"
        and (changed_flags(record) or record["kind"] == Kind.EXTERNAL_CHANGE)
    )


def _link(last: Record, record: Record) -> Iterator[str]:
    outside = record["kind"] == Kind.EXTERNAL_CHANGE
    rise = record["revision"] - last["revision"]
    if rise != (0 if outside else 1):
        noticed = record.get("newer") is not None
        yield (
            f"{record['id']}: revision {last['revision']} is followed by {record['revision']}"
            f"{', which the controller noticed' if noticed else ''}"
        )
    elif record["from"] != last["to"]:
        yield f"{record['id']}: begins at {record['from']}, but {last['id']} left {last['to']}"
