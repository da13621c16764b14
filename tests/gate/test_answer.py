"""The gate's answer: the order of its questions, the reason of each, and that doubt always closes it."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.gate.domains import InternalDomains
from adapter.gate.rule import GATE_REASONS, NO_BUCKET, GateAnswer, GateReason, answer, bucket
from controller.contract import parse_flags, parse_percent

OURS = InternalDomains.parse(["corp.example"])
IN, OUT = "user-2", "user-1"  # buckets 25,623 and 88,804 in "microsoft"
OPEN = ("true", "false", "50", "false")


def ask(texts: tuple[str | None, ...], user: str = IN, recipients: tuple[str, ...] = ()) -> GateAnswer:
    return answer(parse_flags(texts), "microsoft", user, recipients, OURS)


TABLE = [
    (OPEN, IN, (), GateReason.IN_ROLLOUT),
    (OPEN, IN, ("x@elsewhere.example",), GateReason.IN_ROLLOUT),
    (OPEN, OUT, (), GateReason.NOT_IN_ROLLOUT),
    (("false", "false", "50", "false"), IN, (), GateReason.DISABLED),
    (("false", "true", "0", "true"), OUT, ("x@elsewhere.example",), GateReason.DISABLED),
    (("true", "true", "0", "true"), OUT, ("x@elsewhere.example",), GateReason.PAUSED),
    (("true", "true", "0", "false"), OUT, ("x@elsewhere.example",), GateReason.NOT_IN_ROLLOUT),
    (("true", "true", "50", "false"), IN, ("x@elsewhere.example",), GateReason.EXTERNAL_RECIPIENT),
    (("true", "true", "50", "false"), IN, ("a@corp.example",), GateReason.IN_ROLLOUT),
    (
        ("true", "true", "50", "false"),
        IN,
        ("a@corp.example", "x@elsewhere.example"),
        GateReason.EXTERNAL_RECIPIENT,
    ),
    (("true", "true", "50", "false"), IN, (), GateReason.IN_ROLLOUT),
    (("yes", "false", "50", "false"), IN, (), GateReason.UNREADABLE),
    (("true", "false", "50", "no"), IN, (), GateReason.UNREADABLE),
    (("true", "false", "1e1", "false"), IN, (), GateReason.UNREADABLE),
    (("true", "no", "50", "false"), IN, ("a@corp.example",), GateReason.IN_ROLLOUT),
    (("true", "no", "50", "false"), IN, ("x@elsewhere.example",), GateReason.UNREADABLE),
    ((None, "false", "50", "false"), IN, (), GateReason.MISSING),
    (("true", None, "50", "false"), IN, ("a@corp.example",), GateReason.MISSING),
    (("true", "false", None, "false"), IN, (), GateReason.MISSING),
    (("true", "false", "50", None), IN, (), GateReason.MISSING),
]


@pytest.mark.parametrize(("texts", "user", "recipients", "reason"), TABLE)
def test_the_first_question_that_closes_names_the_reason(
    texts: tuple[str | None, ...], user: str, recipients: tuple[str, ...], reason: GateReason
) -> None:
    given_answer = ask(texts, user, recipients)
    assert given_answer == (reason is GateReason.IN_ROLLOUT, reason, bucket("microsoft", user))


@pytest.mark.parametrize(
    "percent", ["", " 50", "1e1", "150", "100.001", "-1", "+5", "50%", "५०", "0x10", "nan"]
)
def test_a_percentage_that_is_not_plain_digits_lets_nobody_in(percent: str) -> None:
    assert not any(ask(("true", "false", percent, "false"), f"user-{n}").open for n in range(200))


@pytest.mark.parametrize("text", ["", "True", "TRUE", "1", "on", "yes", " true", "true\n", "t"])
def test_booleans_are_exactly_true_and_false(text: str) -> None:
    assert not ask((text, "false", "100", "false")).open
    assert not ask(("true", "false", "100", text)).open
    assert not ask(("true", text, "100", "false"), IN, ("x@elsewhere.example",)).open


_texts = st.none() | st.sampled_from(["true", "false", "50", "100", "0", "", "no"]) | st.text(max_size=6)


@given(texts=st.tuples(_texts, _texts, _texts, _texts), user=st.text(max_size=20))
def test_it_opens_only_for_flags_that_clearly_say_so(texts: tuple[str | None, ...], user: str) -> None:
    enabled, _, percent, paused = texts
    if ask(texts, user).open:
        assert (enabled, paused) == ("true", "false")
        assert bucket("microsoft", user) < (parse_percent(percent) or 0) * 1000
        assert None not in texts


@given(texts=st.tuples(_texts, _texts, _texts, _texts), recipients=st.lists(st.text(max_size=20), max_size=4))
def test_naming_recipients_never_opens_what_was_closed(
    texts: tuple[str | None, ...], recipients: list[str]
) -> None:
    if ask(texts, IN, tuple(recipients)).open:
        assert ask(texts, IN).open


def test_an_answer_is_true_only_when_open() -> None:
    assert ask(OPEN, IN)
    assert not ask(OPEN, OUT)


@pytest.mark.parametrize("user_id", [None, 17, b"user-2", "\ud800"])
def test_a_user_id_that_cannot_be_hashed_is_refused_even_at_100_percent(user_id: str) -> None:
    flags = parse_flags(("true", "false", "100", "false"))
    assert answer(flags, "microsoft", user_id) == (False, GateReason.UNUSABLE_USER_ID, NO_BUCKET)


def test_every_reason_has_its_sentence() -> None:
    assert set(GATE_REASONS) == set(GateReason)
    seen = {ask(texts).reason for texts in product(("true", "false", "50", None, "x"), repeat=4)}
    assert seen <= set(GateReason)
