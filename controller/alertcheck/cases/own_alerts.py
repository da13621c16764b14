"""The synthetic faults of the rollout itself: a controller that stops, a sender that is gone, and so on."""

from collections.abc import Iterable, Iterator

from controller.alertcheck.cases.own_expected import MISSED
from controller.alertcheck.cases.provider_alerts import ABOVE, BELOW, AlertCase
from controller.alertcheck.cases.synthetic_series import Samples, Series, counter, gauge, ticking
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

LAST_TICK = ROLLOUT_LAST_TICK_TIMESTAMP_SECONDS


def own_cases(features: Iterable[RolloutFeature], scale: Scale) -> Iterator[AlertCase]:
    """Yield the cases; every number of steps is a number of windows."""
    listed = list(features)
    rows = (
        *_controller(scale.window_s),
        *_measuring(),
        *(row for feature in listed for row in _feature(feature, listed)),
    )
    for alert, name, fires, series in rows:
        yield AlertCase(alert, name, fires, Samples(scale.window_s, tuple(series)))


_Row = tuple[str, str, bool, list[Series]]


def _controller(step_s: float) -> Iterator[_Row]:
    alive = ticking(LAST_TICK, [(60, True)], step_s)
    gone = Series(LAST_TICK, {}, (*alive.values[:20], *[None] * 20, *alive.values[40:]))
    blinked = Series(LAST_TICK, {}, (*alive.values[:20], *[None] * 4, *alive.values[24:]))
    yield "RolloutControllerDown", "fires and resolves", True, [gone]
    yield "RolloutControllerDown", "a short gap", False, [blinked]
    yield (
        "RolloutNoTick",
        "fires and resolves",
        True,
        [ticking(LAST_TICK, [(20, True), (20, False), (20, True)], step_s, behind_s=step_s / 6)],
    )
    for name, times, fires in (("just above", ABOVE, True), ("just below", BELOW, False)):
        behind_s = 4 * step_s * times
        yield "RolloutNoTick", name, fires, [ticking(LAST_TICK, [(20, True)], step_s, behind_s)]
    yield "RolloutNoTick", "has just begun", False, [gauge(LAST_TICK, [(40, None), (2, 0), (4, 1260)])]
    yield (
        "RolloutNoTick",
        "one of two stands still",
        False,
        [
            alive,
            Series(
                LAST_TICK, {"instance": "b"}, ticking(LAST_TICK, [(20, True), (40, False)], step_s).values
            ),
        ],
    )
    for name, share, fires in (
        ("fires and resolves", 0.25 * ABOVE, True),
        ("just below", 0.25 * BELOW, False),
    ):
        yield (
            "RolloutTicksFail",
            name,
            fires,
            [
                counter(ROLLOUT_TICKS_TOTAL, [(20, 1), (40, 2 - 2 * share), (20, 1)], outcome="ok"),
                counter(ROLLOUT_TICKS_TOTAL, [(20, 0), (40, 2 * share), (20, 0)], outcome="error"),
                counter(ROLLOUT_TICKS_TOTAL, [(80, 0)], outcome="standby"),
            ],
        )
    for name, stretches, fires in (
        ("fires and resolves", [(5, 0), (10, 2), (5, 0)], True),
        ("for a moment", [(5, 0), (2, 1), (13, 0)], False),
    ):
        found = gauge(ROLLOUT_UNWATCHED_FEATURES, stretches, instance="a")
        yield (
            "RolloutUnwatched",
            name,
            fires,
            [found, gauge(ROLLOUT_UNWATCHED_FEATURES, [(20, 0)], instance="b")],
        )
    standby = gauge(ROLLOUT_LEADER, [(60, 0)], instance="b")
    for name, values, fires in (
        ("nobody leads", [(20, 1), (20, 0), (20, 1)], True),
        ("two lead", [(20, 1), (20, 2), (20, 1)], True),
        ("a change of leader", [(20, 1), (4, 0), (36, 1)], False),
    ):
        yield "RolloutNotOneLeader", name, fires, [standby, gauge(ROLLOUT_LEADER, values, instance="a")]


def _measuring() -> Iterator[_Row]:
    def up(*values: tuple[int, float]) -> list[Series]:
        return [
            gauge("up", values, job=SENDER_JOB, instance="a:1"),
            gauge("up", [(60, 1)], job=SENDER_JOB, instance="b:1"),
            gauge("up", [(60, 0)], job="another", instance="c:1"),
        ]

    yield "RolloutSenderDown", "fires and resolves", True, up((20, 1), (20, 0), (20, 1))
    yield "RolloutSenderDown", "a short gap", False, up((20, 1), (4, 0), (36, 1))
    last: tuple[tuple[str, list[tuple[int, float | None]], bool], ...] = (
        ("fires and resolves", [(20, 1), (20, 0), (20, 1)], True),
        ("none is a target any more", [(20, 1), (20, None), (20, 1)], True),
        ("a short gap", [(20, 1), (4, 0), (36, 1)], False),
        ("one is left", [(60, 1)], False),
    )
    for name, values, fires in last:
        yield (
            "RolloutNoSenders",
            name,
            fires,
            [
                gauge("up", [(10, 1), (40, 0), (10, 1)], job=SENDER_JOB, instance="a:1"),
                gauge("up", values, job=SENDER_JOB, instance="b:1"),
                gauge("up", [(60, 1)], job="another", instance="c:1"),
            ],
        )
    ours, theirs = "/etc/rules/r.yml;rollout_evidence", "/etc/rules/r.yml;another"
    yield (
        "RolloutEvidenceMissed",
        "fires and resolves",
        True,
        [counter(MISSED, [(20, 0), (1, 1), (20, 0)], rule_group=ours)],
    )
    yield (
        "RolloutEvidenceMissed",
        "another group",
        False,
        [
            counter(MISSED, [(40, 0)], rule_group=ours),
            counter(MISSED, [(40, 1)], rule_group=theirs),
        ],
    )


def _feature(feature: RolloutFeature, features: list[RolloutFeature]) -> Iterator[_Row]:
    label = {"feature": feature.name}
    others = [other for other in features if other.name != feature.name]
    yield (
        "RolloutPaused",
        f"{feature.name}: fires and resolves",
        True,
        [
            gauge(ROLLOUT_FEATURE_PAUSED, [(5, 0), (5, 1), (5, 0)], **label),
            gauge(ROLLOUT_FEATURE_PAUSED, [(15, 0)], **label, instance="b"),
        ],
    )
    yield (
        "RolloutPaused",
        f"{feature.name}: not paused",
        False,
        [gauge(ROLLOUT_FEATURE_PAUSED, [(15, 0)], **label)],
    )
    longest = feature.longest_hold_s
    yield (
        "RolloutHeldLong",
        f"{feature.name}: fires and resolves",
        True,
        [
            gauge(ROLLOUT_HELD_SECONDS, [(5, longest * BELOW), (5, longest * ABOVE), (5, 0)], **label),
            gauge(ROLLOUT_HELD_SECONDS, [(15, 0)], **label, instance="b"),
        ],
    )
    yield (
        "RolloutHeldLong",
        f"{feature.name}: just below",
        False,
        [
            gauge(ROLLOUT_HELD_SECONDS, [(15, longest * BELOW)], **label),
            *(gauge(ROLLOUT_HELD_SECONDS, [(15, 0)], feature=other.name) for other in others),
        ],
    )
    for other in others[:1]:
        yield (
            "RolloutHeldLong",
            f"{feature.name}: another is held",
            True,
            [
                gauge(ROLLOUT_HELD_SECONDS, [(15, 0)], **label),
                gauge(ROLLOUT_HELD_SECONDS, [(15, other.longest_hold_s * ABOVE)], feature=other.name),
            ],
        )
    yield (
        "RolloutJournalDisagrees",
        f"{feature.name}: fires and resolves",
        True,
        [
            gauge(ROLLOUT_JOURNAL_DISAGREEMENT, [(5, 0), (10, 1), (5, 0)], **label),
            gauge(ROLLOUT_JOURNAL_DISAGREEMENT, [(20, 0)], **label, instance="b"),
        ],
    )
    yield (
        "RolloutJournalDisagrees",
        f"{feature.name}: for a moment",
        False,
        [gauge(ROLLOUT_JOURNAL_DISAGREEMENT, [(5, 0), (2, 1), (13, 0)], **label)],
    )
