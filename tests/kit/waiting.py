"""Waiting for something to become true, within a bound, instead of sleeping and hoping."""

import time
from collections.abc import Callable


def wait_until(holds: Callable[[], object], within_s: float = 5.0, what: str = "it") -> None:
    """Return as soon as `holds()` is true; raises AssertionError when it is not within the time given."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {within_s:g} s")
        time.sleep(0.005)
