"""Bearer tokens: who is let in, under which name, with which rights, and why somebody is not."""

import pytest

from controller.shared.api_tokens import Caller, Denied, Right, Tokens, hashed

SECRET = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("configured", "brought", "name"),
    [
        ("plain", "plain", "api"),
        ("ann:one,bob:two", "two", "bob"),
        ("ann:one, bob:two ,", "one", "ann"),
        ("ann:one\nbob:two\n", "two", "bob"),
        (hashed("plain"), "plain", "api"),
        (f"ann:{hashed('one')},bob:two", "one", "ann"),
        (SECRET, SECRET, "api"),
        (f"ann:{SECRET}", SECRET, "ann"),
        ("with:colon", "with:colon", "with"),
        ("ab/cd+ef==", "ab/cd+ef==", "api"),
    ],
)
@pytest.mark.parametrize("right", Right)
def test_a_token_without_rights_has_its_name_and_all_of_them(
    configured: str, brought: str, name: str, right: Right
) -> None:
    for header in (f"Bearer {brought}", f"bearer  {brought} "):
        assert Tokens.parse(configured).caller(header, right) == Caller(name)


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
        ("plain", "Bearer pl\u00e4in\udcff", 403),
        ("ann:one", "Bearer ann", 403),
        ("ann/send:one", "Bearer ann/send:one", 403),
    ],
)
def test_everybody_else_is_refused_with_the_reason(configured: str, header: str | None, status: int) -> None:
    refused = Tokens.parse(configured).caller(header, Right.SEND)
    assert isinstance(refused, Denied)
    assert refused.status == status
    assert refused.detail


@pytest.mark.parametrize(
    ("rights", "granted"),
    [
        ("send", {Right.SEND}),
        ("operate", {Right.OPERATE}),
        ("alert", {Right.ALERT}),
        ("send+alert", {Right.SEND, Right.ALERT}),
        ("alert+operate+send", set(Right)),
        ("operate+send@*@corp.example", {Right.OPERATE, Right.SEND}),
    ],
)
@pytest.mark.parametrize("secret", ["one:two", hashed("one:two")])
def test_a_token_opens_what_its_rights_say_and_nothing_else(
    rights: str, granted: set[Right], secret: str
) -> None:
    tokens = Tokens.parse(f"ann/{rights}:{secret}")
    found = {right: tokens.caller("Bearer one:two", right) for right in Right}
    assert {right for right in Right if isinstance(found[right], Caller)} == granted
    for refused in (one for one in found.values() if isinstance(one, Denied)):
        assert refused.status == 403
        assert "'ann' has no right to" in refused.detail
    assert tokens.holder("one:two") is not None


@pytest.mark.parametrize(
    ("rights", "user_id", "let_in"),
    [
        ("send", "anybody at all", True),
        ("send@*", "anybody", True),
        ("send@ann", "ann", True),
        ("send@ann", "Ann", False),
        ("send@ann", "ann2", False),
        ("send@ann", "", False),
        ("send@*@corp.example", "ann@corp.example", True),
        ("send@*@corp.example", "ann@corp.example.org", False),
        ("send@a*+send@b?", "b1", True),
        ("send@a*+send@b?", "b12", False),
        ("send@[ab]*", "bob", True),
        ("send@[ab]*", "cid", False),
        ("send@a\\*", "ann", False),
        ("send@app?x?*", "app+x:1", True),
    ],
)
def test_a_token_bound_to_users_sends_for_those(rights: str, user_id: str, let_in: bool) -> None:
    caller = Tokens.parse(f"app/{rights}:one").caller("Bearer one", Right.SEND)
    assert isinstance(caller, Caller)
    assert (caller.refused_for(user_id) is None) is let_in


def test_the_hash_of_a_token_is_not_a_token() -> None:
    text = hashed("one")
    tokens = Tokens.parse(f"ann:{text}")
    for brought in (text, text.removeprefix("sha256:"), f"ann:{text}"):
        assert isinstance(tokens.caller(f"Bearer {brought}", Right.SEND), Denied)
        assert tokens.holder(brought) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sha256:12", "64 hexadecimal"),
        ("ann:sha256:xyz", "64 hexadecimal"),
        ("ann/send:sha256:", "no secret"),
        ("ann:one,ann:two", "same name"),
        ("ann/send:one,ann/operate:two", "same name"),
        ("ann/send:one,bob/operate:one", "same secret"),
        (f"ann/send:one,bob:{hashed('one')}", "same secret"),
        ("one,one", "same secret"),
        ("ann:", "no secret"),
        ("ann/send:", "no secret"),
        ("ann/send", "no secret"),
        ("ann/send@ann+operate", "no secret"),
        ("ann/:one", "rights are"),
        ("ann/sned:one", "rights are"),
        ("ann/SEND:one", "rights are"),
        ("ann/send+:one", "rights are"),
        ("ann/send@:one", "rights are"),
        ("ann/operate@ann:one", "rights are"),
        ("ann/send@a+b:one", "rights are"),
        ("ann/send+send@a:one", "for some users and for all"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        Tokens.parse(text)
    assert "one" not in str(refused.value).replace("none", "")
