"""Ends background tasks of the event loop for certain."""

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_S = 0.2


async def end(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel until every task is done: a client library may swallow a cancellation that meets an answer."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
