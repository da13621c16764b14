"""One line of the doctor: what was looked at, how it is, and what to do."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class DoctorVerdict(StrEnum):
    """How one thing is."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; nothing has to be done."""
    BAD = "bad"
    AWAY = "away"
    """A server that is needed does not answer."""


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """One line."""

    subject: str
    verdict: DoctorVerdict
    seen: str
    do: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the fields by name, as JSON has them."""
        return {"subject": self.subject, "verdict": self.verdict, "seen": self.seen, "do": self.do}


def ok(subject: str, seen: str) -> DoctorFinding:
    """Return a finding that is well."""
    return DoctorFinding(subject, DoctorVerdict.OK, seen)


def note(subject: str, seen: str, do: str = "") -> DoctorFinding:
    """Return a finding that is only worth knowing."""
    return DoctorFinding(subject, DoctorVerdict.NOTE, seen, do)


def bad(subject: str, seen: str, do: str) -> DoctorFinding:
    """Return a finding that has to be mended, with what to do."""
    return DoctorFinding(subject, DoctorVerdict.BAD, seen, do)


def away(subject: str, seen: str, do: str) -> DoctorFinding:
    """Return the finding that a server cannot be reached, with what to do."""
    return DoctorFinding(subject, DoctorVerdict.AWAY, seen, do)


def until_away(looks: Iterable[Callable[[], Iterator[DoctorFinding]]]) -> Iterator[DoctorFinding]:
    """Look at one thing after the other, and at nothing more of a server that is away."""
    for look in looks:
        for finding in look():
            yield finding
            if finding.verdict is DoctorVerdict.AWAY:
                return
