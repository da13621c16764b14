"""What is notified together: the features that one tick stopped. Each keeps its own record. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from controller.decision.causes import CONTROLLER
from controller.decision.model import LIVE, Kind
from controller.notify.messages import Notice

WRITTEN_WITHIN_S = 0.5
"""After a record of a tick, those of its other features are in Redis so soon."""
_BEFORE_MS = 5_000
LOOKED_AT = 20
"""Records of each feature, from before this one on, in which those of its tick are looked for."""


def tick_of(record: Mapping[str, Any]) -> str:
    """Name the tick, or the look at live counts, that stopped a feature; empty where nothing did."""
    evidence = record.get("evidence")
    if record.get("kind") not in {Kind.PAUSE, Kind.STEP_BACK} or not evidence:
        return ""
    if record["actor"] != CONTROLLER or record["applied"] != "applied":
        return ""
    live = evidence.get("source") == LIVE
    return f"live-{evidence['now']:.6f}" if live else f"tick-{record['at']:.6f}"


def looked_from(entry_id: str) -> str:
    """Return from where on in the other streams records of the same tick are looked for."""
    return f"{max(int(entry_id.partition('-')[0]) - _BEFORE_MS, 0)}-0"


def of_one_tick(notice: Notice, records: Iterable[Mapping[str, Any]], on: Sequence[str]) -> Notice:
    """Add to a notice what the same tick stopped beside it, of what a receiver hears of."""
    tick = tick_of(notice.record)
    same = [record for record in records if tick_of(record) == tick and record["kind"] in on]
    return replace(notice, others=tuple(sorted(same, key=lambda record: str(record["feature"]))))


def told_mark(notice: Notice) -> str:
    """Write which records a notice tells of; the first one's entry is the one that tells it."""
    return " ".join([notice.record["id"], *(record["id"] for record in notice.others)])


def as_marked(notice: Notice, mark: str) -> Notice | None:
    """Return what is left to tell of a tick that somebody marked; None where the mark tells of this too."""
    teller, *told = mark.split(" ")
    if teller == notice.record["id"]:
        return replace(notice, others=tuple(one for one in notice.others if one["id"] in told))
    return None if notice.record["id"] in told else replace(notice, others=())
