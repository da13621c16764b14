"""What OpenAPI says of the routes of the adapter: each brings its part, and the server collects them."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapter.errors import Code
from controller.shared.api_tokens import Right

Schema = Mapping[str, Any]


class DescribedRoute(Route):
    """A route with its OpenAPI operations, by method in small letters."""

    def __init__(
        self, path: str, endpoint: Callable[[Request], Awaitable[Response]], described: Mapping[str, Schema]
    ) -> None:
        super().__init__(path, endpoint, methods=[method.upper() for method in described])
        self.described = described


def operation(
    name: str,
    summary: str,
    tag: str,
    responses: Mapping[int, Schema],
    *,
    body: Schema | None = None,
    parameters: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    secured: bool = False,
) -> Schema:
    """Return an operation; `parameters` and `headers` are texts, by name with what they are."""
    every = {
        **responses,
        421: _with_problem({"description": "a host name that is not in allowed_hosts"}),
        429: _with_problem(responses.get(429, {"description": "this address asks too often"})),
    }
    told: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "tags": [tag],
        "responses": {str(status): every[status] for status in sorted(every)},
    }
    if body is not None:
        told["requestBody"] = {"required": True, "content": body}
        told["responses"]["408"] = _with_problem({"description": "the body did not come in time"})
    if parameters or headers:
        told["parameters"] = [*_texts("query", parameters), *_texts("header", headers)]
    if secured:
        told["security"] = [{"token": []}]
        told["x-right"] = Right.SEND
    return told


def _texts(place: str, described: Mapping[str, str] | None) -> list[Schema]:
    return [
        {"name": name, "in": place, "description": text, "schema": TEXT}
        for name, text in (described or {}).items()
    ]


def record(properties: Mapping[str, Schema], *needed: str) -> Schema:
    """Return the schema of an object of just these properties; all are needed unless some are named."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(needed or properties),
        "additionalProperties": False,
    }


def answer(description: str, schema: Schema, media_type: str = "application/json") -> Schema:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def failures(codes: Mapping[str, Code], more: Mapping[int, str]) -> dict[int, Schema]:
    """Return an answer for each status that these error codes have, with their names; `more` adds some."""
    named = defaultdict(list, {status: [name] for status, name in more.items()})
    for name, code in codes.items():
        named[code.http].append(name)
    return {status: answer(", ".join(sorted(names)), ERROR) for status, names in named.items()}


def _with_problem(response: Schema) -> Schema:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {**response, "content": {**response.get("content", {}), **problem}}


TEXT: Schema = {"type": "string"}
PAGE: Schema = {"text/html": {"schema": TEXT}}
DENIED = {401: "UNAUTHORIZED", 403: "FORBIDDEN"}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
ERROR = record(
    {
        "error": record(
            {
                "code": TEXT,
                "message": TEXT,
                "source": TEXT,
                "retry_after_s": {"type": ["number", "null"]},
                "request_id": _MAYBE_TEXT,
            }
        )
    }
)
_PEOPLE: Schema = {"type": "array", "items": record({"address": TEXT, "name": _MAYBE_TEXT}, "address")}
_FILE = {"name": TEXT, "content_type": TEXT, "content_base64": {"type": "string", "format": "byte"}}
SEND = record(
    {
        **dict.fromkeys(("to", "cc", "bcc", "reply_to"), _PEOPLE),
        **dict.fromkeys(("subject", "body_html", "body_text", "user_id", "idempotency_key"), TEXT),
        "attachments": {"type": "array", "items": record(_FILE, "name", "content_base64")},
        "inline_images": {
            "type": "array",
            "items": record({**_FILE, "content_id": TEXT}, "name", "content_base64", "content_id"),
        },
        "resend_unknown": {"type": "boolean"},
    },
    "to",
    "user_id",
)
"""A send as `payload.parse_send` reads it."""
SENT = record(
    {
        "status": {"const": "sent"},
        **dict.fromkeys(("request_id", "client_request_id", "internet_message_id"), TEXT),
        "replayed": {"type": "boolean"},
    }
)
