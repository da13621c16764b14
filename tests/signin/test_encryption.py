"""Tokens at rest: opened only with a key, for the same use and the same user."""

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from adapter.settings import SettingsError
from adapter.signin.encryption import TokenCipher, UnreadableError
from adapter.signin.grant import AccessToken

KEY, OTHER = (Fernet.generate_key().decode() for _ in range(2))
CIPHER = TokenCipher([KEY])


@given(st.text(max_size=20), st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3))
def test_what_is_sealed_opens_again(user_id: str, value: dict[str, str]) -> None:
    assert CIPHER.open("grant", user_id, CIPHER.seal("grant", user_id, value)) == value


def test_the_sealed_text_shows_neither_token_nor_user() -> None:
    sealed = CIPHER.seal("access", "ann", {"secret": "the-token"})
    assert "the-token" not in sealed
    assert "ann" not in sealed


@pytest.mark.parametrize(("kind", "subject"), [("access", "ann"), ("grant", "bob")])
def test_a_value_of_another_kind_or_user_does_not_open(kind: str, subject: str) -> None:
    with pytest.raises(UnreadableError):
        CIPHER.open(kind, subject, CIPHER.seal("grant", "ann", {}))


def test_an_old_key_still_opens_and_the_first_one_seals() -> None:
    both = TokenCipher([OTHER, KEY])
    assert both.open("grant", "ann", CIPHER.seal("grant", "ann", {"a": 1})) == {"a": 1}
    assert TokenCipher([OTHER]).open("grant", "ann", both.seal("grant", "ann", {})) == {}


@given(st.text(max_size=200))
def test_any_other_text_is_unreadable_and_nothing_worse(text: str) -> None:
    with pytest.raises(UnreadableError):
        CIPHER.open("grant", "ann", text)


def test_a_key_that_is_none_is_refused_without_being_shown() -> None:
    with pytest.raises(SettingsError) as error:
        TokenCipher(["too-short-a-key"])
    assert "too-short" not in str(error.value)


@pytest.mark.parametrize(
    ("lifetime_s", "cached_s"),
    [(3600, 3300), (301, 1), (300, 150), (60, 30), (1, 1)],
)
def test_a_token_is_handed_out_till_five_minutes_before_its_end(lifetime_s: float, cached_s: float) -> None:
    assert AccessToken("t", 1000.0, 1000.0 + lifetime_s).cached_for_s == cached_s


def test_a_dying_token_has_left_the_cache_by_age_and_is_still_good() -> None:
    token = AccessToken("t", 0.0, 3600.0)
    assert not token.is_dying(3299)
    assert token.is_dying(3301)
    assert token.is_dying(3569)
    assert not token.is_dying(3571)
