"""How far bad sends come in clusters: a retry storm, one mailbox, a burst.

A product of bets needs the chance of each send given those before it. Where bad sends come in groups of c,
n sends say no more than n/c would. That c, the design effect, is measured from what successive windows
differ by: for single failures half the square of the difference is on average their mean.
"""

from dataclasses import dataclass
from math import sqrt

BETS_Z = 3.0
HEALTH_Z = 0.5
"""How many standard deviations of chance are taken off: a pause asks for clear signs, a step up for any."""
_SILENT = 0.5
"""Where windows have few sends, those that have any have half a send more than all have on average."""
_MOST = 1e300
"""Whatever a state holds, evidence is finite: a record has no other numbers."""
UNSEEN = 5.0
"""Groups of up to so many are reckoned with before any was seen, at the step that lets everybody in."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """What the windows of a ramp say of it so far."""

    spread: float = 0.0
    """Sum over pairs of successive windows of half the squared difference of their bad sends."""
    mean: float = 0.0
    """Sum over the same pairs of the mean of the two."""
    last: float | None = None
    """Bad sends of the window before; None after a step, when traffic jumps."""
    bad: float = 0.0
    mailboxes: float = 0.0
    """Bad sends of windows whose failed mailboxes are known, and the sum of those mailboxes."""

    def with_window(self, bad: float, all_bad: float, mailboxes: float | None) -> "Clusters":
        """Add a window: bad sends as the bets count them, all of them, and their mailboxes, if known."""
        spread, mean = self.spread, self.mean
        if self.last is not None:
            spread = min(spread + 0.5 * (bad - self.last) ** 2, _MOST)
            mean += 0.5 * (bad + self.last)
        if mailboxes is None:
            return Clusters(spread, mean, bad, self.bad, self.mailboxes)
        hit = min(max(mailboxes, 0.0), all_bad)
        return Clusters(spread, mean, bad, self.bad + all_bad, self.mailboxes + hit)

    def stepped(self) -> "Clusters":
        """Go on at another step, whose traffic has nothing to do with the window before."""
        return Clusters(self.spread, self.mean, None, self.bad, self.mailboxes)

    def effect_on_bets(self) -> float:
        """Return by what a bet on a breach is divided: 1 without clear signs of clusters."""
        if self.spread <= self.mean:
            return 1.0
        over = self.spread - self.mean - BETS_Z * sqrt(self.mean / 2)
        return 1 + over / (self.mean + 1) if over > 0 else 1.0

    def effect_on_health(self) -> float:
        """Return by what the evidence of health is divided: the largest that the counts tell of."""
        seen = 1.0
        if self.spread > self.mean > 0:
            over = self.spread - self.mean - HEALTH_Z * sqrt(self.mean / 2)
            seen = 1 + over / self.mean if over > 0 else 1.0
        hit = self.bad / self.mailboxes if self.mailboxes > 0 else 1.0
        return min(max(seen, hit), _MOST)


def counted_once(bad: float, mailboxes: float | None) -> float:
    """Return the bad sends that a bet on a breach counts: each mailbox once a window, where that is known.

    The retries of one mailbox alone are none of the provider's.
    """
    if mailboxes is None:
        return bad
    if mailboxes <= 1 < bad:
        return 0.0
    return min(bad, mailboxes)


def unseen_effect(sends: float, windows: float, share: float) -> float:
    """Return the design effect that must be reckoned with although no cluster was seen.

    A cluster is at most a window's sends, and weighs as the share of the users that the step lets in.
    """
    return max(min(sends / windows - _SILENT, UNSEEN * share), 1.0) if windows > 0 else 1.0


@dataclass(frozen=True, slots=True)
class Health:
    """Counts of the windows of one step that may prove health."""

    sends: float = 0.0
    bad: float = 0.0
    windows: float = 0.0

    def with_window(self, sends: float, bad: float) -> "Health":
        """Add one window that has sends."""
        return Health(self.sends + sends, self.bad + bad, self.windows + 1)

    def effect(self, seen: float, share: float) -> float:
        """Return by what its evidence is divided: the effect seen, or that which must be reckoned with."""
        return max(seen, unseen_effect(self.sends, self.windows, share))
