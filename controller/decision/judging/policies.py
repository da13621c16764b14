"""What judges the SLOs: the tests, of any form, and the policies. A new one is a function and a row."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from msgspec import UNSET

from controller.decision.feature import RolloutFeature
from controller.decision.model import Evidence, Finding, Slo, State, Verdict, Window


class Tests(Protocol):
    """The mathematics of one feature, of whatever form."""

    def with_windows(self, state: State, windows: tuple[Window, ...], evidence: Evidence) -> State:
        """Add windows to the tests and the counts, and say up to when all is judged."""
        ...

    def judge(self, state: State, feature: RolloutFeature, percent: float) -> tuple[Finding, ...]:
        """Judge each SLO; `needed` is left to `with_needed`, since not every reader asks."""
        ...

    def with_needed(
        self, findings: tuple[Finding, ...], state: State, feature: RolloutFeature, percent: float
    ) -> tuple[Finding, ...]:
        """Estimate for each finding how many more sends prove health at the rate seen so far."""
        ...

    def is_outage(self, windows: tuple[Window, ...], before: int) -> bool:
        """Whether these windows are an outage; `before` of the windows before them had half failed."""
        ...


Policy = Callable[[tuple[Finding, ...], tuple[Window, ...]], tuple[Finding, ...]]
"""(findings of the sequential tests, new windows, the newest last) -> findings of the policy."""


def sequential(judged: tuple[Finding, ...], _windows: tuple[Window, ...]) -> tuple[Finding, ...]:
    """Judge by everything seen, with a stated chance of error for the whole ramp."""
    return judged


def threshold(judged: tuple[Finding, ...], windows: tuple[Window, ...]) -> tuple[Finding, ...]:
    """Judge by the newest window alone: its ratio and its share of slow sends against the limits.

    This is the rule of the original plan, kept for comparison. It aborts most healthy ramps at low traffic.
    """
    newest = windows[-1] if windows else Window(0.0, 0.0, 0.0, 0.0, 0.0)
    counts = {
        Slo.ERROR_RATE: (newest.sends, newest.errors),
        Slo.LATENCY: (newest.timed, newest.slow),
        Slo.VERY_SLOW: (newest.timed, newest.very_slow) if newest.very_slow is not UNSET else (0.0, 0.0),
    }
    return tuple(
        replace(finding, verdict=_against(finding.limit, *counts[finding.slo], newest.converged))
        for finding in judged
    )


def _against(limit: float, n: float, k: float, converged: bool) -> Verdict:
    if n <= 0:
        return Verdict.UNKNOWN
    if k / n > limit:
        return Verdict.BREACHED
    return Verdict.MET if converged else Verdict.UNKNOWN


POLICIES: dict[str, Policy] = {"sequential": sequential, "threshold": threshold}
