"""One line of the doctor: what was looked at, how it is, and what to do."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How one thing is."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; nothing has to be done."""
    BAD = "bad"
    AWAY = "away"
    """A server that is needed does not answer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line."""

    subject: str
    verdict: Verdict
    seen: str
    do: str = ""

    def as_dict(self) -> dict[str, str]:
        return {"subject": self.subject, "verdict": self.verdict, "seen": self.seen, "do": self.do}


def ok(subject: str, seen: str) -> Finding:
    return Finding(subject, Verdict.OK, seen)


def note(subject: str, seen: str, do: str = "") -> Finding:
    return Finding(subject, Verdict.NOTE, seen, do)


def bad(subject: str, seen: str, do: str) -> Finding:
    return Finding(subject, Verdict.BAD, seen, do)


def away(subject: str, seen: str, do: str) -> Finding:
    return Finding(subject, Verdict.AWAY, seen, do)


def until_away(looks: Iterable[Callable[[], Iterator[Finding]]]) -> Iterator[Finding]:
    """Look at one thing after the other, and at nothing more of a server that is away."""
    for look in looks:
        for finding in look():
            yield finding
            if finding.verdict is Verdict.AWAY:
                return
