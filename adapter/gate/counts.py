"""LiveCounts: what this process has sent, by feature, so that the controller knows it within a second.

Counting waits for nothing and asks nobody. What changed since the last publication is taken by the thread
that reads the flags anyway, once a second, and counts that could not be written stay to be written.
"""

import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

REFUSED_S = 60.0
"""Before the next attempt where Redis refuses to take them."""

MOST_MAILBOXES = 1000
"""So many failed mailboxes of one second are told apart."""


@dataclass(slots=True)
class _Tally:
    """The counts of one feature since the process began."""

    sends: int = 0
    errors: int = 0
    slow: int = 0
    failed_mailboxes: int = 0
    """Each publication adds the number of mailboxes that failed since the one before."""
    failing: set[int] = field(default_factory=set)
    """Hashes of the mailboxes that failed since the last publication."""

    def text(self, at: float) -> str:
        """Write the counts as JSON."""
        return (
            f'{{"at": {at:.3f}, "sends": {self.sends}, "errors": {self.errors}, "slow": {self.slow}, '
            f'"failed_mailboxes": {self.failed_mailboxes}}}'
        )


class LiveCounts:
    """The counts of one process; any thread may count."""

    def __init__(self) -> None:
        self.field = f"{os.uname().nodename}:{os.getpid()}:{int(time.time() * 1000)}"
        """Names this process, and no other that has its number after it."""
        self._lock = threading.Lock()
        self._tallies: dict[str, _Tally] = {}
        self._changed: set[str] = set()
        self._wait_until: dict[str, float] = {}

    def add(self, feature: str, *, ok: bool, slow: bool, mailbox: str) -> None:
        """Count one send; a failure without a mailbox is not known to have hit one more."""
        with self._lock:
            tally = self._tallies.get(feature)
            if tally is None:
                tally = self._tallies[feature] = _Tally()
            tally.sends += 1
            tally.slow += slow
            if not ok:
                tally.errors += 1
                if mailbox and len(tally.failing) < MOST_MAILBOXES:
                    tally.failing.add(hash(str(mailbox)))
            self._changed.add(feature)

    def due(self, now: float) -> set[str]:
        """Return the features that have something to be published; `now` is monotonic."""
        with self._lock:
            return {feature for feature in self._changed if now >= self._wait_until.get(feature, now)}

    def take(self, now: float) -> dict[str, str]:
        """Return what is to be published now, by feature."""
        due = self.due(now)
        with self._lock:
            self._changed -= due
            return {feature: self._taken(self._tallies[feature]) for feature in due}

    def put_back(self, features: Iterable[str], until: float = float("-inf")) -> None:
        """Publish these again, not before `until`."""
        with self._lock:
            self._changed.update(features)
            self._wait_until.update(dict.fromkeys(features, until))

    def renew_lock(self) -> None:
        """Forget who held the lock."""
        self._lock = threading.Lock()

    @staticmethod
    def _taken(tally: _Tally) -> str:
        tally.failed_mailboxes += len(tally.failing)
        tally.failing.clear()
        return tally.text(time.time())


_of_process: dict[tuple[int, str], LiveCounts] = {}
_making = threading.Lock()


def counts_of_process(url: str) -> LiveCounts:
    """Return the counts that this process publishes in one Redis: the same ones for all its gates."""
    with _making:
        return _of_process.setdefault((os.getpid(), url), LiveCounts())


def _forked() -> None:
    """Replace the locks: in a child of a fork, a lock that was held stays so."""
    global _making  # noqa: PLW0603
    _making = threading.Lock()
    for counts in _of_process.values():
        counts.renew_lock()


os.register_at_fork(after_in_child=_forked)
