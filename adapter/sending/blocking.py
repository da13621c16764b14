"""Sends from programs without an event loop of their own: Django's views, Celery's tasks, threads."""

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


def run(sending: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine and return its result, as asyncio.run does, on one loop that this process keeps.

    Connections to the provider and to Redis stay open from one call to the next. Any number of threads may
    call it at once. Raises what the coroutine raises, and RuntimeError where a loop runs: there, await it.
    """
    if _runs_a_loop():
        sending.close()
        raise RuntimeError("an event loop runs in this thread: await it instead of adapter.run")
    future = asyncio.run_coroutine_threadsafe(sending, _Loop.of_this_process())
    try:
        return future.result()
    except BaseException:  # an interrupt or a task's time limit ends the send too
        future.cancel()
        raise


def _runs_a_loop() -> bool:
    try:
        return asyncio.get_running_loop() is not None
    except RuntimeError:
        return False


class _Loop:
    """The loop of each process: a forked one needs its own."""

    lock = threading.Lock()
    made: "asyncio.AbstractEventLoop | None" = None

    @classmethod
    def of_this_process(cls) -> asyncio.AbstractEventLoop:
        """Return the loop; the first call starts its thread."""
        with cls.lock:
            if cls.made is None:
                cls.made = asyncio.new_event_loop()
                threading.Thread(target=cls.made.run_forever, name="rollout-sends", daemon=True).start()
            return cls.made

    @classmethod
    def forget_parent(cls) -> None:
        """In a forked child: the thread of the parent's loop is not here."""
        cls.lock, cls.made = threading.Lock(), None


os.register_at_fork(after_in_child=_Loop.forget_parent)
