"""How much a test tries, by the profile in HYPOTHESIS_PROFILE: `check` little, `default` more, `soak` all.

`make check`, `make test` and `make soak` set it. A failure in any of them prints the example that fails.
"""

import os
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, settings

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
_SHARE = {"check": 0.01, "default": 0.1, "soak": 1.0}[PROFILE]
_FEWEST = 10


def share_of(all_: int, fewest: int = 1) -> int:
    """Return how many of these `make soak` would try are tried now."""
    return max(fewest, round(all_ * _SHARE))


def amount(name: str, soak: int, usually: int) -> int:
    """Return how often to try in `make soak` and elsewhere, or what the environment says in `SOAK_<name>`."""
    return int(os.environ.get(f"SOAK_{name}", soak if PROFILE == "soak" else usually))


def sampled(all_: Sequence[Any], fewest: int) -> Sequence[Any]:
    """Return at least `fewest` of these, spread evenly over them; in `make soak` all."""
    return all_[:: max(1, len(all_) // share_of(len(all_), fewest))]


def examples(all_: int, **others: Any) -> settings:
    """Return hypothesis's settings for a test that draws so many examples in `make soak`."""
    return settings(max_examples=share_of(all_, _FEWEST), **others)


def load_profile() -> None:
    """Set what tests without numbers of their own draw; the few of `check` are always the same ones.

    How long an example takes says how busy the machine is, and nothing about the code: no example is timed.
    """
    settings.register_profile(
        PROFILE,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        max_examples=share_of(1000, _FEWEST),
        derandomize=PROFILE == "check",
        print_blob=True,
    )
    settings.load_profile(PROFILE)
