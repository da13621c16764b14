"""A record to a line of JSON and back, wherever it is kept: the stream, the file, a reply."""

import json
from collections.abc import Mapping
from typing import Any

import orjson

from controller.decision.record import is_record


def read_record(text: str | bytes) -> dict[str, Any] | None:
    """Read a record; None for what is no record, as somebody else may put in its place."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if is_record(found) else None


def dump(record: Mapping[str, Any]) -> str:
    """Write a record as JSON text; floats come back bit for bit."""
    try:
        return orjson.dumps(record).decode()
    except TypeError:  # half a surrogate pair, which only an escape can hold
        return json.dumps(record, separators=(",", ":"), allow_nan=False)
