"""The OpenAPI 3.1 document, made from the same operations that are served."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from starlette.routing import BaseRoute, Route

from controller import __version__
from controller.web.problems import MEDIA_TYPE
from controller.web.routes import Operation, ResponseSpec
from controller.web.schemas import COMPONENTS, TEXT, ref

_SECURED = {
    401: "no bearer token",
    403: "an unknown bearer token, or one without the right to it; or none is configured: then it is closed",
}
_EVERY = {
    421: "a host name that is not in allowed_hosts",
    429: "this address asks too often; Retry-After says when to come back",
}


def document(operations: Iterable[Operation], embedded: Iterable[BaseRoute] = ()) -> dict[str, Any]:
    """Describe these operations, and embedded routes that bring a description (`described`, by method)."""
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for operation in operations:
        paths[operation.path][operation.method.lower()] = _operation(operation)
    for route in embedded:
        if isinstance(route, Route):
            paths[route.path].update(getattr(route, "described", {}))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "rollout-controller",
            "version": __version__,
            "description": "Where each rollout stands, why, and what a person may do about it. "
            "Times are unix seconds, rates are shares of 1.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": dict(paths),
        "components": {
            "schemas": COMPONENTS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": _responses(operation),
    }
    parameters = [*_in_path(operation.path), *_asked(operation)]
    if parameters:
        told["parameters"] = parameters
    if operation.body is not None:
        told["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": operation.body}},
        }
    if operation.right:
        told["security"] = [{"token": []}]
        told["x-right"] = operation.right
    return told


def _in_path(path: str) -> list[dict[str, Any]]:
    names = [part.strip("{}") for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in names]


def _asked(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": one.name, "in": one.place, "description": one.description, "schema": one.schema}
        for one in operation.parameters
    ]


def _responses(operation: Operation) -> dict[str, Any]:
    slow = {408: "the body did not come in time"} if operation.body else {}
    problems = dict(operation.problems) | (_SECURED if operation.right else {}) | slow | _EVERY
    wrong = {status: ResponseSpec(text, ref("Problem"), MEDIA_TYPE) for status, text in problems.items()}
    every = {**wrong, **operation.answers}
    return {str(status): _response(every[status]) for status in sorted(every)}


def _response(answer: ResponseSpec) -> dict[str, Any]:
    told: dict[str, Any] = {"description": answer.description}
    if answer.schema is not None:
        told["content"] = {answer.media_type: {"schema": answer.schema}}
    return told
