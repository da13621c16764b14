"""One process that is found twice is told from two that began at the same moment."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.evidence.twins import STARTED, Counters, Samples, are_one, copies, suspects

KEY = (("__name__", "action_exec_total"),)
OTHER = (("__name__", "action_exec_total"), ("status", "error"))


def rising(first: float, per_s: float, phase: float = 0.0) -> Samples:
    return [(10.0 * k + phase, first + per_s * (10.0 * k + phase)) for k in range(6)]


@given(st.floats(0, 9.9), st.floats(0.1, 1000))
def test_one_process_is_recognised_whenever_its_targets_are_scraped(phase: float, per_s: float) -> None:
    assert are_one({KEY: rising(7, per_s)}, {KEY: rising(7, per_s, phase)}, 1.0)


@pytest.mark.parametrize("other", [rising(500, 1), rising(7, 5)])
def test_two_processes_are_told_apart_by_what_they_count(other: Samples) -> None:
    assert are_one({KEY: rising(7, 1)}, {KEY: other}, 1.0) is False


def test_silence_tells_nothing_nor_does_a_counter_that_one_target_does_not_show_yet() -> None:
    assert are_one({KEY: rising(7, 1)}, {}, 1.0) is None
    assert are_one({KEY: rising(7, 1), OTHER: rising(0, 1)}, {KEY: rising(7, 1, 3)}, 1.0)
    assert are_one({KEY: rising(7, 0)}, {KEY: rising(7, 0, 3)}, 1.0) is None


def test_what_the_process_before_counted_tells_no_two_apart() -> None:
    before = [(float(at), 720_000.0) for at in (-20, -10)]
    started = [(float(at), 5.0) for at in (-20, -10)] + [(at, 99.0) for at, _ in rising(7, 1)]
    restarted: Counters = {KEY: [*before, *rising(7, 1)], (STARTED,): started}
    alone: Counters = {KEY: rising(7, 1, 3), (STARTED,): [(at, 99.0) for at, _ in rising(7, 1, 3)]}
    assert are_one(restarted, alone, 1.0)


def test_only_the_same_start_at_the_same_port_is_suspicious() -> None:
    starts = {"10.0.0.1:9100": 5.0, "mail-1:9100": 5.0, "mail-1:9101": 5.0, "mail-2:9100": 6.0}
    assert suspects(starts) == (("10.0.0.1:9100", "mail-1:9100"),)


def test_a_send_is_counted_as_often_as_its_process_is_found() -> None:
    assert [copies(()), copies([("a", "b")]), copies([("a", "b"), ("b", "c"), ("d", "e")])] == [1, 2, 3]
