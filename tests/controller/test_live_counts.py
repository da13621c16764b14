"""What is believed of the live counts that sender processes write, whatever somebody writes there."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.evidence.live import FORGOTTEN_S, MOST_SENDS, OUTDATED_S, LiveCounter, LiveSecond

NOTHING = LiveSecond()


def value(sends: float, errors: float = 0, slow: float = 0, mailboxes: float = 0, at: float = 1e9) -> str:
    named = {"at": at, "sends": sends, "errors": errors, "slow": slow, "failed_mailboxes": mailboxes}
    return json.dumps(named)


def test_a_new_process_is_a_baseline_and_then_counts() -> None:
    counter = LiveCounter()
    assert counter.look({"a:1:1": value(100, 50)}, 1.0) == NOTHING
    assert counter.look({"a:1:1": value(110, 53, 4, 2), "b:1:1": value(7)}, 2.0) == (10, 3, 4, 2)
    assert counter.look({"a:1:1": value(110, 53, 4, 2), "b:1:1": value(9)}, 3.0) == (2, 0, 0, 0)
    assert counter.processes == 2


def test_a_process_that_begins_again_under_its_name_is_a_baseline() -> None:
    counter = LiveCounter()
    counter.look({"a": value(100, 50)}, 1.0)
    assert counter.look({"a": value(10, 10)}, 2.0) == NOTHING
    assert counter.look({"a": value(12, 11)}, 3.0) == (2, 1, 0, 0)


@pytest.mark.parametrize(
    "falls", [value(99, 50, 5, 5), value(110, 49, 5, 5), value(110, 50, 4, 5), value(110, 50, 5, 4)]
)
def test_where_one_count_falls_none_is_believed(falls: str) -> None:
    counter = LiveCounter()
    counter.look({"a": value(100, 50, 5, 5)}, 1.0)
    assert counter.look({"a": falls}, 2.0) == NOTHING


def test_a_value_that_a_newer_one_has_overtaken_counts_nothing_and_is_counted_once() -> None:
    """Two writes of one process may arrive in the other order."""
    counter = LiveCounter()
    written = [value(0, at=1.0), value(100, 9, at=3.0), value(50, 4, at=2.0), value(150, 12, at=4.0)]
    looks = [counter.look({"a": text}, float(i)) for i, text in enumerate(written)]
    assert looks == [NOTHING, (100, 9, 0, 0), NOTHING, (50, 3, 0, 0)]


def test_a_process_that_begins_again_long_before_by_its_clock_still_counts() -> None:
    counter = LiveCounter()
    counter.look({"a": value(100, at=1e9)}, 1.0)
    assert counter.look({"a": value(5, at=1e9 - OUTDATED_S)}, 2.0) == NOTHING
    assert counter.look({"a": value(9, 2, at=1e9 - OUTDATED_S + 1)}, 3.0) == (4, 2, 0, 0)


def test_clocks_of_senders_change_no_count() -> None:
    counter = LiveCounter()
    counter.look({"a": value(1, at=0), "b": value(1, at=4e9)}, 1.0)
    assert counter.look({"a": value(3, at=4e9), "b": value(4, at=0)}, 2.0) == (5, 0, 0, 0)


def test_a_liar_counts_for_no_more_than_it_says_it_sent() -> None:
    counter = LiveCounter()
    counter.look({"liar": value(0), "far": value(0), "a": value(0)}, 1.0)
    lies = {"liar": value(5, 1e9, 1e9, 1e9), "far": value(MOST_SENDS + 1, 9), "a": value(50)}
    assert counter.look(lies, 2.0) == (55, 5, 5, 5)


GARBAGE = [
    "",
    "null",
    "[]",
    "{}",
    "x" * 10_000,
    "[" * 100_000,
    '{"at": 1, "sends": "5", "errors": 0, "slow": 0}',
    '{"at": 1, "sends": true, "errors": 0, "slow": 0}',
    '{"at": 1, "sends": -5, "errors": 0, "slow": 0}',
    '{"at": 1, "sends": 1e999, "errors": 0, "slow": 0}',
    '{"at": 1, "sends": NaN, "errors": 0, "slow": 0}',
    '{"at": null, "sends": 5, "errors": 0, "slow": 0}',
    '{"sends": 5, "errors": 0, "slow": 0}',
    "\udcff\udcfe",
    '{"at": 1, "sends": 5, "errors": 0, "slow": 0, "\udcff": 1}',
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_a_value_that_cannot_be_read_counts_nothing_and_hides_no_other(garbage: str) -> None:
    counter = LiveCounter()
    counter.look({"a": garbage, "b": value(1), "\udcff": garbage}, 1.0)
    assert counter.look({"a": value(50, 50), "b": garbage, "c": garbage}, 2.0) == NOTHING
    assert counter.look({"a": value(52, 51), "b": value(70, 70)}, 3.0) == (2, 1, 0, 0)


@given(st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=40) | st.just(value(5, 3)))))
def test_no_text_is_an_error(looks: list[dict[str, str]]) -> None:
    counter = LiveCounter()
    for number, fields in enumerate(looks):
        second = counter.look(fields, float(number))
        assert all(0 <= count <= MOST_SENDS for count in second)
        counter.outdated(float(number), 1e9)


def test_a_field_that_rests_for_a_minute_is_removed_and_goes_on_from_where_it_was() -> None:
    counter, fields = LiveCounter(), {"a": value(5), "garbage": "x"}
    counter.look(fields, 1.0)
    counter.look(fields, OUTDATED_S)
    assert counter.outdated(OUTDATED_S, 1e9) == []
    counter.look(fields, OUTDATED_S + 1.5)
    assert sorted(counter.outdated(OUTDATED_S + 1.5, 1e9)) == ["a", "garbage"]
    assert counter.look({}, OUTDATED_S + 2) == NOTHING
    assert counter.look({"a": value(6, 1)}, OUTDATED_S + 3) == (1, 1, 0, 0)


def test_a_field_that_says_it_is_old_is_removed_at_the_second_look() -> None:
    counter, old = LiveCounter(), {"a": value(5, at=1e9 - OUTDATED_S - 1)}
    counter.look(old, 1.0)
    assert counter.outdated(1.0, 1e9) == []
    counter.look(old, 2.0)
    assert counter.outdated(2.0, 1e9) == ["a"]


def test_a_process_that_is_gone_for_an_hour_is_forgotten() -> None:
    counter = LiveCounter()
    counter.look({"a": value(5)}, 1.0)
    counter.look({}, 2.0)
    counter.outdated(FORGOTTEN_S + 2, 1e9)
    assert counter.look({"a": value(50)}, FORGOTTEN_S + 3) == NOTHING


def counts(counter: LiveCounter, number: int, **of: Any) -> LiveSecond:
    return counter.look({str(i): value(number, **of) for i in range(1000)}, float(number))


def test_a_thousand_processes_add_up() -> None:
    counter = LiveCounter()
    counts(counter, 1)
    assert counts(counter, 3, errors=1) == (2000, 1000, 0, 0)
