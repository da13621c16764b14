"""What each rule of a feature must say, written a second time: numbers and words instead of PromQL."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from controller.alertcheck.cases.oracle import SampleView, Values, Vector, grouped, scalar
from controller.alertcheck.cases.synthetic_series import Series
from controller.contract import (
    ACTION_ERROR_TOTAL,
    ACTION_EXEC_TOTAL,
    ACTION_LATENCY_SECONDS,
    ROLLOUT_GATE_TOTAL,
    SENDER_JOB,
    STRUCTURED_ERROR_TOTAL,
)
from controller.decision.feature import RolloutFeature
from controller.rules.names import Names
from controller.rules.recording import SIGN_IN_METRICS
from controller.rules.scale import Scale

TOP_CODES = 5


@dataclass(frozen=True, slots=True)
class ExpectedAlert:
    """When an alert must hold, with the value that its text prints, and how long before it fires."""

    name: str
    for_s: float
    holds: Vector
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expectations:
    """What all rules of one feature must say of any view."""

    recorded: dict[str, Vector]
    alerts: tuple[ExpectedAlert, ...]


def expectations(feature: RolloutFeature, scale: Scale) -> Expectations:
    """Return what the series and alerts of one feature have to do, by the scale of time."""
    recorded = _recorded(_Seen(feature, scale), Names.of(feature))
    return Expectations(recorded, tuple(_alerts(feature, scale, recorded)))


@dataclass(frozen=True, slots=True)
class _Seen:
    """One feature's metrics, by the words of the plan."""

    feature: RolloutFeature
    scale: Scale

    def window_s(self, minutes: float) -> float:
        return self.scale.stretched_s(minutes * 60)

    def series(self, view: SampleView, name: str, **matchers: str) -> tuple[Series, ...]:
        pair = {"provider": self.feature.provider, "action": self.feature.action}
        return view.samples.select(name, job=SENDER_JOB, **pair, **matchers)

    def buckets(self, view: SampleView) -> tuple[Series, ...]:
        return self.series(view, f"{ACTION_LATENCY_SECONDS}_bucket")

    def rate(self, view: SampleView, name: str, minutes: float = 5) -> float | None:
        return view.sum_rate(self.series(view, name), self.window_s(minutes))

    def by(self, view: SampleView, name: str, *labels: str) -> Values:
        window_s = self.window_s(5)
        return grouped(self.series(view, name), labels, lambda some: view.sum_rate(some, window_s))

    def error_ratio(self, view: SampleView, minutes: float) -> float | None:
        errors, sends = self.series(view, ACTION_ERROR_TOTAL), self.series(view, ACTION_EXEC_TOTAL)
        return view.ratio(errors, sends, self.window_s(minutes))

    def burn(self, view: SampleView, minutes: float) -> float | None:
        ratio = self.error_ratio(view, minutes)
        return None if ratio is None else ratio / self.feature.slo_error_rate_threshold

    def failed(self, view: SampleView, minutes: float) -> float | None:
        return view.sum_increase(self.series(view, ACTION_ERROR_TOTAL), self.window_s(minutes))

    def quantile(self, view: SampleView, share: float) -> float | None:
        return view.quantile(share, self.buckets(view), self.window_s(5))

    def coded(self, view: SampleView, fits: Callable[[str], bool]) -> float | None:
        all_codes = self.series(view, STRUCTURED_ERROR_TOTAL)
        return view.sum_rate([one for one in all_codes if fits(one.labels["code"])], self.window_s(5))


MINUTES = {"5m": 5, "30m": 30, "1h": 60, "6h": 360}


def _recorded(seen: _Seen, names: Names) -> dict[str, Vector]:
    limit_s = seen.feature.latency_limit_s

    def floored(view: SampleView) -> Values:
        errors, sends = seen.rate(view, ACTION_ERROR_TOTAL), seen.rate(view, ACTION_EXEC_TOTAL)
        return scalar(errors / max(sends, 1) if errors is not None and sends is not None else None)

    def slow_ratio(view: SampleView) -> Values:
        fast = [one for one in seen.buckets(view) if float(one.labels["le"]) == limit_s]
        timed = seen.series(view, f"{ACTION_LATENCY_SECONDS}_count")
        ratio = view.ratio(fast, timed, seen.window_s(5))
        return scalar(None if ratio is None else 1 - ratio)

    def p95_by_status(view: SampleView) -> Values:
        return grouped(
            seen.buckets(view), ["status"], lambda some: view.quantile(0.95, some, seen.window_s(5))
        )

    def top_codes(view: SampleView) -> Values:
        codes = seen.by(view, STRUCTURED_ERROR_TOTAL, "code")
        return dict(sorted(codes.items(), key=lambda item: -item[1])[:TOP_CODES])

    def gate(view: SampleView) -> Values:
        answers = view.samples.select(ROLLOUT_GATE_TOTAL, job=SENDER_JOB, feature=seen.feature.name)
        return grouped(answers, ["outcome", "reason"], lambda some: view.sum_rate(some, seen.window_s(5)))

    recorded: dict[str, Vector] = {
        names.series("exec_rate"): lambda view: scalar(seen.rate(view, ACTION_EXEC_TOTAL)),
        names.series("latency_seconds", "rate5m"): lambda view: seen.by(
            view, f"{ACTION_LATENCY_SECONDS}_bucket", "le"
        ),
        names.series("latency_p95"): lambda view: scalar(seen.quantile(view, 0.95)),
        names.series("latency_p95_by_result"): p95_by_status,
        names.series("errors_rate"): floored,
        names.top_codes(): top_codes,
        names.series("exec_rate_by_status"): lambda view: seen.by(view, ACTION_EXEC_TOTAL, "status"),
        names.series("gate_outcomes_rate"): gate,
        names.series("latency_p50"): lambda view: scalar(seen.quantile(view, 0.5)),
        names.series("latency_p99"): lambda view: scalar(seen.quantile(view, 0.99)),
        names.series("slow_ratio"): slow_ratio,
        names.series("error_rate_by_code"): lambda view: seen.by(view, STRUCTURED_ERROR_TOTAL, "code"),
        names.series("error_rate_by_source"): lambda view: seen.by(view, STRUCTURED_ERROR_TOTAL, "source"),
        names.series("throttled_rate"): lambda view: scalar(
            seen.coded(view, lambda code: "THROTTLED" in code)
        ),
        names.series("auth_error_rate"): lambda view: scalar(seen.coded(view, lambda code: "_AUTH_" in code)),
        names.series("unknown_rate"): lambda view: scalar(
            seen.coded(view, lambda code: code.endswith("SEND_UNKNOWN"))
        ),
    }
    for window, minutes in MINUTES.items():
        recorded[names.series("error_ratio", window)] = _of(seen.error_ratio, minutes)
        recorded[names.series("error_budget_burn", window)] = _of(seen.burn, minutes)
    for window in ("5m", "1h", "6h"):
        recorded[names.series("failed_sends", window)] = _of(seen.failed, MINUTES[window])
    return recorded | (_sign_in(seen, names) if names.provider in SIGN_IN_METRICS else {})


def _of(measure: Callable[[SampleView, float], float | None], minutes: float) -> Vector:
    return lambda view: scalar(measure(view, minutes))


def _sign_in(seen: _Seen, names: Names) -> dict[str, Vector]:
    window_s = seen.window_s(15)

    def failed(view: SampleView) -> list[Series]:
        return [one for one in _refreshes(view) if one.labels["outcome"] != "ok"]

    def _refreshes(view: SampleView) -> tuple[Series, ...]:
        return view.samples.select(SIGN_IN_METRICS[names.provider], job=SENDER_JOB)

    def error_ratio(view: SampleView) -> Values:
        ratio = view.ratio(failed(view), _refreshes(view), window_s)
        return scalar(view.sum_rate(_refreshes(view), window_s) if ratio is None else ratio)

    return {
        names.series("token_refresh_error_ratio", "15m"): error_ratio,
        names.series("token_refresh_failures", "15m"): lambda view: scalar(
            view.sum_increase(failed(view), window_s)
        ),
    }


Bound = tuple[str, float]
"""A recorded series and what it must exceed."""


def _alerts(feature: RolloutFeature, scale: Scale, recorded: dict[str, Vector]) -> Sequence[ExpectedAlert]:
    names, limit, limit_s = Names.of(feature), feature.slo_error_rate_threshold, feature.latency_limit_s
    errors, traffic = names.series("errors_rate"), (names.series("exec_rate"), 0.1)
    p95 = names.series("latency_p95")
    fast, slow = min(14.4, round(0.5 / limit, 2)), min(6.0, max(1.0, round(0.25 / limit, 2)))

    def burns(long: str, short: str, factor: float) -> tuple[Bound, ...]:
        windows = ((names.series("error_budget_burn", window), factor) for window in (long, short))
        return (*windows, (names.series("failed_sends", long), 2.5))

    table: list[tuple[str, str, float, tuple[Bound, ...]]] = [
        ("HighErrorRateWarning", "warning", 10, ((errors, limit), traffic)),
        ("HighErrorRateCritical", "critical", 10, ((errors, min(limit * 5, 0.9)), traffic)),
        ("HighLatencyWarning", "warning", 10, ((p95, limit_s),)),
        ("HighLatencyCritical", "critical", 10, ((p95, limit_s * 4),)),
        (
            "NothingSucceeds",
            "critical",
            5,
            ((names.series("error_ratio"), 0.99), (names.series("failed_sends"), 2.5)),
        ),
        ("FastErrorBudgetBurn", "critical", 2, burns("1h", "5m", fast)),
        ("SlowErrorBudgetBurn", "warning", 15, burns("6h", "30m", slow)),
    ]
    if feature.provider in SIGN_IN_METRICS:
        refreshes = (
            (names.series("token_refresh_error_ratio", "15m"), 0.2),
            (names.series("token_refresh_failures", "15m"), 2.5),
        )
        table.append(("TokenRefreshFailing", "warning", 5, refreshes))
    return [
        ExpectedAlert(
            names.alert(name),
            scale.stretched_s(minutes * 60),
            partial(_exceeded, recorded, bounds),
            {
                "severity": severity,
                "service": "relay",
                "component": names.words[0],
                "provider": feature.provider,
                "action": feature.action,
            },
        )
        for name, severity, minutes, bounds in table
    ]


def _exceeded(recorded: dict[str, Vector], bounds: Sequence[Bound], view: SampleView) -> Values:
    """Return the first series' value while every series exceeds its bound."""
    values = [recorded[name](view).get((), math.nan) for name, _ in bounds]
    exceeded = all(value > bound for value, (_, bound) in zip(values, bounds, strict=True))
    return scalar(values[0] if exceeded else None)
