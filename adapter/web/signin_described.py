"""What OpenAPI says of the sign-in's routes, by the last word of their path and their method."""

from collections.abc import Mapping

from adapter.signin.errors import AUTH_CODES
from adapter.web.openapi import DENIED, ERROR, PAGE, TEXT, Schema, answer, failures, operation, record

_TAG = "signing in"
_REFUSED: Schema = {"description": "refused or failed; the page says what to do", "content": PAGE}
_LATER: Schema = {"description": "failed, and heals by itself", "content": PAGE}
_LINKED: Schema = {"description": "the mailbox is linked", "content": PAGE}
_CALLED = {400: _REFUSED, 503: _LATER}
_ANSWER = {
    "state": "what authorize gave along",
    "code": "to be exchanged for tokens",
    "error": "why there is no code",
}
_USER: Schema = {
    "application/json": {
        "schema": {
            "type": "object",
            "properties": {"user_id": TEXT},
            "required": ["user_id"],
        }
    }
}
_FORM: Schema = {
    "application/x-www-form-urlencoded": {
        "schema": {"type": "object", "properties": dict.fromkeys(_ANSWER, TEXT)}
    }
}
_FAILED = {**failures(AUTH_CODES, DENIED), 400: answer("the body does not name a user_id", ERROR)}
_DENIED_PAGES: dict[int, Schema] = {
    401: {"description": "neither a link nor a token", "content": PAGE},
    403: {"description": "an unknown token, or none is configured", "content": PAGE},
}
_TOLD = {"user_id": TEXT, "refreshed": {"type": "boolean"}, "expires_in_s": {"type": "integer"}}
_GONE = {"user_id": TEXT, "revoked": {"type": "boolean"}, "server_revoked": {"type": "boolean"}}

DESCRIBED: Mapping[str, Mapping[str, Schema]] = {
    "authorize": {
        "get": operation(
            "authorize",
            "Send a person's browser to Microsoft, for a link or with the bearer token.",
            _TAG,
            {302: {"description": "on to Microsoft"}, **_CALLED, **_DENIED_PAGES},
            parameters={
                "link": "as `rollout auth link` prints it",
                "user_id": "with a token, without a link",
            },
        )
    },
    "callback": {
        "get": operation(
            "callback", "Take Microsoft's answer.", _TAG, {200: _LINKED, **_CALLED}, parameters=_ANSWER
        ),
        "post": operation(
            "callback_form", "Take Microsoft's answer.", _TAG, {200: _LINKED, **_CALLED}, body=_FORM
        ),
    },
    "refresh": {
        "post": operation(
            "refresh",
            "Refresh a user's token now.",
            _TAG,
            {200: answer("refreshed", record(_TOLD)), **_FAILED},
            body=_USER,
            secured=True,
        )
    },
    "revoke": {
        "post": operation(
            "revoke",
            "Forget a user's tokens.",
            _TAG,
            {200: answer("forgotten here; Microsoft has no call that revokes", record(_GONE)), **_FAILED},
            body=_USER,
            secured=True,
        )
    },
}
