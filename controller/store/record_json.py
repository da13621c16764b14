"""A record to a line of JSON and back, wherever it is kept: the stream, the file, a reply."""

import json
from collections.abc import Mapping
from typing import Any

import orjson

from controller.decision.record_shape import is_record


def read_record(text: str | bytes) -> dict[str, Any] | None:
    """Read a record; None for what is no record, as somebody else may put in its place.

    Every text in it can be written again: half a surrogate pair becomes a question mark.
    """
    try:
        found = _parsed(text)
    except (ValueError, RecursionError):
        return None
    if not is_record(found):
        return None
    for name in ("detail", "note"):
        found.setdefault(name, "")
    return found


def _parsed(text: str | bytes) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:  # half a surrogate pair, which only an escape can hold, or no JSON at all
        whole = json.dumps(json.loads(text), ensure_ascii=False, allow_nan=False)
        return orjson.loads(whole.encode("utf-8", "replace"))


def dump(record: Mapping[str, Any]) -> str:
    """Write a record as JSON text; floats come back bit for bit."""
    try:
        return orjson.dumps(record).decode()
    except TypeError:  # half a surrogate pair, or nested deeper than orjson writes
        return json.dumps(record, separators=(",", ":"), allow_nan=False)
