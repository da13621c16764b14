"""An address text is exactly one mailbox in a standard form, or it is refused by name; nobody is swapped."""

import contextlib
import json
import subprocess
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit import mailbox_table
from kit.mailbox_table import ROWS, read

from adapter.checks.mailbox_text import parse_mailbox_list
from adapter.errors import MessageRefusedError

ROOT = Path(__file__).parents[2]
OTHER_PYTHON = next(iter((Path.home() / ".pyenv" / "versions").glob("3.13*/bin/python3")), None)


@pytest.mark.parametrize(("written", "address", "name"), ROWS, ids=[ascii(row[0][:60]) for row in ROWS])
def test_a_text_is_one_mailbox_or_refused(written: str, address: str, name: str) -> None:
    assert read(written) == (address, name)


def test_the_table_is_long_enough_to_mean_something() -> None:
    assert len(ROWS) >= 150


@pytest.mark.skipif(OTHER_PYTHON is None, reason="no second Python is installed here")
def test_another_python_reads_every_row_in_the_same_way() -> None:
    done = subprocess.run(
        [str(OTHER_PYTHON), mailbox_table.__file__],
        env={"PYTHONPATH": f"{ROOT}:{sysconfig.get_paths()['purelib']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [list(read(text)) for text, *_ in ROWS]


PEOPLE = [
    ("ann@corp.example", None),
    ("bob@corp.example", "Bob"),
    ('"c d"@corp.example', "Doe, C."),
    ("e@x.y", "Ü"),
]


@given(st.lists(st.sampled_from(PEOPLE), max_size=6), st.sampled_from([",", ", ", " ,\r\n "]))
def test_everybody_in_a_list_is_read_in_order(people: list[tuple[str, str | None]], comma: str) -> None:
    written = comma.join(f'"{name}" <{address}>' if name else address for address, name in people)
    assert [(one.address, one.name) for one in parse_mailbox_list(written, "to")] == people


PIECES = [
    "a",
    "b@c.d",
    "<",
    ">",
    "@",
    ",",
    ";",
    ":",
    ".",
    '"',
    "(",
    ")",
    "\\",
    " ",
    "\r\n ",
    "[",
    "]",
    "ü",
    "=?utf-8?q?x?=",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_any_text_is_read_or_refused_and_every_address_stands_in_it(text: str) -> None:
    try:
        found = parse_mailbox_list(text, "to")
    except MessageRefusedError:
        return
    assert all(one.address in text for one in found)
    without_quotes_and_comments = text if '"' not in text and "(" not in text else ""
    if without_quotes_and_comments:
        assert without_quotes_and_comments.count("@") == len(found)


@pytest.mark.parametrize(
    "text", ["(" * 100_000, '"' + "a" * 100_000, "a," * 50_000, "<" * 100_000, "a@b.c," * 20_000]
)
def test_a_long_hostile_text_is_answered_in_linear_time(text: str) -> None:
    with contextlib.suppress(MessageRefusedError):
        assert parse_mailbox_list(text, "to")
