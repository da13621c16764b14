"""The OpenAPI 3.1 document, made from the same operations that are served."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from controller import __version__
from controller.shared.openapi import Operation, describe
from controller.web.schemas import COMPONENTS


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """Describe these operations."""
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for operation in operations:
        paths[operation.path][operation.method.lower()] = describe(operation)
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
