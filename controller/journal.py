"""Where every decision goes beside Redis: a JSONL file and the log, one line each."""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TextIO

import structlog

_MARKS = {"pause": "warning", "step_back": "warning", "external_change": "warning"}


class Journal(Protocol):
    """Takes whole records; a record that cannot be kept is an error in the log, never an exception."""

    def keep(self, record: Mapping[str, Any]) -> None:
        """Keep one decision."""


class FileJournal:
    """Appends each record as one line of JSON, opened anew each time so that it may be rotated away."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._broken = False
        self._log = structlog.get_logger("journal")

    def keep(self, record: Mapping[str, Any]) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(dump(record) + "\n")
        except OSError as error:
            if not self._broken:
                self._log.error("journal_file_lost", path=str(self._path), error=error.strerror)
            self._broken = True
            return
        if self._broken:
            self._log.warning("journal_file_back", path=str(self._path))
        self._broken = False


class LogJournal:
    """Writes each decision to the log; holds that say the same as before may be left out."""

    def __init__(self, *, unchanged_holds: bool = True) -> None:
        self._unchanged_holds = unchanged_holds
        self._last: dict[str, tuple[str, str]] = {}
        self._log = structlog.get_logger("decision")

    def keep(self, record: Mapping[str, Any]) -> None:
        what = (record["kind"], record["reason"])
        unchanged = what == self._last.get(record["feature"]) and record["kind"] == "hold"
        self._last[record["feature"]] = what
        if unchanged and not self._unchanged_holds:
            return
        write = self._log.warning if record["kind"] in _MARKS else self._log.info
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

    def keep(self, record: Mapping[str, Any]) -> None:
        for journal in self._journals:
            journal.keep(record)


def dump(record: Mapping[str, Any]) -> str:
    """Write a record as JSON text; floats come back bit for bit."""
    return json.dumps(record, separators=(",", ":"), allow_nan=False)


def read_file(path: Path) -> Iterator[dict[str, Any]]:
    """Give the records of a JSONL file, oldest first; a torn last line is left out."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                continue


def set_up_logging(stream: TextIO = sys.stderr, *, level: int = logging.INFO) -> None:
    """Send the log to a stream: readable on a terminal, JSON lines elsewhere."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if stream.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
