"""The policies: each judges the SLOs in its own way. A new one is one function and one row."""

from collections.abc import Callable
from dataclasses import replace

from controller.decision.judge import FeatureTests, judge
from controller.decision.model import Finding, Slo, State, Verdict, Window

Policy = Callable[[FeatureTests, State, tuple[Window, ...]], tuple[Finding, ...]]
"""(tests, state with the new windows in it, new windows, the newest last) -> one finding per SLO."""


def sequential(tests: FeatureTests, state: State, _windows: tuple[Window, ...]) -> tuple[Finding, ...]:
    """Judge by everything seen at this step, with a stated chance of error for the whole ramp."""
    return judge(tests, state)


def threshold(tests: FeatureTests, state: State, windows: tuple[Window, ...]) -> tuple[Finding, ...]:
    """Judge by the newest window alone: its ratio and its share of slow sends against the limits.

    This is the rule of the original plan, kept for comparison. It aborts most healthy ramps at low traffic.
    """
    newest = windows[-1] if windows else Window(0.0, 0.0, 0.0, 0.0, 0.0)
    counts = {
        Slo.ERROR_RATE: (newest.sends, newest.errors),
        Slo.LATENCY: (newest.timed, newest.slow),
    }
    return tuple(
        replace(finding, verdict=_against(finding.limit, *counts[finding.slo], newest.converged))
        for finding in judge(tests, state)
    )


def _against(limit: float, n: float, k: float, converged: bool) -> Verdict:
    if n <= 0:
        return Verdict.UNKNOWN
    if k / n > limit:
        return Verdict.BREACHED
    return Verdict.MET if converged else Verdict.UNKNOWN


POLICIES: dict[str, Policy] = {"sequential": sequential, "threshold": threshold}
