"""The alerts of one feature: the plan's four under their names, and those that the plan's four miss.

Each expression keeps what its text prints as `$value` on the left: with the traffic there, the plan's own
alert said "Error rate is 1995%". The guard stands behind `and on ()`.
"""

from controller.contract import CRITICAL_LATENCY_TIMES
from controller.decision.feature import RolloutFeature
from controller.rules.model import Alert, Group
from controller.rules.names import Names
from controller.rules.recording import SIGN_IN_METRICS, WINDOWS_S
from controller.rules.scale import Scale, in_words
from controller.rules.scope import DEFAULT_SCOPE, Scope

CRITICAL_ERRORS_TIMES = 5
"""The plan's critical alert: 5 % errors where 1 % is the limit."""
GUARD_PER_S = 0.1
"""The plan's traffic guard."""
FEWEST_FAILED = 2.5
"""Three failed sends, less what rate() may miss at the edges of its window."""
REFRESH_FAILURES = 0.2
"""Single users whose sign-in has expired are normal; a fifth of all refreshes is not."""
FAST_BURN, SLOW_BURN = 14.4, 6.0
"""A month's error budget gone in two days, in five: the usual pair of multi-window burn rates."""


def alert_group(feature: RolloutFeature, scale: Scale, scope: Scope = DEFAULT_SCOPE) -> Group:
    """Return the alerts of one feature."""
    names = Names.of(feature, scope)
    return Group(
        name=f"{'_'.join(names.words)}_alerts",
        interval_s=scale.interval_s,
        rules=(
            *_error_rate(feature, names, scale),
            *_latency(feature, names, scale),
            _nothing_succeeds(names, scale),
            *_burn(feature, names, scale),
            *_sign_in(names, scale),
        ),
    )


def _error_rate(feature: RolloutFeature, names: Names, scale: Scale) -> tuple[Alert, ...]:
    limit = feature.slo_error_rate_threshold
    return tuple(
        Alert(
            name=names.alert(f"HighErrorRate{severity.capitalize()}"),
            expr=f"{names.recorded('errors_rate')} > {threshold:g}\n"
            f"and on () {names.recorded('exec_rate')} > {GUARD_PER_S:g}",
            for_s=scale.stretched_s(600),
            labels={"severity": severity, **names.labels},
            summary=f"{names.title} error rate >{_percent(threshold)} ({short})",
            description=f"Error rate is {{{{ $value | humanizePercentage }}}} over the last "
            f"{in_words(scale.stretched_s(300))} (threshold: {_percent(threshold)}, "
            f"traffic: {_traffic(names)})",
            runbook=names.runbook("high-error-rate"),
            about=f"The floored error ratio stays above {_percent(threshold)} "
            f"with more than {GUARD_PER_S:g} sends/s.",
        )
        for severity, short, threshold in (
            ("warning", "warn", limit),
            ("critical", "critical", min(limit * CRITICAL_ERRORS_TIMES, 0.9)),
        )
    )


def _latency(feature: RolloutFeature, names: Names, scale: Scale) -> tuple[Alert, ...]:
    limit_s = feature.latency_limit_s
    return tuple(
        Alert(
            name=names.alert(f"HighLatency{severity.capitalize()}"),
            expr=f"{names.recorded('latency_p95')} > {threshold_s:g}",
            for_s=scale.stretched_s(600),
            labels={"severity": severity, **names.labels},
            summary=f"{names.title} P95 > {_latency_text(threshold_s)} ({short})",
            description="P95 latency is {{ $value | humanizeDuration }} "
            f"(threshold: {round(threshold_s, 3)}s)",
            runbook=names.runbook("high-latency"),
            about=f"The p95 stays above {_latency_text(threshold_s)}; without traffic it is NaN, and silent.",
        )
        for severity, short, threshold_s in (
            ("warning", "warn", limit_s),
            ("critical", "critical", limit_s * CRITICAL_LATENCY_TIMES),
        )
    )


def _nothing_succeeds(names: Names, scale: Scale) -> Alert:
    return Alert(
        name=names.alert("NothingSucceeds"),
        expr=f"{names.recorded('error_ratio')} > 0.99\n"
        f"and on () {names.recorded('failed_sends')} > {FEWEST_FAILED:g}",
        for_s=scale.stretched_s(300),
        labels={"severity": "critical", **names.labels},
        summary=f"{names.title}: no send succeeds (critical)",
        description=f"{{{{ $value | humanizePercentage }}}} of the sends of the last "
        f"{in_words(scale.stretched_s(300))} failed (traffic: {_traffic(names)})",
        runbook=names.runbook("nothing-succeeds"),
        about="Nothing succeeds, at any traffic from three sends in five minutes; "
        "the plan's guard and floor hide that.",
    )


def _burn(feature: RolloutFeature, names: Names, scale: Scale) -> tuple[Alert, ...]:
    limit = feature.slo_error_rate_threshold
    return tuple(
        Alert(
            name=names.alert(f"{what}ErrorBudgetBurn"),
            expr=f"{names.recorded('error_budget_burn', long)} > {factor:g}\n"
            f"and on () {names.recorded('error_budget_burn', short)} > {factor:g}\n"
            f"and on () {names.recorded('failed_sends', long)} > {FEWEST_FAILED:g}",
            for_s=scale.stretched_s(for_s),
            labels={"severity": severity, **names.labels},
            summary=f"{names.title} burns its error budget {factor:g} times too fast ({severity})",
            description=f"Errors are {{{{ $value | humanize }}}} times the limit of {_percent(limit)} "
            f"over {in_words(scale.stretched_s(WINDOWS_S[long]))}, and above {factor:g} times "
            f"over {in_words(scale.stretched_s(WINDOWS_S[short]))} (traffic: {_traffic(names)})",
            runbook=names.runbook("error-budget-burn"),
            about=f"The exact error ratio is {factor:g} times the limit over {long} and still is over "
            f"{short}, at any traffic.",
        )
        for what, long, short, factor, for_s, severity in (
            ("Fast", "1h", "5m", min(FAST_BURN, round(0.5 / limit, 2)), 120, "critical"),
            ("Slow", "6h", "30m", min(SLOW_BURN, max(1.0, round(0.25 / limit, 2))), 900, "warning"),
        )
    )


def _sign_in(names: Names, scale: Scale) -> tuple[Alert, ...]:
    if names.provider not in SIGN_IN_METRICS:
        return ()
    window_s = scale.stretched_s(900)
    return (
        Alert(
            name=names.alert("TokenRefreshFailing"),
            expr=f"{names.recorded('token_refresh_error_ratio', '15m')} > {REFRESH_FAILURES:g}\n"
            f"and on () {names.recorded('token_refresh_failures', '15m')} > {FEWEST_FAILED:g}",
            for_s=scale.stretched_s(300),
            labels={"severity": "warning", **names.labels},
            summary=f"{names.title}: sign-ins cannot be renewed (warn)",
            description="{{ $value | humanizePercentage }} of the token refreshes of the last "
            f"{in_words(window_s)} failed (threshold: {_percent(REFRESH_FAILURES)})",
            runbook=names.runbook("token-refresh-failing"),
            about=f"More than {_percent(REFRESH_FAILURES)} of the token refreshes fail; "
            "sends will follow when the access tokens run out.",
        ),
    )


def _traffic(names: Names) -> str:
    return f"""{{{{ query `{names.recorded("exec_rate")}` | first | value | printf "%.3g" }}}}req/s"""


def _percent(ratio: float) -> str:
    return f"{ratio * 100:g}%"


def _latency_text(limit_s: float) -> str:
    return f"{limit_s:g}s" if limit_s >= 1 else f"{limit_s * 1000:g}ms"
