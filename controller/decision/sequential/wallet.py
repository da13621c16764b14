"""The breach test: one wallet that bets, over a whole ramp, that a rate is above its limit.

How to feed it: `breach_test` with the share of alpha that this wallet may spend, then `staked` once at the
start and once at each step or resume, then `with_bets(capped(test.bets(...), test.cap))` for every window, in
time's order and each window once. The alarm is `evidence() >= test.needed`; of several SLOs the mean of their
e-values is compared, `log_mean`. Whatever is done, in whatever order, the chance of an alarm while the limit
is kept is at most that share of alpha: capital is only ever moved from the cash to the bets, or dropped, and
what both are worth together is a fair bet (Ville).
"""

from dataclasses import dataclass
from math import ceil, exp, log, log1p

RAMP_SHARE = 0.9
LATE_SHARE = 0.05
LIVE_SHARE = 0.05
"""How alpha is split between the wallet of the ramp, the late-change test and the live counts."""

BURST_BLIPS = 10.0
"""A late-change test forgives what lasts no longer than so many blips."""
BREACH_TOP = 0.9
GRIDS = ((0.001, 16, 1.2), (1.0, 8, 1.5))
"""(limits below, points, lowest rate in times the limit): a small limit needs a longer grid."""
OPENING = 0.5
"""Share of the cash that the first step of a ramp stakes."""
_ROUNDING = 1e-6
_PLAINLY = 600.0
"""A bet above this size cannot be exponentiated, and the cash is nothing beside it."""
_LOST = -745.0
"""ln of the smallest float."""
_NOTHING = -1e300
"""ln of what is worth nothing."""


def _grid(limit: float) -> tuple[int, float]:
    """Return how many rates are bet on, and the lowest in times the limit."""
    return next((points, times) for below, points, times in GRIDS if limit < below)


def breach_points(limit: float) -> int:
    """Return how many rates are bet on."""
    return _grid(limit)[0]


def breach_rates(limit: float) -> tuple[float, ...]:
    """Return the rates bet on, evenly spaced on a logarithmic scale; each is above the limit."""
    points, times = _grid(limit)
    top = max(BREACH_TOP, (1 + limit) / 2)
    bottom = min(times * limit, (limit + top) / 2)
    ratio = top / bottom
    return tuple(bottom * ratio ** (j / (points - 1)) for j in range(points))


def windows_touched(blip_s: float, window_s: float) -> int:
    """Return how many windows a blip falls into at most, however it lies."""
    return ceil(blip_s / window_s - _ROUNDING) + 1


@dataclass(frozen=True, slots=True)
class BreachTest:
    """What a window brings at each rate, and when it is enough: natural logarithms."""

    worths: tuple[tuple[float, float], ...]
    """(worth of a bad send, worth of a good send) for each rate."""
    cap: float
    """What one window may bring at most: so much that a blip, also one that hits every SLO, never pauses."""
    needed: float

    def bets(self, bad: float, good: float, effect: float) -> list[float]:
        """Return what a window brings at each rate, counts divided by the design effect."""
        if effect != 1:
            bad, good = bad / effect, good / effect
        return [bad * hit + good * miss for hit, miss in self.worths]


def capped(bets: list[float], cap: float) -> list[float]:
    """Return bets of which none brings more than the cap; a smaller bet is still a fair one."""
    if max(bets) < cap:
        return bets
    return [bet if bet < cap else cap for bet in bets]  # noqa: FURB136  (min() takes twice as long)


def most_of_a_window(alpha: float, window_s: float, blip_s: float) -> float:
    """Return what one window may bring, so that all that a blip touches stay below the alarm at `alpha`."""
    room = (1 / alpha - (1 - OPENING)) / OPENING
    return (1 - _ROUNDING) * log(room) / windows_touched(blip_s, window_s)


def breach_test(limit: float, *, alpha: float, window_s: float, blip_s: float) -> BreachTest:
    """Work out the test of a limit, 0 < limit < 1, that may spend `alpha`, the caller's share of it."""
    return BreachTest(
        worths=tuple((log(rate / limit), log((1 - rate) / (1 - limit))) for rate in breach_rates(limit)),
        cap=most_of_a_window(alpha, window_s, blip_s),
        needed=log(1 / alpha),
    )


@dataclass(frozen=True, slots=True)
class Wallet:
    """Capital of 1 at the start of a ramp: what is staked on each rate, and what is not staked yet."""

    bets: tuple[float, ...] = ()
    """ln of what the stake on each rate is worth now; empty while nothing is staked."""
    cash: float = 1.0

    def staked(self, steps_ahead: int, points: int) -> "Wallet":
        """Stake on each of the rates alike: half the capital at first, then an equal part for each step
        ahead, with one part left for the resumes; so it lasts however often a person resumes.
        """
        share = OPENING if self.cash == 1 else 1 / (1 + steps_ahead)
        stake = self.cash * share / points
        held = self.bets or (_NOTHING,) * points
        bets = tuple([_with_stake(bet, stake) for bet in held])
        return Wallet(bets, self.cash * (1 - share))

    def with_bets(self, bets: list[float]) -> "Wallet":
        """Let the stakes grow or shrink by one window's bets. A wallet without a stake makes one first."""
        if not self.bets:
            return self.staked(1, len(bets)).with_bets(bets)
        return Wallet(tuple([held + bet for held, bet in zip(self.bets, bets, strict=True)]), self.cash)

    def emptied(self) -> "Wallet":
        """Drop what is staked: the evidence so far counts for nothing, the cash is left."""
        return Wallet(cash=self.cash)

    def evidence(self) -> float:
        """Tell how much speaks for a rate above the limit: ln E, about 0 at the start."""
        top = max(self.bets, default=0.0)
        if top > _PLAINLY:
            return top + log(sum([exp(bet - top) for bet in self.bets]))
        both = sum(map(exp, self.bets)) + self.cash
        return log(both) if both > 0 else _LOST


def _with_stake(bet: float, stake: float) -> float:
    """Return ln(e^bet + stake)."""
    if bet > 0:
        return bet + log1p(stake * exp(-bet))
    both = exp(bet) + stake
    return log(both) if both > 0 else bet
