"""Where every decision goes beside Redis: a JSONL file and the log, one line each."""

import errno
import fcntl
import gzip
import logging
import os
import sys
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TextIO, cast

import structlog

from controller.shared.plain_text import escape_controls
from controller.store.record_json import dump, read_record

_MARKS = {"pause": "warning", "step_back": "warning", "external_change": "warning"}
_TAIL_BYTES = 16 * 2**20
"""How much of the file's end is read at the start, to know what it holds."""
_IDS_KNOWN = 20_000
_LOCK_TRIES = 20
_LOCK_PAUSE_S = 0.01


class Journal(Protocol):
    """Takes whole records; a record that cannot be kept is an error in the log, never an exception."""

    def keep(self, *records: Mapping[str, Any]) -> None:
        """Keep the decisions of one tick, or of a person."""


def journal_problem(path: Path, *, write: bool) -> str:
    """Say why a path cannot be the journal's; empty where it can. With `write` it is tried, too."""
    try:
        if path.exists() and not path.is_file():
            return f"{path} is no regular file"
        if write:
            path.open("ab").close()
    except OSError as error:
        return f"{path} cannot be written ({error.strerror})"
    return ""


class FileJournal:
    """Appends each record as one line of JSON, once for each decision id.

    The file is opened again each time, so that it may be rotated away. Several processes may share one: a
    lock that nobody waits long for keeps their lines whole, and what others wrote is read before writing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ids: dict[str, float] = {}
        """What is known of the file: ids, and when each was decided."""
        self._inode = 0
        self._read_to = 0
        self._lock = threading.Lock()
        self.trouble = ""
        """Why the newest record could not be kept, in words; the stream holds more than the file then."""
        self.known_since = 0.0
        """Of what was decided up to then (unix seconds), the file may hold more than is known here."""

    def keep(self, *records: Mapping[str, Any]) -> None:
        """Append records to the file."""
        self.keep_all(records)

    def keep_all(self, records: Sequence[Mapping[str, Any]]) -> int:
        """Keep those records that the file does not have, and give their number."""
        if not records:
            return 0
        with self._lock:
            return self._keep(records)

    def _keep(self, records: Sequence[Mapping[str, Any]]) -> int:
        if problem := journal_problem(self._path, write=False):
            self.trouble = problem
            return 0
        try:
            with self._path.open("a+b", buffering=0) as file:
                _lock(file)
                self._read_others(file)
                new = [record for record in records if record["id"] not in self._ids]
                _append(file, b"".join(dump(record).encode() + b"\n" for record in new))
                self._read_to = file.seek(0, os.SEEK_END)
        except OSError as error:
            self.trouble = f"{self._path}: {error.strerror or error}"
            return 0
        self._learn(new)
        self.trouble = ""
        return len(new)

    def has(self, decision_id: str) -> bool:
        """Whether a decision is in the file already."""
        return decision_id in self._ids

    def tail(self) -> list[dict[str, Any]]:
        """Return the newest records, oldest first, of this file and of the one rotated away before it."""
        with suppress(OSError):  # before it is read: what another process appends meanwhile is read twice
            status = self._path.stat()
            self._inode, self._read_to = status.st_ino, status.st_size
        rotated = self._path.with_name(self._path.name + ".1")
        older, newer = _tail(rotated), _tail(self._path)
        oldest = newer if self._read_to > _TAIL_BYTES else older
        if oldest:
            self.known_since = oldest[0]["at"]
        self._learn([*older, *newer])
        return [*older, *newer]

    def _read_others(self, file: BinaryIO) -> None:
        """Learn the ids of what was written since the last time, and start again with a rotated file."""
        status = os.fstat(file.fileno())
        if status.st_ino != self._inode or status.st_size < self._read_to:
            self._inode, self._read_to = status.st_ino, max(0, status.st_size - _TAIL_BYTES)
        if status.st_size > self._read_to:
            file.seek(self._read_to)
            self._learn(_records(file.read(status.st_size - self._read_to).splitlines()))

    def _learn(self, records: Iterable[Mapping[str, Any]]) -> None:
        for record in records:
            self._ids[record["id"]] = record["at"]
        while len(self._ids) > _IDS_KNOWN:
            self.known_since = max(self.known_since, self._ids.pop(next(iter(self._ids))))


class LogJournal:
    """Writes each decision to the log; holds that say the same as before may be left out."""

    def __init__(self, *, unchanged_holds: bool = True) -> None:
        self._unchanged_holds = unchanged_holds
        self._last: dict[str, tuple[str, str]] = {}
        self._log = structlog.get_logger("decision")

    def keep(self, *records: Mapping[str, Any]) -> None:
        """Write a line of the log for each record."""
        for record in records:
            self._say(record)

    def _say(self, record: Mapping[str, Any]) -> None:
        what = (record["kind"], record["reason"])
        unchanged = what == self._last.get(record["feature"]) and record["kind"] == "hold"
        self._last[record["feature"]] = what
        if unchanged and not self._unchanged_holds:
            return
        write = self._log.warning if record["kind"] in _MARKS else self._log.info
        with suppress(OSError):  # a log that nobody reads any more must not keep a decision from the file
            write(
                record["kind"],
                feature=record["feature"],
                reason=record["reason"],
                percent=record["to"]["rollout_percent"],
                detail=record.get("detail", ""),
                applied=record["applied"],
                id=record["id"],
            )


class Journals:
    """Several journals as one."""

    def __init__(self, *journals: Journal) -> None:
        self._journals = journals

    def keep(self, *records: Mapping[str, Any]) -> None:
        """Keep records in each journal, in order."""
        for journal in self._journals:
            journal.keep(*records)


def read_file(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a JSONL file, plain or gzipped, oldest first; a torn line is left out.

    Raises OSError.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from _records(cast("Iterable[bytes]", file))
    except (EOFError, zlib.error) as error:
        raise OSError(errno.EIO, f"not whole: {error}", str(path)) from error


def rotated_files(path: Path) -> list[Path]:
    """Return the file and those rotated away from it, oldest first."""
    old = [other for other in path.parent.glob(path.name + ".*") if other.is_file()]
    return [*sorted(old, key=lambda other: other.stat().st_mtime), *([path] if path.is_file() else [])]


def _records(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        record = read_record(line)
        if record is not None:
            yield record


def _tail(path: Path) -> list[dict[str, Any]]:
    """Return the records at the end of a file; none where it cannot be read."""
    if journal_problem(path, write=False):
        return []
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return list(_records(file))
    except OSError:
        return []


def _lock(file: BinaryIO) -> None:
    """Take the file's lock. Whoever holds it may be stopped forever, so nobody waits long for it."""
    for _ in range(_LOCK_TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_LOCK_PAUSE_S)
    raise OSError(errno.EWOULDBLOCK, "another process holds its lock")


def _append(file: BinaryIO, lines: bytes) -> None:
    """Append whole lines or nothing: a torn line before is ended, a line that does not fit is taken back."""
    end = file.seek(0, os.SEEK_END)
    if not lines:
        return
    if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
        lines = b"\n" + lines
    try:
        written = os.write(file.fileno(), lines)
    except OSError:
        os.ftruncate(file.fileno(), end)
        raise
    if written < len(lines):
        os.ftruncate(file.fileno(), end)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _escaped(_: Any, __: str, told: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape what would steer a terminal; the traceback of a mistake keeps its lines."""
    kept = {"exception": "\n"}
    return {
        name: escape_controls(value, keep=kept.get(name, "")) if isinstance(value, str) else value
        for name, value in told.items()
    }


def set_up_logging(stream: TextIO | None = None, *, level: int = logging.INFO) -> None:
    """Send the log to a stream, else to stderr: readable on a terminal, JSON lines elsewhere."""
    stream = stream or sys.stderr
    lines: structlog.typing.Processor = structlog.processors.JSONRenderer()  # escapes all but ASCII
    renderers = [_escaped, structlog.dev.ConsoleRenderer()] if stream.isatty() else [lines]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
