"""A record read from a line of JSON, wherever it was kept: the stream, the file, a reply."""

import json
from typing import Any

from controller.decision.record import is_record


def read_record(text: str | bytes) -> dict[str, Any] | None:
    """Read a record; None for what is no record, as somebody else may put in its place."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if is_record(found) else None
