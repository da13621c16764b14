"""Bearer tokens: who is let in, under which name, and why somebody is not."""

import pytest

from controller.config.api_tokens import Denied, Tokens, hashed

SECRET = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("configured", "brought", "name"),
    [
        ("plain", "plain", "api"),
        ("ann:one,bob:two", "two", "bob"),
        ("ann:one, bob:two ,", "one", "ann"),
        (hashed("plain"), "plain", "api"),
        (f"ann:{hashed('one')},bob:two", "one", "ann"),
        (SECRET, SECRET, "api"),
        (f"ann:{SECRET}", SECRET, "ann"),
        ("with:colon", "with:colon", "with"),
    ],
)
def test_a_configured_token_gives_its_name(configured: str, brought: str, name: str) -> None:
    assert Tokens.parse(configured).caller(f"Bearer {brought}") == name
    assert Tokens.parse(configured).caller(f"bearer  {brought} ") == name


@pytest.mark.parametrize(
    ("configured", "header", "status"),
    [
        ("", "Bearer anything", 403),
        (" , ", "Bearer ,", 403),
        ("plain", None, 401),
        ("plain", "", 401),
        ("plain", "Bearer ", 401),
        ("plain", "Basic plain", 401),
        ("plain", "Bearer plainer", 403),
        ("plain", "Bearer PLAIN", 403),
        ("ann:one", "Bearer ann", 403),
    ],
)
def test_everybody_else_is_refused_with_the_reason(configured: str, header: str | None, status: int) -> None:
    refused = Tokens.parse(configured).caller(header)
    assert isinstance(refused, Denied)
    assert refused.status == status
    assert refused.detail


def test_the_hash_of_a_token_is_not_a_token() -> None:
    text = hashed("one")
    tokens = Tokens.parse(f"ann:{text}")
    for brought in (text, text.removeprefix("sha256:"), f"ann:{text}"):
        assert isinstance(tokens.caller(f"Bearer {brought}"), Denied)


@pytest.mark.parametrize("text", ["sha256:12", "ann:sha256:xyz", "ann:one,ann:two"])
def test_a_bad_hash_and_a_name_given_twice_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"sha256|same name"):
        Tokens.parse(text)
