"""What OpenAPI says of the sign-in's routes."""

from collections.abc import Mapping

from adapter.signin.errors import Identity
from adapter.web.send_schemas import DENIED, ERROR, failures, record
from controller.shared.api_tokens import Right
from controller.shared.openapi import TEXT, Handler, Operation, Parameter, ResponseSpec

_TAG = "signing in"
_PAGE = "text/html"
_FORM = "application/x-www-form-urlencoded"
_LINKED = {200: ResponseSpec("the mailbox is linked", TEXT, _PAGE)}
_CALLED = {
    400: ResponseSpec("refused or failed; the page says what to do", TEXT, _PAGE),
    503: ResponseSpec("failed, and recovers by itself", TEXT, _PAGE),
}
_DENIED_PAGES = {
    401: ResponseSpec("neither a link nor a token", TEXT, _PAGE),
    403: ResponseSpec("an unknown token, or none is configured", TEXT, _PAGE),
}
_ANSWER = {
    "state": "what authorize gave along",
    "code": "to be exchanged for tokens",
    "error": "why there is no code",
}
_USER = {"type": "object", "properties": {"user_id": TEXT}, "required": ["user_id"]}
_TOLD = record({"user_id": TEXT, "refreshed": {"type": "boolean"}, "expires_in_s": {"type": "integer"}})
_GONE = record({"user_id": TEXT, "revoked": {"type": "boolean"}, "server_revoked": {"type": "boolean"}})


def _texts(described: Mapping[str, str]) -> list[Parameter]:
    return [Parameter(name, text) for name, text in described.items()]


def operations(
    identity: Identity,
    authorize: Handler,
    confirmed: Handler,
    callback: Handler,
    refresh: Handler,
    revoke: Handler,
) -> list[Operation]:
    """Return the operations of signing in with one provider's accounts, with their handlers."""
    path, title = identity.path, identity.title
    returned, taken = f"{path}/callback", f"Take {title}'s answer."
    failed = {
        **failures(identity.codes, DENIED),
        400: ResponseSpec("the body does not name a user_id", ERROR),
    }
    asked = {"link": "as `rollout auth link` prints it", "user_id": "with a token, without a link"}
    asked |= {"account": "the one account that may be linked", "replace": "true: it may replace another"}
    return [
        Operation(
            "GET",
            f"{path}/authorize",
            authorize,
            f"Send a person's browser to {title}, for a link or with the bearer token.",
            _TAG,
            {
                200: ResponseSpec("for a link: a page whose button goes on", TEXT, _PAGE),
                302: ResponseSpec(f"on to {title}, or to the host of the redirect URI"),
                **_CALLED,
                **_DENIED_PAGES,
            },
            parameters=_texts(asked),
        ),
        Operation(
            "POST",
            f"{path}/authorize",
            confirmed,
            f"Use a link up and send a person's browser to {title}.",
            _TAG,
            {303: ResponseSpec(f"on to {title}"), **_CALLED},
            body={"type": "object", "properties": {"link": TEXT}},
            body_type=_FORM,
        ),
        Operation(
            *("GET", returned, callback, taken, _TAG, {**_LINKED, **_CALLED}),
            parameters=_texts(_ANSWER),
        ),
        Operation(
            *("POST", returned, callback, taken, _TAG, {**_LINKED, **_CALLED}),
            body={"type": "object", "properties": dict.fromkeys(_ANSWER, TEXT)},
            body_type=_FORM,
        ),
        Operation(
            "POST",
            f"{path}/refresh",
            refresh,
            "Refresh a user's token now.",
            _TAG,
            {200: ResponseSpec("refreshed", _TOLD), **failed},
            body=_USER,
            right=Right.SEND,
        ),
        Operation(
            "POST",
            f"{path}/revoke",
            revoke,
            "Forget a user's tokens, and revoke them where the provider has a call for it.",
            _TAG,
            {200: ResponseSpec("forgotten here; `server_revoked` says whether there too", _GONE), **failed},
            body=_USER,
            right=Right.SEND,
        ),
    ]
