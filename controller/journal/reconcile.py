"""Makes the stream in Redis and the JSONL file agree: what one of them lost, the other gives back.

A crash between the two writes, a full disk, an answer that was lost or another writer leave the file behind;
a Redis that lost writes leaves the stream behind. Either is mended when the controller starts, and when it
meets a state that it did not write.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import structlog

from controller.contract import Flags
from controller.decision.ramp import same_flags
from controller.decision.record import changed_flags, flags_from_record
from controller.journal.sinks import FileJournal
from controller.shared.log_on_change import LogOnChange
from controller.store.flag_store import FlagStore, Stored, StoreError
from controller.store.record_json import dump

_FIRST_LOOK = 8
_LONGEST_LOOK = 4_096


class _Met(NamedTuple):
    """A record by its name, and when it was decided."""

    id: str
    at: float


class Reconciler:
    """A journal that compares its file with the streams of all features, and repairs both."""

    def __init__(self, store: FlagStore, file: FileJournal) -> None:
        self._store = store
        self._file = file
        self._said = LogOnChange()
        self._log = structlog.get_logger("reconcile")
        self.known: dict[str, Flags] = {}
        """Each feature's flags, with their revision, as the file's newest record left them."""
        self._newest: dict[str, _Met] = {}
        """Each feature's newest record that the stream is known to have had."""
        self.known_epoch = 0
        self.disagreements: dict[str, int] = {}
        """Records that one of the two lacks and that could not be given back, by feature."""
        for record in file.tail():
            self._learn(record)

    def keep(self, *records: Mapping[str, Any]) -> None:
        """Keep records in the file, and remember what they left."""
        self._file.keep(*records)
        for record in records:
            self._learn(record)
            if self._file.trouble:
                name = record["feature"]
                self.disagreements[name] = self.disagreements.get(name, 0) + 1

    def catch_up(self, stored: Stored, *, foreign: bool) -> bool:
        """Compare one feature, as it was just read: where another wrote it, or the file is behind.

        Tells whether something was given back to the store, which then is no longer as it was read.
        """
        name = stored.feature
        if not (foreign or self._file.trouble or self.disagreements.get(name)):
            return False
        try:
            newest = self._read_back(name)
            common = newest[0]["id"] if newest and self._file.has(newest[0]["id"]) else ""
            missing = self._missing_in_file(newest)
            given = self._file.keep_all(missing)
            behind = len(missing) - given if self._file.trouble else 0
            lost = self._lost_by_stream(stored, newest, common)
        except StoreError as error:
            if self._said.is_new(name, str(error)):
                self._log.warning("not_compared", feature=name, error=str(error))
            return False
        self._said.is_new(name, "")
        for record in missing:
            self._learn(record)
        if newest:
            self._newest[name] = _Met(newest[-1]["id"], newest[-1]["at"])
        torn = name not in self.disagreements or self.disagreements[name] > 0
        if lost or (given and torn):
            self._log.warning("journal_repaired", feature=name, to_file=given, to_stream=lost)
        self.disagreements[name] = behind
        return lost > 0

    def _read_back(self, feature: str) -> list[dict[str, Any]]:
        """Return the newest records of the stream, as far back as those that both are known to have had."""
        look, known = _FIRST_LOOK, self._newest.get(feature)
        while True:
            newest = list(self._store.history(feature, newest=look))
            met = len(newest) < look or newest[0]["at"] <= self._file.known_since
            if met or self._is_common(newest[0], known) or look >= _LONGEST_LOOK:
                return newest
            look *= 8

    def _is_common(self, record: Mapping[str, Any], known: _Met | None) -> bool:
        return self._file.has(record["id"]) and (known is None or record["at"] <= known.at)

    def _missing_in_file(self, newest: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        since = self._file.known_since
        return [one for one in newest if one["at"] > since and not self._file.has(one["id"])]

    def _lost_by_stream(self, stored: Stored, newest: Sequence[Mapping[str, Any]], common: str) -> int:
        """Return back to the stream the changes that only the file has, where Redis went back in time.

        Those behind `common` in the file's own order: the clocks of those who decided may differ.
        """
        if not (self._went_back(stored) or (common and self._is_gone(stored.feature, newest))):
            return 0
        tail = [record for record in self._file.tail() if record["feature"] == stored.feature]
        met = (at for at, record in enumerate(tail) if record["id"] == common)
        begin = next(met, 0) if len(newest) >= _FIRST_LOOK else 0
        changes = {record["id"]: dump(record) for record in tail[begin:] if changed_flags(record)}
        return self._store.restore_records(stored.feature, changes)

    def _went_back(self, stored: Stored) -> bool:
        """Whether the flags are older than known, or others of the same revision: given again, or by hand."""
        known = self.known.get(stored.feature)
        if known is None or stored.flags.revision > known.revision:
            return False
        return stored.flags.revision < known.revision or not same_flags(stored.flags, known)

    def _is_gone(self, feature: str, newest: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the stream lost what it had: another may have decided the same again."""
        known = self._newest.get(feature)
        if known is None or not newest or newest[0]["at"] > known.at:
            return False
        return all(record["id"] != known.id for record in newest)

    def _learn(self, record: Mapping[str, Any]) -> None:
        if record["applied"] != "applied":
            return
        self._newest[record["feature"]] = _Met(record["id"], record["at"])
        self.known[record["feature"]] = flags_from_record(record)
        self.known_epoch = max(self.known_epoch, record["epoch"])
