"""Operations: a route with its description, from which both what is served and OpenAPI are made."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from controller.shared.api_tokens import Right

Handler = Callable[[Request], Awaitable[Response]]
Schema = Mapping[str, Any]

JSON = "application/json"
PROBLEM = "application/problem+json"
TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
TRUTH: Schema = {"type": "boolean"}

_SECURED = {
    401: "no bearer token",
    403: "an unknown bearer token, or one without the right to it; or none is configured: then it is closed",
}
_EVERY = {
    421: "a host name that is not in allowed_hosts",
    429: "this address asks too often; Retry-After says when to come back",
}
_BODY = {408: "the body did not come in time"}


def ref(name: str) -> Schema:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def listed(items: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def maybe(schema: Schema) -> Schema:
    """Return the schema of a value that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


def record_like(properties: Mapping[str, Any], required: Sequence[str] | None = None, **more: Any) -> Schema:
    """Return the schema of an object; all of its properties are there unless `required` says otherwise."""
    needed = list(properties) if required is None else list(required)
    return {"type": "object", "properties": dict(properties), "required": needed, **more}


@dataclass(frozen=True, slots=True)
class ResponseSpec:
    """One answer that an operation gives."""

    description: str
    schema: Schema | None = None
    media_type: str = JSON

    @property
    def content(self) -> dict[str, Any]:
        """The schema by its media type; empty for an answer without a body."""
        return {} if self.schema is None else {self.media_type: {"schema": self.schema}}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in the query, or in a header."""

    name: str
    description: str
    schema: Schema = field(default_factory=lambda: TEXT)
    place: str = "query"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method at one path. Path parameters are written as in `/features/{name}`."""

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    answers: Mapping[int, ResponseSpec]
    parameters: Sequence[Parameter] = ()
    body: Schema | None = None
    body_type: str = JSON
    right: Right | None = None
    """What the bearer token has to open; None where no token is asked for."""
    problems: Mapping[int, str] = field(default_factory=dict)
    """Further answers that are application/problem+json."""

    @property
    def name(self) -> str:
        """The operation's id: the method and the words of the path."""
        words = [word.strip("{}").replace(".", "_") for word in self.path.split("/") if word]
        return "_".join([self.method.lower(), *words]) if words else f"{self.method.lower()}_page"

    @property
    def route(self) -> "OperationRoute":
        """What Starlette serves."""
        return OperationRoute(self)


class OperationRoute(Route):
    """A route that knows its description."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(operation.path, operation.handler, methods=[operation.method])
        self.operation = operation


def operations_of(routes: Iterable[BaseRoute]) -> list[Operation]:
    """Return the operations of those routes that know theirs."""
    return [route.operation for route in routes if isinstance(route, OperationRoute)]


def describe(operation: Operation) -> dict[str, Any]:
    """Return an operation as OpenAPI 3.1 has it."""
    told: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": _responses(operation),
    }
    parameters = [*_in_path(operation.path), *_parameters(operation)]
    if parameters:
        told["parameters"] = parameters
    if operation.body is not None:
        content = {operation.body_type: {"schema": operation.body}}
        told["requestBody"] = {"required": True, "content": content}
    if operation.right:
        told["security"] = [{"token": []}]
        told["x-right"] = operation.right
    return told


def _in_path(path: str) -> list[dict[str, Any]]:
    names = [part.strip("{}") for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in names]


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": one.name, "in": one.place, "description": one.description, "schema": one.schema}
        for one in operation.parameters
    ]


def _responses(operation: Operation) -> dict[str, Any]:
    """Return the answers by status; what every request may meet first is a problem beside its own answer."""
    first = _EVERY | (_BODY if operation.body else {})
    problems = {**(_SECURED if operation.right else {}), **operation.problems, **first}
    found: dict[int, Any] = {}
    for status in sorted({*problems, *operation.answers}):
        own = operation.answers.get(status)
        content = own.content if own else {}
        if own is None or (status in first and own.content):
            content |= {PROBLEM: {"schema": ref("Problem")}}
        found[status] = {"description": own.description if own else problems[status]}
        found[status] |= {"content": content} if content else {}
    return {str(status): told for status, told in found.items()}
