"""A snapshot answers from one reading, closes when it is too old, and keeps rules that did not change."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.gate.domains import NO_DOMAINS, InternalDomains
from adapter.gate.rollout_gate import RolloutGate
from adapter.gate.rule import NO_BUCKET, GateAnswer, GateReason
from adapter.gate.snapshot import STALE_AFTER_S, keys, renewed, unread
from controller.contract import CLOSED

SALTS = {"google": "google", "microsoft": "microsoft"}
NOTHING: list[str | None] = [None] * 5
OPEN = ["true", "false", "100", "false", "7"]
BEFORE = unread(SALTS, NO_DOMAINS)
READ = renewed(BEFORE, 100.0, [*NOTHING, *OPEN], SALTS, NO_DOMAINS)


def test_keys_are_asked_for_feature_by_feature_with_the_revision_last() -> None:
    assert keys(["microsoft"]) == [
        "flags:microsoft:enabled",
        "flags:microsoft:internal_only",
        "flags:microsoft:rollout_percent",
        "flags:microsoft:paused",
        "flags:microsoft:revision",
    ]


@given(age_s=st.floats(0, 10))
def test_nobody_is_let_in_by_flags_older_than_three_seconds(age_s: float) -> None:
    given_answer = READ.answer("microsoft", "user-1", (), 100.0 + age_s)
    assert given_answer.open == (100.0 + age_s <= 100.0 + STALE_AFTER_S)
    assert given_answer.reason is (GateReason.IN_ROLLOUT if given_answer.open else GateReason.STALE)


def test_before_the_first_reading_everything_is_stale_and_nothing_is_obeyed() -> None:
    assert BEFORE.answer("microsoft", "user-1", (), 0.0) == (False, GateReason.STALE, 88_804)
    assert BEFORE.obeyed("microsoft", 0.0) == CLOSED


_booleans = st.sampled_from(["true", "false", "no", None])
_percents = st.sampled_from(["0", "0.001", "50", "100", "x", None])


@given(
    texts=st.one_of(
        st.tuples(st.just("true"), st.sampled_from(["true", "false"]), _percents, st.just("false")),
        st.tuples(_booleans, _booleans, _percents, _booleans),
    ),
    feature=st.sampled_from(["microsoft", "microsoft", "microsoft", "nobody"]),
    user=st.one_of(st.integers(0, 99).map("user-{}".format), st.sampled_from(["", "\ud800", None, 7])),
    recipients=st.sampled_from([(), ("a@corp.example",), ("x@elsewhere.example",)]),
    age_s=st.sampled_from([0.0, 2.9, STALE_AFTER_S, 3.1, 60.0]),
)
def test_a_gate_answers_at_every_time_what_its_snapshot_does(
    texts: tuple[str | None, ...], feature: str, user: Any, recipients: tuple[str, ...], age_s: float
) -> None:
    ours = InternalDomains.parse(["corp.example"])
    snapshot = renewed(unread(SALTS, ours), 100.0, [*NOTHING, *texts, "7"], SALTS, ours)
    reader: Any = SimpleNamespace(snapshot=snapshot)
    with patch("adapter.gate.rollout_gate.monotonic", return_value=100.0 + age_s):
        answer = RolloutGate(reader, dict.fromkeys(SALTS, 0.5)).check(feature, user, recipients)
    assert answer == snapshot.answer(feature, user, recipients, 100.0 + age_s)
    assert type(answer) is GateAnswer


def test_flags_obeyed_are_those_read_until_they_are_stale() -> None:
    assert (READ.obeyed("microsoft", 102.0).revision, READ.obeyed("microsoft", 102.0).rollout_percent) == (
        7,
        100,
    )
    assert READ.obeyed("microsoft", 103.5) == CLOSED
    assert READ.obeyed("nobody", 100.0) == CLOSED


def test_a_feature_that_nobody_configured_is_closed() -> None:
    assert READ.answer("nobody", "user-1", (), 100.0) == (False, GateReason.UNKNOWN_FEATURE, NO_BUCKET)


def test_a_reading_without_news_keeps_the_rules_and_renews_their_age() -> None:
    again = renewed(READ, 101.0, [*NOTHING, *OPEN], SALTS, NO_DOMAINS)
    assert again.rules is READ.rules
    assert again.asked_at == 101.0


def test_news_of_one_feature_leave_the_rule_of_another_as_it_was() -> None:
    news = renewed(READ, 101.0, [*NOTHING, "true", "false", "100", "true", "8"], SALTS, NO_DOMAINS)
    assert news.rules["google"] is READ.rules["google"]
    assert news.answer("microsoft", "user-1", (), 101.0).reason is GateReason.PAUSED


@pytest.mark.parametrize("revision", ["", "x", "-1", "9" * 5000, None])
def test_a_revision_that_is_no_number_is_none_and_closes_nothing(revision: str | None) -> None:
    read = renewed(BEFORE, 100.0, [*NOTHING, *OPEN[:4], revision], SALTS, NO_DOMAINS)
    assert read.obeyed("microsoft", 100.0).revision == 0
    assert read.answer("microsoft", "user-1", (), 100.0).open
