"""What Entra answers, and the code that it becomes."""

from typing import Any

import pytest

from adapter.errors import AuthError, Source
from adapter.signin.errors import Failure, Identity, SignInError
from adapter.signin.metrics import OUTCOMES
from adapter.signin.microsoft.entra import with_capabilities
from adapter.signin.microsoft.errors import from_reply
from adapter.signin.providers import IDENTITIES


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ({"error": "invalid_grant"}, "MS_AUTH_EXPIRED"),
        ({"error": "invalid_grant", "suberror": "token_expired"}, "MS_AUTH_EXPIRED"),
        ({"error": "invalid_grant", "suberror": "bad_token"}, "MS_AUTH_EXPIRED"),
        ({"error": "invalid_grant", "error_codes": [70008]}, "MS_AUTH_EXPIRED"),
        ({"error": "invalid_grant", "error_codes": [700082]}, "MS_AUTH_EXPIRED"),
        ({"error": "invalid_grant", "error_description": "AADSTS50173: x"}, "MS_AUTH_EXPIRED"),
        ({"error": "invalid_grant", "suberror": "basic_action"}, "MS_AUTH_INTERACTION_REQUIRED"),
        ({"error": "invalid_grant", "suberror": "consent_required"}, "MS_AUTH_INTERACTION_REQUIRED"),
        ({"error": "invalid_grant", "suberror": "message_only"}, "MS_AUTH_INTERACTION_REQUIRED"),
        ({"error": "invalid_grant", "error_codes": [50076]}, "MS_AUTH_INTERACTION_REQUIRED"),
        ({"error": "invalid_grant", "error_codes": [65001]}, "MS_AUTH_INTERACTION_REQUIRED"),
        ({"error": "interaction_required"}, "MS_AUTH_INTERACTION_REQUIRED"),
        ({"error": "login_required"}, "MS_AUTH_INTERACTION_REQUIRED"),
        ({"error": "access_denied"}, "MS_AUTH_INTERACTION_REQUIRED"),
        (
            {"error": "access_denied", "error_description": "AADSTS90094: admin"},
            "MS_AUTH_INSUFFICIENT_PERMS",
        ),
        ({"error": "invalid_client"}, "MS_AUTH_CLIENT_CONFIG"),
        ({"error": "invalid_client", "error_codes": [7000222]}, "MS_AUTH_CLIENT_CONFIG"),
        ({"error": "invalid_grant", "error_codes": [501481]}, "MS_AUTH_CLIENT_CONFIG"),
        ({"error": "unauthorized_client", "error_codes": [700016]}, "MS_AUTH_CLIENT_CONFIG"),
        ({"error": "invalid_scope"}, "MS_AUTH_CLIENT_CONFIG"),
        ({"error": "temporarily_unavailable"}, "MS_AUTH_UNAVAILABLE"),
        ({"error": "server_error"}, "MS_AUTH_UNAVAILABLE"),
        ({"error": "invalid_request", "error_codes": [90033]}, "MS_AUTH_UNAVAILABLE"),
        ({"error": "something_new"}, "MS_AUTH_CLIENT_CONFIG"),
        ({}, "MS_AUTH_CLIENT_CONFIG"),
        ({"error": ["no", "text"], "error_codes": "none", "suberror": 7}, "MS_AUTH_CLIENT_CONFIG"),
    ],
)
def test_an_answer_becomes_its_code(reply: dict[str, Any], code: str) -> None:
    error = from_reply(reply)
    assert error.code == code
    assert error.source == Source.AUTH
    assert isinstance(error, AuthError)


@pytest.mark.parametrize(
    ("number", "code", "told"),
    [
        (700084, "MS_AUTH_CLIENT_CONFIG", "registers the redirect URI under Web"),
        (650057, "MS_AUTH_CLIENT_CONFIG", "delegated permission Mail.Send"),
        (50020, "MS_AUTH_INTERACTION_REQUIRED", "an account of this organisation"),
        (50034, "MS_AUTH_INTERACTION_REQUIRED", "an account that this organisation has"),
        (530034, "MS_AUTH_INTERACTION_REQUIRED", "home organisation has to clear the risk"),
    ],
)
def test_a_number_sends_people_the_right_way(number: int, code: str, told: str) -> None:
    error = from_reply({"error": "invalid_grant", "error_codes": [number]})
    assert error.code == code
    assert told in error.message


def test_nothing_of_a_description_is_passed_on() -> None:
    error = from_reply(
        {
            "error": "invalid_grant",
            "error_description": "AADSTS70008: token 1.SECRET of ann@corp.example expired",
            "correlation_id": "not an id <script>",
            "suberror": "with blanks and 1.SECRET",
        }
    )
    shown = f"{error!s} {error!r} {vars(error)}"
    assert "SECRET" not in shown
    assert "ann@" not in shown
    assert "script" not in shown
    assert "AADSTS70008" in shown


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: identity.provider)
def test_every_code_says_what_to_do_and_has_a_metric(identity: Identity) -> None:
    assert len(OUTCOMES) == len(identity.codes) + 1
    for failure in Failure:
        error = identity.error(failure, "why")
        assert error.action
        assert error.code in identity.codes
        assert failure.lower() in OUTCOMES


def test_a_challenge_keeps_its_claims_and_gains_what_we_understand() -> None:
    merged = with_capabilities('{"access_token":{"nbf":{"value":"1"}},"id_token":{}}')
    assert '"nbf"' in merged
    assert '"xms_cc": {"values": ["CP1"]}' in merged


@pytest.mark.parametrize("claims", ["{", "[]", '{"access_token": 1}', "7"])
def test_a_challenge_that_is_none_is_refused(claims: str) -> None:
    with pytest.raises(SignInError):
        with_capabilities(claims)
