"""Waiting for something to become true, within a bound, instead of sleeping and hoping."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path


def patience() -> float:
    """Return by how much a bound is stretched now: 1 on an idle machine, 5 where ten wait for two processors.

    A bound says that what the product promises comes soon; how busy the machine is, it does not promise.
    """
    running = int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[0])
    return max(1.0, max(running, os.getloadavg()[0]) / (os.cpu_count() or 1))


def in_ms(seconds: float) -> float:
    """Return a bound for the browser, in milliseconds."""
    return seconds * 1000 * patience()


def wait_until(holds: Callable[[], object], within_s: float = 5.0, what: str = "it") -> None:
    """Return as soon as `holds()` is true; raises AssertionError when it is not within the time given."""
    started = time.monotonic()
    while not holds():
        waited_s = time.monotonic() - started
        if waited_s > within_s and waited_s > within_s * patience():
            raise AssertionError(f"{what} did not come true within {within_s:g} s")
        time.sleep(0.005)


async def until(holds: Callable[[], object], within_s: float = 10.0) -> None:
    """Let the loop run until `holds()` is true; raises TimeoutError when it is not in time."""
    async with asyncio.timeout(within_s * patience()):
        while not holds():  # noqa: ASYNC110 (what is waited for lies in another thread or process)
            await asyncio.sleep(0.005)
