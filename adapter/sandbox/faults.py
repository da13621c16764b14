"""What the sandbox can be told to do wrong, and to how many of its requests."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults in force. Shares are 0 to 1 of the sends; without any, every send is taken at once."""

    step: str = ""
    """Of mails that go by a draft, the step that fails: one of STEPS; without it sends alone fail."""
    error_share: float = 0.0
    """So many sends are answered with `error_status`."""
    error_status: int = 503
    status: int = 0
    """Every send is answered with this one."""
    error_code: str = ""
    """Graph's code or Google's reason in the error; the usual one of the status without it."""
    error_message: str = ""
    throttle: bool = False
    """Every send is answered with 429."""
    retry_after: str | float | None = None
    """Retry-After of errors and, if `status` is 202, of that too; a number of seconds or any text.

    Gmail has no such header: there a number of seconds is a time in the text.
    """
    latency_s: float = 0.0
    latency_share: float = 1.0
    """So many sends wait `latency_s` before they are answered."""
    hang: bool = False
    """No answer ever comes."""
    body: str = ""
    """Of errors: `html`, `half` (half of the JSON, then the end), `empty`; JSON without it."""
    reset: str = ""
    """The connection is reset `before` the body is read, `in` it, or `after` it."""
    delivered_share: float = 0.0
    """So many of the sends that end in an error, a hang or a reset after the body are delivered."""
    bounce_share: float = 0.0
    """So many of the sends that are taken bounce later, as Gmail's do where a daily limit is passed."""
    claims: str = ""
    """A claims challenge beside 401."""
    times: int = 0
    """The faults end after so many sends; never without it."""
    per_mailbox: int = 0
    """More sends at once for one mailbox are answered with 429; no limit without it."""
    seed: int | None = None

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "Faults":
        """Read JSON; raises ValueError naming what cannot be used."""
        given = dict(values)
        if "slow_share" in given:
            given["latency_share"] = given.pop("slow_share")
        known = {f.name: f.type for f in fields(cls)}
        for name, value in given.items():
            _check(name, value, known)
        return cls(**given)


STEPS = frozenset(
    {"create", "find", "look", "remove", "attach", "names", "open", "range", "expected", "send"}
)
CHOICES = {
    "step": STEPS | {""},
    "body": {"", "html", "half", "empty"},
    "reset": {"", "before", "in", "after"},
}


def _check(name: str, value: Any, known: Mapping[str, Any]) -> None:
    if name not in known:
        raise ValueError(f"unknown fault {name!r}; known are {', '.join(sorted(known))}")
    if name.endswith("_share") and not (isinstance(value, int | float) and 0 <= value <= 1):
        raise ValueError(f"{name} must lie between 0 and 1")
    if name in CHOICES and value not in CHOICES[name]:
        raise ValueError(f"{name} must be one of {', '.join(sorted(CHOICES[name] - {''}))}")
    wanted = {bool: bool, int: int, float: (int, float), str: str}.get(known[name])
    if wanted and not isinstance(value, wanted):  # type: ignore[arg-type]
        raise ValueError(f"{name} must be of type {known[name].__name__}")


class Weather(Protocol):
    """Decides what goes wrong with the next send."""

    def throw(self) -> Faults:
        """Return the faults of the next request."""


class Dice:
    """Decides, send by send, what goes wrong; the same seed gives the same run."""

    def __init__(self, faults: Faults) -> None:
        self._random = random.Random(faults.seed)  # noqa: S311 (a seed must repeat the run)
        self._faults = faults
        self._left = faults.times

    def throw(self) -> Faults:
        """Return the faults of the next send, every share decided: 0 or 1."""
        faults = self._faults
        if faults.times and self._left == 0:
            return Faults()
        self._left -= bool(faults.times)
        return Faults(
            status=self._status(),
            error_code=faults.error_code,
            error_message=faults.error_message,
            retry_after=faults.retry_after,
            latency_s=faults.latency_s if self._hits(faults.latency_share) else 0.0,
            hang=faults.hang,
            body=faults.body,
            reset=faults.reset,
            delivered_share=float(self._hits(faults.delivered_share)),
            bounce_share=float(self._hits(faults.bounce_share)),
            claims=faults.claims,
            per_mailbox=faults.per_mailbox,
        )

    def _status(self) -> int:
        if self._faults.status:
            return self._faults.status
        if self._faults.throttle:
            return 429
        return self._faults.error_status if self._hits(self._faults.error_share) else 0

    def _hits(self, share: float) -> bool:
        return share > 0 and self._random.random() < share
