"""Operation: one route with its description, from which both the server's routes and OpenAPI are made."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from controller.shared.api_tokens import Right

Handler = Callable[[Request], Awaitable[Response]]
Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ResponseSpec:
    """One answer that an operation gives."""

    description: str
    schema: Schema | None = None
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in the query, or in a header."""

    name: str
    description: str
    schema: Schema
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
    def route(self) -> Route:
        return Route(self.path, self.handler, methods=[self.method])
