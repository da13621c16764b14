"""The recorded series of one feature: the plan's six under their names, and those beside them."""

from dataclasses import replace

from controller.contract import (
    ACTION_ERROR_TOTAL,
    ACTION_EXEC_TOTAL,
    ACTION_LATENCY_SECONDS,
    GOOGLE_TOKEN_REFRESH_TOTAL,
    MS_TOKEN_REFRESH_TOTAL,
    ROLLOUT_GATE_TOTAL,
    STRUCTURED_ERROR_TOTAL,
)
from controller.decision.feature import RolloutFeature
from controller.rules.model import Group, Recording
from controller.rules.names import Names
from controller.rules.scale import Scale
from controller.rules.scope import DEFAULT_SCOPE, Scope, matcher

WINDOWS_S = {"5m": 300.0, "30m": 1800.0, "1h": 3600.0, "6h": 21_600.0}
"""The windows that series are named after; at another scale the names stay and the lengths stretch."""

SIGN_IN_METRICS = {"microsoft": MS_TOKEN_REFRESH_TOTAL, "google": GOOGLE_TOKEN_REFRESH_TOTAL}
"""The counter of token refreshes of each provider that has one; its `outcome` is `ok` or what went wrong."""


def recording_group(feature: RolloutFeature, scale: Scale, scope: Scope = DEFAULT_SCOPE) -> Group:
    """Return the recording rules of one feature."""
    names = Names.of(feature, scope)
    rules = (
        *_plan(names, scale),
        *_traffic(feature, names, scale),
        *_latency(feature, names, scale),
        *_errors(names, scale),
        *_burn(feature, names, scale),
        *_sign_in(names, scale),
    )
    return Group(
        name=f"{'_'.join(names.words)}_recording",
        interval_s=scale.interval_s,
        rules=tuple(replace(rule, labels=dict(scope.labels)) for rule in rules),
    )


def le_matcher(limit_s: float) -> str:
    """Match a bucket's edge however it is spelled: `1.0` by Python and Prometheus 3, `1` by others."""
    spelled = f"{limit_s:g}"
    return f'le="{spelled}"' if "." in spelled else rf'le=~"{spelled}(\\.0)?"'


def _rate(counter: str, selector: str, window: str) -> str:
    return f"rate({counter}{selector}[{window}])"


def _plan(names: Names, scale: Scale) -> tuple[Recording, ...]:
    """Return the six series of plan.md, with its names and its meaning."""
    window, selector = scale.range(300), names.selector()
    buckets = _rate(f"{ACTION_LATENCY_SECONDS}_bucket", selector, window)
    histogram = names.recorded("latency_seconds", "rate5m")
    return (
        Recording(
            names.series("exec_rate"),
            f"sum({_rate(ACTION_EXEC_TOTAL, selector, window)})",
            "Sends per second.",
        ),
        Recording(
            names.series("latency_seconds", "rate5m"),
            f"sum by (le) ({buckets})",
            "Sends per second that took at most `le` seconds: the histogram behind the quantiles.",
        ),
        Recording(
            names.series("latency_p95"),
            f"histogram_quantile(0.95, {histogram})",
            "The 95th percentile of the latency, seconds; NaN without traffic.",
        ),
        Recording(
            names.series("latency_p95_by_result"),
            f"histogram_quantile(0.95, sum by (le, status) ({buckets}))",
            "The 95th percentile of the latency of good and of failed sends, seconds.",
        ),
        Recording(
            names.series("errors_rate"),
            f"sum({_rate(ACTION_ERROR_TOTAL, selector, window)})\n"
            f"/ on () clamp_min({names.recorded('exec_rate')}, 1)",
            "The plan's floored error ratio: right from 1 send/s upwards, too low below.",
        ),
        Recording(
            names.top_codes(),
            f"topk(5, sum by (code) ({_rate(STRUCTURED_ERROR_TOTAL, selector, window)}))",
            "The five most frequent error codes, errors per second; series come and go with the ranking.",
            "dashboards made from the plan's names",
        ),
    )


def _traffic(feature: RolloutFeature, names: Names, scale: Scale) -> tuple[Recording, ...]:
    window = scale.range(300)
    gate = _rate(ROLLOUT_GATE_TOTAL, names.scope.senders(matcher("feature", feature.name)), window)
    return (
        Recording(
            names.series("exec_rate_by_status"),
            f"sum by (status) ({_rate(ACTION_EXEC_TOTAL, names.selector(), window)})",
            "Sends per second, good and failed apart.",
        ),
        Recording(
            names.series("gate_outcomes_rate"),
            f"sum by (outcome, reason) ({gate})",
            "Answers of the gate per second, by outcome and reason.",
        ),
    )


def _latency(feature: RolloutFeature, names: Names, scale: Scale) -> tuple[Recording, ...]:
    window, histogram = scale.range(300), names.recorded("latency_seconds", "rate5m")
    buckets, count = f"{ACTION_LATENCY_SECONDS}_bucket", f"{ACTION_LATENCY_SECONDS}_count"
    fast = _rate(buckets, names.selector(le_matcher(feature.latency_limit_s)), window)
    timed = _rate(count, names.selector(), window)
    return (
        Recording(
            names.series("latency_p50"),
            f"histogram_quantile(0.5, {histogram})",
            "The median latency, seconds.",
        ),
        Recording(
            names.series("latency_p99"),
            f"histogram_quantile(0.99, {histogram})",
            "The 99th percentile of the latency, seconds.",
        ),
        Recording(
            names.series("slow_ratio"),
            f"1 - sum({fast})\n/ (sum({timed}) > 0)",
            f"The share of sends slower than the SLO of {feature.slo_latency_p95_ms:g} ms, exact; "
            "above 5 % says the same as a p95 above the limit. Absent without traffic.",
        ),
    )


def _errors(names: Names, scale: Scale) -> tuple[Recording, ...]:
    window = scale.range(300)

    def coded(*matchers: str) -> str:
        return _rate(STRUCTURED_ERROR_TOTAL, names.selector(*matchers), window)

    return (
        Recording(
            names.series("error_rate_by_code"),
            f"sum by (code) ({coded()})",
            "Errors per second by code, refusals before sending among them.",
        ),
        Recording(
            names.series("error_rate_by_source"),
            f"sum by (source) ({coded()})",
            "Errors per second by whose fault they are.",
        ),
        Recording(
            names.series("throttled_rate"),
            f"""sum({coded('code=~".*THROTTLED.*"')})""",
            "Sends per second that the provider refused because they were too many.",
        ),
        Recording(
            names.series("auth_error_rate"),
            f"""sum({coded('code=~".*_AUTH_.*"')})""",
            "Sends per second that failed for want of a valid sign-in.",
        ),
        Recording(
            names.series("unknown_rate"),
            f"""sum({coded('code=~".*SEND_UNKNOWN"')})""",
            "Sends per second of which nobody knows whether the mail left.",
        ),
    )


def _burn(feature: RolloutFeature, names: Names, scale: Scale) -> tuple[Recording, ...]:
    limit = feature.slo_error_rate_threshold
    return tuple(
        rule
        for window, length_s in WINDOWS_S.items()
        for rule in (
            Recording(
                names.series("error_ratio", window),
                f"sum({_rate(ACTION_ERROR_TOTAL, names.selector(), scale.range(length_s))})\n"
                f"/ (sum({_rate(ACTION_EXEC_TOTAL, names.selector(), scale.range(length_s))}) > 0)",
                f"The exact share of failed sends over {window}; absent without traffic.",
            ),
            Recording(
                names.series("error_budget_burn", window),
                f"{names.recorded('error_ratio', window)} / {limit:g}",
                f"How many times faster than allowed the error budget burnt over {window}; 1 is the limit.",
            ),
        )
    ) + tuple(
        Recording(
            names.series("failed_sends", window),
            f"sum(increase({ACTION_ERROR_TOTAL}{names.selector()}[{scale.range(WINDOWS_S[window])}]))",
            f"About how many sends failed over {window}: the guard of alerts that hold at any traffic.",
        )
        for window in ("5m", "1h", "6h")
    )


def _sign_in(names: Names, scale: Scale) -> tuple[Recording, ...]:
    metric, window = SIGN_IN_METRICS.get(names.provider), scale.range(900)
    if metric is None:
        return ()
    every, failed = names.scope.senders(), names.scope.senders('outcome!="ok"')
    return (
        Recording(
            names.series("token_refresh_error_ratio", "15m"),
            f"sum({_rate(metric, failed, window)})\n/ (sum({_rate(metric, every, window)}) > 0)"
            f"\nor sum({metric}{every}) * 0",
            "The share of token refreshes that failed; 0 while nobody refreshes.",
        ),
        Recording(
            names.series("token_refresh_failures", "15m"),
            f"sum(increase({metric}{failed}[{window}]))",
            "About how many token refreshes failed.",
        ),
    )
