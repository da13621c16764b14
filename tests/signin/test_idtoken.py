"""The checks of an id_token, claim by claim."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.signin.errors import SignInError
from adapter.signin.idtoken import SKEW_S, check, nonce_claim
from adapter.signin.microsoft.entra import expected_of

NOW = 1_800_000_000.0
TENANT = "11111111-2222-3333-4444-555555555555"
ISSUER = f"https://login.microsoftonline.com/{TENANT}/v2.0"
EXPECTED = expected_of(ISSUER, "the-app", frozenset({TENANT}))
GOOD: dict[str, Any] = {
    "iss": ISSUER,
    "aud": "the-app",
    "tid": TENANT,
    "exp": NOW + 3600,
    "nbf": NOW,
    "sub": "pairwise",
    "oid": "object",
    "email": "ann@corp.example",
    "nonce": nonce_claim("n"),
}


def test_a_genuine_token_tells_who_signed_in() -> None:
    account = check(GOOD, EXPECTED, NOW, "n")
    assert (account.subject, account.tenant, account.name) == ("object", TENANT, "ann@corp.example")


def test_a_tenant_that_is_not_let_in_is_named() -> None:
    with pytest.raises(SignInError, match=r"'tid' is other-tenant \(corp.example\), which is not let in"):
        check({**GOOD, "tid": "other-tenant"}, EXPECTED, NOW)


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("iss", "https://login.microsoftonline.com/other/v2.0"),
        ("iss", ISSUER + "/"),
        ("iss", None),
        ("aud", "another-app"),
        ("aud", ["the-app", "another-app"]),
        ("aud", None),
        ("tid", "99999999-2222-3333-4444-555555555555"),
        ("tid", ""),
        ("exp", NOW - SKEW_S - 1),
        ("exp", None),
        ("exp", "soon"),
        ("exp", True),
        ("nbf", NOW + SKEW_S + 1),
        ("nbf", "now"),
    ],
)
def test_a_wrong_claim_is_named_and_refused(claim: str, value: object) -> None:
    with pytest.raises(SignInError, match=f"'{claim}'") as error:
        check({**GOOD, claim: value}, EXPECTED, NOW, "n")
    assert error.value.code == "MS_AUTH_CLIENT_CONFIG"


@pytest.mark.parametrize("nonce", ["other", nonce_claim("other"), None, "n"])
def test_the_token_of_another_sign_in_is_refused(nonce: str | None) -> None:
    with pytest.raises(SignInError, match="nonce") as error:
        check({**GOOD, "nonce": nonce}, EXPECTED, NOW, "n")
    assert error.value.code == "MS_AUTH_INTERACTION_REQUIRED"


def test_clocks_may_differ_by_two_minutes() -> None:
    assert check({**GOOD, "exp": NOW - SKEW_S + 1, "nbf": NOW + SKEW_S - 1}, EXPECTED, NOW, "n").subject


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(["iss", "aud", "tid", "exp", "nonce"]), json_values)
def test_whatever_a_claim_holds_the_answer_is_an_account_or_a_sign_in_error(claim: str, value: Any) -> None:
    try:
        account = check({**GOOD, claim: value}, EXPECTED, NOW, "n")
    except SignInError:
        return
    assert account.tenant.lower() == TENANT


@given(json_values)
def test_claims_of_any_shape_are_refused_by_name(claims: Any) -> None:
    with pytest.raises(SignInError):
        check(claims, EXPECTED, NOW, "n")


@pytest.mark.parametrize("behind_s", [125, 290])
def test_a_clock_that_is_minutes_behind_is_tolerated(behind_s: float) -> None:
    assert check({**GOOD, "nbf": NOW + behind_s}, EXPECTED, NOW, "n").subject


@pytest.mark.parametrize(
    ("claim", "value", "told"),
    [("nbf", NOW + 900, "clock is 900 s behind"), ("exp", NOW - 900, "clock is 900 s ahead of")],
)
def test_a_wrong_clock_is_named_as_one(claim: str, value: float, told: str) -> None:
    with pytest.raises(SignInError) as refused:
        check({**GOOD, claim: value}, EXPECTED, NOW, "n")
    assert told in refused.value.message
    assert "the app registration is not at fault" in refused.value.message
