"""Whether live counts and Prometheus's windows tell of the same sends. Pure; nothing is decided by it."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable

from controller.decision.model import Window

COMPARED_S = 600.0
"""Compared are the windows of so long."""
LEAST_S = 300.0
"""Over less, and over fewer sends than LEAST_SENDS, nothing is said."""
LEAST_SENDS = 50.0
LASTING = 0.2
"""A difference above this share is worth a look: a sender writes no live counts, or is not scraped."""


class LiveDifference:
    """Compares one feature's sends. Times are those of the leader's steady clock."""

    def __init__(self, window_s: float, delay_s: float) -> None:
        """Take the length of a window, and how far its sends lie before its timestamp."""
        self._window_s = window_s
        self._delay_s = delay_s
        self._at: deque[float] = deque(maxlen=int(2 * COMPARED_S))
        self._sent: deque[float] = deque(maxlen=int(2 * COMPARED_S))
        """All that was counted up to each of `_at`."""
        self._pairs: deque[tuple[float, float]] = deque(maxlen=max(int(COMPARED_S / window_s), 1))

    def add_second(self, at: float, sends: float) -> None:
        """Take what was counted live up to `at`."""
        self._at.append(at)
        self._sent.append((self._sent[-1] if self._sent else 0.0) + sends)

    def restart(self) -> None:
        """Begin again: seconds are missing."""
        for kept in (self._at, self._sent, self._pairs):
            kept.clear()

    def add_windows(self, windows: Iterable[Window], ahead_s: float) -> None:
        """Take new windows; `ahead_s` is what the leader's clock shows more than their source's."""
        times = list(self._at)
        for window in windows:
            end = window.at + ahead_s - self._delay_s
            begin = end - self._window_s
            if times and times[0] <= begin and end <= times[-1]:
                live = self._up_to(times, end) - self._up_to(times, begin)
                self._pairs.append((live, window.sends))

    def _up_to(self, times: list[float], instant: float) -> float:
        return self._sent[max(bisect_right(times, instant) - 1, 0)]

    @property
    def share(self) -> float | None:
        """By which share live counts are more (negative: less) than the windows; None if not known."""
        live, recorded = sum(pair[0] for pair in self._pairs), sum(pair[1] for pair in self._pairs)
        most = max(live, recorded)
        if len(self._pairs) * self._window_s < LEAST_S or most < LEAST_SENDS:
            return None
        return (live - recorded) / most
