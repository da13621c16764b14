"""The closed list of answers that say for certain: not sent. Every other answer leaves the outcome unknown.

A provider lists only what refuses a request before it is carried out; providers have been seen to answer an
error and to deliver, and front ends answer for them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from adapter.providers.provider import RetryAction

STATUSES = frozenset({400, 401, 403, 404, 413, 429})
"""The statuses that refuse a request. With any other one no code counts."""


@dataclass(frozen=True, slots=True)
class NotSent:
    """A line of the closed list: which answers, what they become, and why the mail was not sent."""

    code: str
    then: RetryAction
    names: str
    """The provider's words for it, between blanks; each counts with one of STATUSES alone."""
    because: str
    status: int | None = None
    """The status that means the same whatever word comes with it, even none."""


@dataclass(frozen=True)
class ClosedList:
    """The lines of one provider."""

    unknown_code: str
    lines: tuple[NotSent, ...]
    may_be_sent: frozenset[str] = field(default_factory=frozenset)
    """Words, in small letters, that take a refusal back: work on the mail may have begun."""

    @cached_property
    def by_name(self) -> dict[str, NotSent]:
        """Return the lines by their names in small letters."""
        return {name.lower(): line for line in self.lines for name in line.names.split()}

    @cached_property
    def by_status(self) -> dict[int, NotSent]:
        """Return the lines that a status alone leads to."""
        return {line.status: line for line in self.lines if line.status}

    def meaning(self, status: int, names: Sequence[str]) -> tuple[str, RetryAction]:
        """Return what an answer becomes; of its names, which come most specific first, the first known."""
        line = self.line(status, [name.lower() for name in names])
        return (line.code, line.then) if line else (self.unknown_code, RetryAction.UNKNOWN)

    def line(self, status: int, names: Iterable[str]) -> NotSent | None:
        """Return the line of an answer, its names in small letters; None where it is on none."""
        names = list(names)
        if status not in STATUSES or self.may_be_sent.intersection(names):
            return None
        known = (self.by_name[name] for name in names if name in self.by_name)
        return next(known, self.by_status.get(status))
