"""Text that people and machines give is one clean line where it comes in, and steers no terminal."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.shared.plain_text import LONGEST_TEXT, clean, escape_controls, fit_line, read_line

ANY_TEXT = st.text(st.characters(exclude_categories=[]))
"""Surrogates, too: what JSON and the command line can bring."""
STEERING = {"Cc", "Cs", "Zl", "Zp"}


def steers(text: str) -> bool:
    joiners = {"\u200c", "\u200d"}
    return any(
        unicodedata.category(char) in STEERING | {"Cf"} - joiners for char in text if char not in joiners
    )


@pytest.mark.parametrize(
    ("given_text", "kept"),
    [
        ("  release 42 ", "release 42"),
        ("Größe, 数, \N{FAMILY}", "Größe, 数, \N{FAMILY}"),
        ("half \ud83d an emoji", "half � an emoji"),
        ("caf\udce9", "caf�"),
        ("\x1b[2Jgone\x07", "�[2Jgone�"),
        ("a\u202eb\u2066c", "a�b�c"),
        ("nul \x00", "nul �"),
        ("a\tb\u00a0c", "a b c"),
        ("x" * LONGEST_TEXT, "x" * LONGEST_TEXT),
    ],
)
def test_a_reason_is_kept_as_far_as_it_prints(given_text: str, kept: str) -> None:
    assert read_line(given_text) == kept


@pytest.mark.parametrize(
    ("given_text", "why"),
    [
        ("", "why it is done"),
        (" \t ", "why it is done"),
        ("one\ntwo", "one line"),
        ("one\n", "one line"),
        ("one\rtwo", "one line"),
        ("one\u2028two", "one line"),
        ("one\x85two", "one line"),
        ("x" * (LONGEST_TEXT + 1), "501 characters; 500"),
    ],
)
def test_a_reason_of_more_than_one_line_or_500_characters_is_refused(given_text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_line(given_text)


@given(ANY_TEXT)
def test_whatever_is_given_comes_in_as_one_line_that_prints_and_can_be_written(text: str) -> None:
    line = fit_line(text)
    assert len(line) <= LONGEST_TEXT
    assert not steers(line)
    line.encode()
    assert clean(line) == fit_line(line) == line


@given(ANY_TEXT)
def test_whatever_is_kept_goes_out_without_a_code_that_steers(text: str) -> None:
    shown = escape_controls(text)
    assert not steers(shown)
    shown.encode()


def test_a_terminal_is_shown_the_codes_that_it_must_not_obey() -> None:
    shown = escape_controls("\x1b]0;owned\x07 \u202eevil \ud83d")
    assert shown == r"\u001b]0;owned\u0007 \u202eevil \ud83d"
    assert escape_controls("two\nlines\x1b", keep="\n") == "two\nlines\\u001b"
    assert json.loads('"' + escape_controls("\x9b\U000e0001") + '"') == "\x9b\U000e0001"
