"""The three tests of one SLO together: what one window adds to them."""

from dataclasses import dataclass
from math import inf, isnan, log

from controller.decision.feature import RolloutFeature
from controller.decision.model import SloState
from controller.decision.sequential.clusters import counted_once
from controller.decision.sequential.health import HealthTest, health_test
from controller.decision.sequential.late import with_late
from controller.decision.sequential.wallet import (
    BURST_BLIPS,
    LATE_SHARE,
    RAMP_SHARE,
    BreachTest,
    breach_test,
    capped,
    windows_touched,
)

BURST_CAP = 0.75
"""A burst of BURST_BLIPS brings the late-change test at most this share of the way to its alarm."""


@dataclass(frozen=True, slots=True)
class SloTest:
    """The tests of one SLO, and what the late-change test needs."""

    limit: float
    breach: BreachTest
    health: HealthTest
    late_needed: float
    late_cap: float


def slo_test(limit: float, feature: RolloutFeature, window_s: float) -> SloTest:
    """Work out the tests of an SLO that allows a share `limit` of bad sends, 0 < limit < 1."""
    windows_of_a_ramp = max(1.0, feature.longest_ramp_s / window_s)
    late_needed = log(windows_of_a_ramp / (LATE_SHARE * feature.alpha))
    alpha = RAMP_SHARE * feature.alpha
    return SloTest(
        limit=limit,
        breach=breach_test(limit, alpha=alpha, window_s=window_s, blip_s=feature.blip_s),
        health=health_test(min(feature.margin * limit, (1 + limit) / 2)),
        late_needed=late_needed,
        late_cap=BURST_CAP * late_needed / windows_touched(BURST_BLIPS * feature.blip_s, window_s),
    )


def with_window(
    test: SloTest,
    state: SloState,
    n: float,
    k: float,
    *,
    proves_health: bool,
    mailboxes: float | None = None,
) -> SloState:
    """Add one window of n sends, k of them bad. Without sends, or without a number, nothing changes.

    `mailboxes` is how many distinct ones the bad sends are of, None where nobody knows. The bets are divided
    by what the windows before say of clusters, never by what this one says.
    """
    if not 0 < n < inf or isnan(k):
        return state
    bad = min(max(k, 0.0), n)
    counted = counted_once(bad, mailboxes)
    bets = test.breach.bets(counted, n - bad, state.clusters.effect_on_bets())
    return SloState(
        wallet=state.wallet.with_bets(capped(bets, test.breach.cap)),
        late=with_late(state.late, capped(bets, test.late_cap)),
        health=state.health.with_window(n, bad) if proves_health else state.health,
        clusters=state.clusters.with_window(counted, bad, mailboxes),
        sends=state.sends + n,
        bad=state.bad + bad,
    )
