"""What each alert of the rollout itself must say, written a second time."""

from collections.abc import Callable, Iterable
from functools import partial

from controller.alertcheck.cases.oracle import SampleView, Values, grouped, scalar
from controller.alertcheck.cases.provider_expected import ExpectedAlert
from controller.alertcheck.cases.synthetic_series import Series
from controller.contract import (
    ROLLOUT_FEATURE_PAUSED,
    ROLLOUT_HELD_SECONDS,
    ROLLOUT_JOURNAL_DISAGREEMENT,
    ROLLOUT_LAST_TICK_TIMESTAMP_SECONDS,
    ROLLOUT_LEADER,
    ROLLOUT_TICKS_TOTAL,
    ROLLOUT_UNWATCHED_FEATURES,
    SENDER_JOB,
)
from controller.decision.feature import RolloutFeature
from controller.rules.scale import Scale

MISSED = "prometheus_rule_group_iterations_missed_total"


def own_expectations(features: Iterable[RolloutFeature], scale: Scale) -> tuple[ExpectedAlert, ...]:
    """Return what the alerts of the controller itself have to do, by the scale of time."""
    minutes = partial(_minutes, scale)
    window_s = minutes(5)

    def down(view: SampleView) -> Values:
        return scalar(1.0 if _highest(view, ROLLOUT_LAST_TICK_TIMESTAMP_SECONDS) is None else None)

    def silent(view: SampleView) -> Values:
        last = _highest(view, ROLLOUT_LAST_TICK_TIMESTAMP_SECONDS)
        age_s = None if last is None else view.now_s - last
        return scalar(age_s if age_s is not None and age_s > 4 * scale.window_s else None)

    def failing(view: SampleView) -> Values:
        ticks = view.samples.select(ROLLOUT_TICKS_TOTAL)
        failed = [one for one in ticks if one.labels["outcome"] == "error"]
        ratio = view.ratio(failed, ticks, window_s)
        return scalar(ratio if ratio is not None and ratio > 0.25 else None)

    def leaders(view: SampleView) -> Values:
        found = _values(view, view.samples.select(ROLLOUT_LEADER))
        return scalar(sum(found) if found and sum(found) != 1 else None)

    def unwatched(view: SampleView) -> Values:
        most = _highest(view, ROLLOUT_UNWATCHED_FEATURES)
        return scalar(most if most is not None and most > 0 else None)

    def sender_down(view: SampleView) -> Values:
        down = [one for one in view.samples.select("up", job=SENDER_JOB) if view.value(one) == 0]
        return {tuple(sorted(one.labels.items())): 0.0 for one in down}

    def no_senders(view: SampleView) -> Values:
        up = _values(view, view.samples.select("up", job=SENDER_JOB))
        return scalar(None if 1.0 in up else 1.0)

    def missed(view: SampleView) -> Values:
        every = view.samples.select(MISSED)
        ours = [one for one in every if one.labels["rule_group"].endswith(";rollout_evidence")]
        count = view.sum_increase(ours, window_s)
        return scalar(count or None)

    table: tuple[tuple[str, str, float, Callable[[SampleView], Values]], ...] = (
        ("RolloutControllerDown", "critical", minutes(2), down),
        ("RolloutNoTick", "critical", minutes(1), silent),
        ("RolloutTicksFail", "warning", minutes(5), failing),
        ("RolloutNotOneLeader", "critical", minutes(2), leaders),
        ("RolloutSenderDown", "warning", minutes(2), sender_down),
        ("RolloutNoSenders", "critical", minutes(2), no_senders),
        ("RolloutEvidenceMissed", "warning", 0, missed),
        ("RolloutPaused", "warning", 0, partial(_by_feature, ROLLOUT_FEATURE_PAUSED, 0.5)),
        ("RolloutUnwatched", "critical", minutes(1), unwatched),
        (
            "RolloutJournalDisagrees",
            "warning",
            minutes(1),
            partial(_by_feature, ROLLOUT_JOURNAL_DISAGREEMENT, 0),
        ),
    )
    held = [
        ExpectedAlert(
            "RolloutHeldLong",
            0,
            partial(_held_longer, feature),
            _labels("warning") | {"feature": feature.name},
        )
        for feature in features
    ]
    return (*(ExpectedAlert(name, for_s, holds, _labels(sev)) for name, sev, for_s, holds in table), *held)


def _minutes(scale: Scale, minutes: float) -> float:
    return scale.stretched_s(minutes * 60)


def _labels(severity: str) -> dict[str, str]:
    return {"severity": severity, "service": "relay", "component": "rollout"}


def _values(view: SampleView, series: Iterable[Series]) -> list[float]:
    return [value for one in series if (value := view.value(one)) is not None]


def _highest(view: SampleView, name: str) -> float | None:
    return max(_values(view, view.samples.select(name)), default=None)


def _held_longer(feature: RolloutFeature, view: SampleView) -> Values:
    held = _values(view, view.samples.select(ROLLOUT_HELD_SECONDS, feature=feature.name))
    longest_s = max(held, default=0.0)
    return scalar(longest_s if longest_s > feature.longest_hold_s else None)


def _by_feature(name: str, above: float, view: SampleView) -> Values:
    found = grouped(
        view.samples.select(name), ["feature"], lambda some: max(_values(view, some), default=None)
    )
    return {key: value for key, value in found.items() if value > above}
