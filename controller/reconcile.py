"""Makes the stream in Redis and the JSONL file agree: what one of them lost, the other gives back.

A crash between the two writes, a full disk, an answer that was lost or another writer leave the file behind;
a Redis that lost writes leaves the stream behind. Either is mended when the controller starts, and when it
meets a state that it did not write.
"""

from collections.abc import Mapping
from typing import Any

import structlog

from controller.contract import Flags
from controller.decision.ramp import same_flags
from controller.decision.record import changed_flags, flags_from_record
from controller.flagstore import FlagStore, Stored, StoreError
from controller.journal import FileJournal, dump
from controller.watch import Said

_FIRST_LOOK = 8
_LONGEST_LOOK = 4_096


class Reconciler:
    """A journal that compares its file with the streams of all features, and repairs both."""

    def __init__(self, store: FlagStore, file: FileJournal) -> None:
        self._store = store
        self._file = file
        self._said = Said()
        self._log = structlog.get_logger("reconcile")
        self.known: dict[str, Flags] = {}
        """Each feature's flags, with their revision, as the file's newest record left them."""
        self.known_epoch = 0
        self.disagreements: dict[str, int] = {}
        """Records that one of the two lacks and that could not be given back, by feature."""
        for record in file.tail():
            self._learn(record)

    def keep(self, *records: Mapping[str, Any]) -> None:
        self._file.keep(*records)
        for record in records:
            self._learn(record)
            if self._file.trouble:
                name = record["feature"]
                self.disagreements[name] = self.disagreements.get(name, 0) + 1

    def catch_up(self, stored: Stored, *, foreign: bool) -> None:
        """Compare one feature, as it was just read: where another wrote it, or the file is behind."""
        name = stored.feature
        if not (foreign or self._file.trouble or self.disagreements.get(name)):
            return
        try:
            missing = self._missing_in_file(name)
            given = self._file.keep_all(missing)
            behind = len(missing) - given if self._file.trouble else 0
            lost = self._lost_by_stream(stored)
        except StoreError as error:
            if self._said.is_new(name, str(error)):
                self._log.warning("not_compared", feature=name, error=str(error))
            return
        self._said.is_new(name, "")
        for record in missing:
            self._learn(record)
        torn = name not in self.disagreements or self.disagreements[name] > 0
        if lost or (given and torn):
            self._log.warning("journal_repaired", feature=name, to_file=given, to_stream=lost)
        self.disagreements[name] = behind

    def _missing_in_file(self, feature: str) -> list[dict[str, Any]]:
        """Give the newest records of the stream that the file lacks: look back as far as it is known."""
        look, since = _FIRST_LOOK, self._file.known_since
        while True:
            newest = list(self._store.history(feature, newest=look))
            met = len(newest) < look or newest[0]["at"] <= since or self._file.has(newest[0]["id"])
            if met or look >= _LONGEST_LOOK:
                return [one for one in newest if one["at"] > since and not self._file.has(one["id"])]
            look *= 8

    def _lost_by_stream(self, stored: Stored) -> int:
        """Give back to the stream the changes that only the file has, where Redis went back in time."""
        known = self.known.get(stored.feature)
        if known is None or stored.flags.revision > known.revision:
            return 0
        if stored.flags.revision == known.revision and same_flags(stored.flags, known):
            return 0  # Else one who did not see what was lost has given its revision again, or it was a hand.
        changes = {
            record["id"]: dump(record)
            for record in self._file.tail()
            if record["feature"] == stored.feature and changed_flags(record)
        }
        return self._store.give_back(stored.feature, changes)

    def _learn(self, record: Mapping[str, Any]) -> None:
        if record["applied"] != "applied":
            return
        self.known[record["feature"]] = flags_from_record(record)
        self.known_epoch = max(self.known_epoch, record["epoch"])
