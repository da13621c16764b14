"""The JSONL file: whole lines, each decision once, whatever happens to the file meanwhile."""

import errno
import fcntl
import gzip
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from worlds import snapshots
from worlds.snapshots import at_step

from controller.decision.decide import decide
from controller.decision.model import Kind
from controller.journal import sinks as journal
from controller.journal.sinks import FileJournal, LogJournal, read_file, rotated_files
from controller.store.record_json import dump


def record(number: int) -> dict[str, Any]:
    seen = at_step()
    return snapshots.record(seen, decide(seen), decision_id=f"microsoft-{number}-a")


def ids(path: Path) -> list[str]:
    return [found["id"] for found in read_file(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.jsonl"


def test_each_decision_is_one_line_and_is_kept_once(path: Path) -> None:
    kept = FileJournal(path)
    kept.keep(record(1))
    assert kept.keep_all([record(1), record(2)]) == 1
    assert ids(path) == ["microsoft-1-a", "microsoft-2-a"]
    assert len(path.read_text().splitlines()) == 2


def test_what_another_process_wrote_is_not_written_again(path: Path) -> None:
    one, other = FileJournal(path), FileJournal(path)
    one.keep(record(1))
    other.keep(record(2))
    one.keep_all([record(1), record(2), record(3)])
    other.keep_all([record(1), record(2), record(3)])
    assert ids(path) == ["microsoft-1-a", "microsoft-2-a", "microsoft-3-a"]


def test_a_file_that_was_rotated_away_is_begun_anew(path: Path) -> None:
    kept = FileJournal(path)
    kept.keep(record(1))
    path.rename(path.with_name("decisions.jsonl.1"))
    kept.keep_all([record(1), record(2)])
    assert ids(path) == ["microsoft-2-a"]
    assert [ids(file) for file in rotated_files(path)] == [["microsoft-1-a"], ["microsoft-2-a"]]


def test_a_file_that_was_truncated_in_place_goes_on(path: Path) -> None:
    kept = FileJournal(path)
    kept.keep_all([record(1), record(2)])
    path.write_text("")
    kept.keep(record(3))
    assert ids(path) == ["microsoft-3-a"]


def test_a_new_process_knows_what_was_rotated_away_just_before(path: Path) -> None:
    FileJournal(path).keep(record(1))
    path.rename(path.with_name("decisions.jsonl.1"))
    started = FileJournal(path)
    assert [found["id"] for found in started.tail()] == ["microsoft-1-a"]
    assert started.keep_all([record(1)]) == 0


def test_what_another_process_writes_while_this_one_starts_is_not_written_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FileJournal(path).keep(record(1))
    read = journal._tail

    def read_slowly(name: Path) -> list[dict[str, Any]]:
        found = read(name)
        if name == path:
            FileJournal(path).keep(record(2))
        return found

    monkeypatch.setattr(journal, "_tail", read_slowly)
    started = FileJournal(path)
    assert [one["id"] for one in started.tail()] == [record(1)["id"]]
    assert started.keep_all([record(2)]) == 0


def test_a_torn_last_line_harms_neither_its_neighbour_nor_the_reader(path: Path) -> None:
    path.write_bytes(b'{"id": "microsoft-1-a", "feat')
    FileJournal(path).keep(record(2))
    assert ids(path) == ["microsoft-2-a"]


@pytest.mark.parametrize("line", ['{"id": "x"}', '{"id": []}', "[]", "[" * 100_000, "\x00", "no JSON"])
def test_what_somebody_else_wrote_into_the_file_is_passed_over(path: Path, line: str) -> None:
    path.write_text(f"{line}\n")
    kept = FileJournal(path)
    assert kept.tail() == []
    kept.keep(record(1))
    assert ids(path) == ["microsoft-1-a"]


def test_a_gzipped_file_is_read_like_a_plain_one(path: Path) -> None:
    FileJournal(path).keep(record(1))
    packed = path.with_name("decisions.jsonl.2.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert ids(packed) == ["microsoft-1-a"]


def test_a_line_that_does_not_fit_on_the_disk_is_taken_back_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = FileJournal(path)
    kept.keep(record(1))
    write = os.write
    with monkeypatch.context() as full:
        full.setattr("controller.journal.sinks.os.write", lambda fd, data: write(fd, data[: len(data) // 2]))
        assert kept.keep_all([record(2)]) == 0
    assert kept.trouble == f"{path}: {os.strerror(errno.ENOSPC)}"
    assert ids(path) == ["microsoft-1-a"]
    assert kept.keep_all([record(2)]) == 1
    assert not kept.trouble


def test_a_disk_that_is_really_full_is_named(tmp_path: Path) -> None:
    full = FileJournal(Path("/dev/full"))
    full.keep(record(1))
    assert full.trouble


def test_a_process_stopped_while_it_held_the_lock_holds_nobody_up_for_long(path: Path) -> None:
    kept = FileJournal(path)
    kept.keep(record(1))
    with path.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert kept.keep_all([record(2)]) == 0
        assert "lock" in kept.trouble
    assert kept.keep_all([record(2)]) == 1


def test_what_is_known_of_the_file_does_not_grow_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_IDS_KNOWN", 10)
    kept = FileJournal(path)
    for number in range(50):
        kept.keep(record(number))
    assert len(kept._ids) == 10
    assert len(ids(path)) == 50


def test_a_log_that_nobody_reads_any_more_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def info(self, *_: object, **__: object) -> None:
            raise BrokenPipeError

    log = LogJournal()
    monkeypatch.setattr(log, "_log", Closed())
    log.keep(record(1))


@pytest.mark.parametrize("number", [0.1, -3.3513433571846813, 1e300, 5e-324, 2.0, -762.2317087780976])
def test_numbers_come_back_bit_for_bit(number: float) -> None:
    assert struct.pack("d", json.loads(dump({"n": number}))["n"]) == struct.pack("d", number)


@pytest.mark.parametrize("text", ["jürgen", "名前", "\ud800", '"\\\n\x00', "🙂"])
def test_any_text_can_be_kept_half_a_surrogate_pair_too(text: str) -> None:
    assert json.loads(dump({"note": text, "flags": ("a", Kind.HOLD)})) == {
        "note": text,
        "flags": ["a", "hold"],
    }


@pytest.mark.parametrize("damage", ["cut", "torn", "plain"])
def test_a_damaged_archive_is_an_error_of_the_file(tmp_path: Path, damage: str) -> None:
    packed = gzip.compress(b"{}\n" * 1000)
    path = tmp_path / "decisions.jsonl.1.gz"
    torn = packed[:30] + b"\xff" * 9 + packed[39:]
    path.write_bytes({"cut": packed[:-9], "torn": torn, "plain": b"{}\n"}[damage])
    with pytest.raises(OSError, match=r"whole|gzip|CRC"):
        list(read_file(path))
