"""Live counts: from the hash that sender processes write to the counts of one second. Pure.

Whoever may write there is believed only in what it can have sent. A process that is new is a baseline; one
whose counts fall has begun again; a value that cannot be read counts nothing. No clock of theirs is compared
with another: `at` only tells an abandoned field early, and a value that a newer one has overtaken.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import msgspec

MOST_SENDS = 100_000
"""More sends of one process between two looks are not believed."""
MOST_FIELDS = 20_000
"""So many processes of one feature are followed; a new one beyond them counts nothing."""
OUTDATED_S = 60.0
"""A field that did not change for so long is removed."""
FORGOTTEN_S = 3600.0
"""A removed process that writes again within this time goes on from where it was."""

_Number = Annotated[float, msgspec.Meta(ge=0, le=1e15)]


class _Value(msgspec.Struct, gc=False):
    """What a process writes."""

    at: Annotated[float, msgspec.Meta(ge=0, le=1e15)]
    sends: _Number
    errors: _Number
    slow: _Number
    failed_mailboxes: _Number = 0.0


_DECODER = msgspec.json.Decoder(_Value)


class LiveSecond(NamedTuple):
    """What all processes of a feature sent between two looks."""

    sends: float = 0.0
    errors: float = 0.0
    slow: float = 0.0
    failed_mailboxes: float = 0.0


_NOTHING = LiveSecond()


@dataclass(slots=True)
class _Process:
    """The newest of one process."""

    text: str
    value: _Value | None
    """None while what it writes cannot be read."""
    changed_at: float
    """On our clock."""


def parse_value(text: str) -> _Value | None:
    """Parse what a process wrote; None for anything that is not such a value."""
    try:
        return _DECODER.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


class LiveCounter:
    """Adds up the counts of one feature; look at it about once a second, times on one steady clock."""

    def __init__(self) -> None:
        self._processes: dict[str, _Process] = {}
        self._present = 0
        self._idle: list[str] = []
        """Fields that the newest look took nothing from."""
        self._swept_at = float("-inf")
        self.changed_at = 0.0
        """When counts moved last; 0 before they did."""

    def look(self, fields: Mapping[str, str], now: float) -> LiveSecond:
        """Take the hash as it is now, and return what was counted since it was taken last."""
        sends = errors = slow = mailboxes = 0.0
        processes, idle = self._processes, []
        for name, text in fields.items():
            held = processes.get(name)
            if held is None:
                if not self._begin(name, text, now):
                    idle.append(name)
            elif held.text == text:
                idle.append(name)
            else:
                value = parse_value(text)
                held.text, held.changed_at = text, now
                if _is_overtaken(held.value, value):
                    continue
                before, held.value = held.value, value
                n, k, late, hit = _increase(before, value)
                sends, errors, slow, mailboxes = sends + n, errors + k, slow + late, mailboxes + hit
        self._present, self._idle = len(fields), idle
        if sends:
            self.changed_at = now
        return LiveSecond(sends, errors, slow, mailboxes)

    def _begin(self, name: str, text: str, now: float) -> bool:
        """Take a process's first counts as its baseline; whether there is room for it."""
        room = len(self._processes) < MOST_FIELDS
        if room:
            self._processes[name] = _Process(text, parse_value(text), now)
        return room

    @property
    def processes(self) -> int:
        """How many processes have counts in the hash now."""
        return self._present

    def outdated(self, now: float, wall: float) -> list[str]:
        """Return the fields to remove, and forget processes that have been gone for long."""
        processes = self._processes
        if now > self._swept_at + OUTDATED_S:
            self._swept_at = now
            for name in [name for name, one in processes.items() if now - one.changed_at > FORGOTTEN_S]:
                del processes[name]
        return [name for name in self._idle if _is_outdated(processes.get(name), now, wall)]


def _is_outdated(process: _Process | None, now: float, wall: float) -> bool:
    """Whether a field that did not change at this look did not for long, or says so itself."""
    if process is None or now - process.changed_at > OUTDATED_S:
        return True
    return process.value is not None and wall - process.value.at > OUTDATED_S


def _is_overtaken(held: _Value | None, value: _Value | None) -> bool:
    """Whether a value was written before the one that is held, and came after it."""
    if held is None or value is None:
        return False
    return value.sends <= held.sends and held.at - OUTDATED_S < value.at < held.at


def _increase(before: _Value | None, after: _Value | None) -> tuple[float, ...]:
    """Return the sends, errors, slow sends and failed mailboxes between two values, as far as believed."""
    if before is None or after is None:
        return _NOTHING
    sends, errors = after.sends - before.sends, after.errors - before.errors
    slow, mailboxes = after.slow - before.slow, after.failed_mailboxes - before.failed_mailboxes
    if not 0 <= sends <= MOST_SENDS or errors < 0 or slow < 0 or mailboxes < 0:
        return _NOTHING
    if errors or slow or mailboxes:
        errors = min(errors, sends)
        return sends, errors, min(slow, sends), min(mailboxes, errors)
    return sends, 0.0, 0.0, 0.0
