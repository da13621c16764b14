"""Bucketing, scheme v1: pinned, even, independent between features, and sticky as the percentage rises."""

import itertools
import math
import uuid
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.examples import share_of

from adapter.gate.rule import BUCKETS, answer, bucket, threshold
from controller.contract import Flags, parse_percent

PINNED = [
    ("microsoft", "user-1", 88_804),
    ("microsoft", "user-2", 25_623),
    ("google", "user-1", 54_184),
    ("microsoft", "ann@corp.example", 58_281),
    ("microsoft", "3f0c8f2e-6a0b-4a9e-9a57-0d2f0c9b7c11", 89_801),
    ("microsoft", "", 87_858),
    ("microsoft", "jürgen", 80_832),
    ("microsoft", "名前", 87_506),
    ("a:b", "c", 69_113),
    ("2026-spring", "user-1", 18_671),
]

ID_KINDS: dict[str, Callable[[int], str]] = {
    "sequential": str,
    "like mail addresses": lambda n: f"firstname.lastname{n}@mail{n % 7}.corp.example",
    "uuids": lambda n: str(uuid.uuid5(uuid.NAMESPACE_OID, str(n))),
}


@pytest.mark.parametrize(("salt", "user_id", "expected"), PINNED)
def test_the_scheme_never_moves_a_user(salt: str, user_id: str, expected: int) -> None:
    assert bucket(salt, user_id) == expected


@given(salt=st.text(max_size=20), user_id=st.text(max_size=50))
def test_an_answer_carries_the_bucket_of_the_scheme(salt: str, user_id: str) -> None:
    place = bucket(salt, user_id)
    assert 0 <= place < BUCKETS
    assert answer(Flags(), salt, user_id).bucket == place


@pytest.mark.parametrize("kind", ID_KINDS)
def test_users_spread_evenly_over_the_buckets(kind: str) -> None:
    """Chi-square over 1,000 cells, per degree of freedom: 1 +- 0.045 when even."""
    users, cells = share_of(200_000, 50_000), [0] * 1000
    for n in range(users):
        cells[bucket("microsoft", ID_KINDS[kind](n)) // 100] += 1
    expected = users / len(cells)
    chi_square = sum((seen - expected) ** 2 / expected for seen in cells)
    assert 0.8 <= chi_square / (len(cells) - 1) <= 1.2


def test_two_features_share_no_pattern() -> None:
    """Two features at 10 % each share 1 % of the users, whichever two of 29 they are (406 pairs)."""
    users, features = 100_000, share_of(29, 8)
    sets = [
        {n for n in range(users) if bucket(f"feature-{f}", f"user-{n}") < threshold(10)}
        for f in range(features)
    ]
    shares = [len(one & other) / users for one, other in itertools.combinations(sets, 2)]
    assert min(shares) >= 0.0089
    assert max(shares) <= 0.0111


def test_a_user_who_is_in_stays_in_at_every_higher_percentage() -> None:
    users = [f"user-{n}" for n in range(share_of(400, 40))]
    before: set[str] = set()
    for tenths in range(1001):
        flags = Flags(enabled=True, internal_only=False, paused=False, rollout_percent=tenths / 10)
        inside = {user for user in users if answer(flags, "microsoft", user).open}
        assert before <= inside
        before = inside
    assert before == set(users)


def test_a_hundredth_of_a_percent_of_a_million_is_about_a_hundred() -> None:
    users = share_of(1_000_000, 200_000)
    inside = sum(bucket("microsoft", str(n)) < threshold(0.01) for n in range(users))
    assert inside == pytest.approx(users / 10_000, abs=5 * math.sqrt(users / 10_000))


@given(thousandths=st.integers(0, BUCKETS))
def test_every_percentage_that_can_be_written_has_its_own_threshold(thousandths: int) -> None:
    percent = parse_percent(f"{thousandths // 1000}.{thousandths % 1000:03}")
    assert percent is not None
    assert threshold(percent) == thousandths
