"""How much each caller may ask: requests for an address or a token, and wrong tokens for an address."""

from collections import OrderedDict

BURST_S = 10.0
GUESSES_PER_S = 1.0
GUESSES_AT_ONCE = 30.0
_MOST_CALLERS = 4096


class Rates:
    """A budget for each caller, which fills again as time goes by."""

    def __init__(self, per_s: float, at_once: float) -> None:
        self._per_s = per_s
        self._at_once = at_once
        self._budgets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """(units left, when that was so), the caller that asked last at the end."""

    def spend(self, caller: str, now: float) -> float:
        """Take one from a caller's budget; return 0, or for how many seconds there is none."""
        wait_s = self.wait_s(caller, now)
        left = self._left(caller, now)
        self._budgets.pop(caller, None)
        self._budgets[caller] = (left if wait_s else left - 1.0, now)
        while len(self._budgets) > _MOST_CALLERS:
            self._budgets.popitem(last=False)
        return wait_s

    def wait_s(self, caller: str, now: float) -> float:
        """Return for how many seconds a caller's budget is used up; 0 where it is not."""
        return max(0.0, (1.0 - self._left(caller, now)) / self._per_s)

    def _left(self, caller: str, now: float) -> float:
        left, at = self._budgets.get(caller, (self._at_once, now))
        return min(self._at_once, left + (now - at) * self._per_s)
