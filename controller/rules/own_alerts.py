"""Alerts of the rollout itself: the controller, the senders it counts, and the state of each feature."""

from collections.abc import Iterable
from dataclasses import replace

from controller.contract import (
    ROLLOUT_FEATURE_PAUSED,
    ROLLOUT_HELD_SECONDS,
    ROLLOUT_JOURNAL_DISAGREEMENT,
    ROLLOUT_LAST_TICK_TIMESTAMP_SECONDS,
    ROLLOUT_LEADER,
    ROLLOUT_TICKS_TOTAL,
    ROLLOUT_UNWATCHED_FEATURES,
)
from controller.decision.feature import RolloutFeature
from controller.rules.model import Alert, Group
from controller.rules.scale import Scale, in_words
from controller.rules.scope import DEFAULT_SCOPE, Scope, matcher

_COMMON = {"service": "relay", "component": "rollout"}
MISSED_TICKS = 4
MISSED = "prometheus_rule_group_iterations_missed_total"


def rollout_alert_group(
    features: Iterable[RolloutFeature], scale: Scale, scope: Scope = DEFAULT_SCOPE
) -> Group:
    """Return the alerts on the controller itself."""
    rules = (
        *_controller(scale, scope),
        *_measuring(scale, scope),
        *_features(features, scale, scope),
    )
    return Group(
        name="rollout_alerts",
        interval_s=scale.interval_s,
        rules=tuple(replace(rule, labels={**rule.labels, **dict(scope.labels)}) for rule in rules),
    )


def _alert(
    name: str,
    expr: str,
    *,
    for_s: float,
    severity: str,
    summary: str,
    says: str,
    runbook: str,
    about: str,
    feature: str = "",
) -> Alert:
    return Alert(
        name=name,
        expr=expr,
        for_s=for_s,
        labels={"severity": severity, **_COMMON} | ({"feature": feature} if feature else {}),
        summary=f"{summary} ({'warn' if severity == 'warning' else severity})",
        description=says,
        runbook=f"rollout-{runbook}.md",
        about=about,
    )


def _controller(scale: Scale, scope: Scope) -> tuple[Alert, ...]:
    silence_s, every = MISSED_TICKS * scale.window_s, scope.recorded()
    last_tick = f"{ROLLOUT_LAST_TICK_TIMESTAMP_SECONDS}{every}"
    failed = scope.recorded('outcome="error"')
    return (
        _alert(
            "RolloutControllerDown",
            f"absent({last_tick})",
            for_s=scale.stretched_s(120),
            severity="critical",
            summary="No rollout controller can be scraped",
            says="No controller exports its last tick; every rollout stays where it is and nothing pauses it",
            runbook="controller-down",
            about="No controller is scraped: nothing steps up, and nothing pauses either.",
        ),
        _alert(
            "RolloutNoTick",
            f"time() - max({last_tick}) > {silence_s:g}",
            # A controller that has just begun exports 0 until its first tick is done.
            for_s=scale.stretched_s(60),
            severity="critical",
            summary="The rollout controller does not tick",
            says="The last good tick was {{ $value | humanizeDuration }} ago "
            f"(threshold: {in_words(silence_s)})",
            runbook="no-tick",
            about=f"No controller finished a good tick for {MISSED_TICKS} windows.",
        ),
        _alert(
            "RolloutTicksFail",
            f"sum(rate({ROLLOUT_TICKS_TOTAL}{failed}[{scale.range(300)}]))\n"
            f"/ (sum(rate({ROLLOUT_TICKS_TOTAL}{every}[{scale.range(300)}])) > 0) > 0.25",
            for_s=scale.stretched_s(300),
            severity="warning",
            summary="Ticks of the rollout controller fail",
            says="{{ $value | humanizePercentage }} of the ticks of the last "
            f"{in_words(scale.stretched_s(300))} failed (threshold: 25%)",
            runbook="no-tick",
            about="More than a quarter of the ticks end in an error.",
        ),
        _alert(
            "RolloutNotOneLeader",
            f"sum({ROLLOUT_LEADER}{every}) != 1",
            for_s=scale.stretched_s(120),
            severity="critical",
            summary="The rollout has not exactly one leader",
            says="{{ $value | humanize }} controllers hold the lease; it must be 1",
            runbook="not-one-leader",
            about="Nobody holds the lease, or two say that they do.",
        ),
    )


def _measuring(scale: Scale, scope: Scope) -> tuple[Alert, ...]:
    return (
        _alert(
            "RolloutSenderDown",
            f"up{scope.senders()} == 0",
            for_s=scale.stretched_s(120),
            severity="warning",
            summary="A sender cannot be scraped",
            says="The sender {{ $labels.instance }} does not answer Prometheus; "
            "no rollout steps up while its sends are unknown",
            runbook="sender-down",
            about="A sender is not scraped, so evidence is incomplete and every rollout holds.",
        ),
        _alert(
            "RolloutNoSenders",
            f"absent(up{scope.senders()} == 1)",
            for_s=scale.stretched_s(120),
            severity="critical",
            summary="Not one sender can be scraped",
            says=f"No target of the job {scope.job} answers Prometheus; "
            "the alerts of every feature are silent, and nothing can be proven or paused",
            runbook="sender-down",
            about="No sender is scraped any more, so all other alerts about sends are blind.",
        ),
        _alert(
            "RolloutEvidenceMissed",
            f'sum(increase({MISSED}{{rule_group=~".*;rollout_evidence"}}[{scale.range(300)}])) > 0',
            for_s=0,
            severity="warning",
            summary="Prometheus missed an evaluation of the evidence",
            says="About {{ $value | humanize }} evaluations were missed in the last "
            f"{in_words(scale.stretched_s(300))}; the controller counts up to ten of them afterwards",
            runbook="evidence-missed",
            about="Prometheus was too slow for the evidence; seen where Prometheus scrapes itself.",
        ),
    )


def _features(features: Iterable[RolloutFeature], scale: Scale, scope: Scope) -> tuple[Alert, ...]:
    return (
        _alert(
            "RolloutPaused",
            f"max by (feature) ({ROLLOUT_FEATURE_PAUSED}{scope.recorded()}) == 1",
            for_s=0,
            severity="warning",
            summary="The rollout of {{ $labels.feature }} is paused",
            says="{{ $labels.feature }} is paused, and only a person resumes it; "
            "`rollout history {{ $labels.feature }}` says why",
            runbook="paused",
            about="A feature is paused, by the controller or by a person.",
        ),
        _alert(
            "RolloutUnwatched",
            f"max({ROLLOUT_UNWATCHED_FEATURES}{scope.recorded()}) > 0",
            for_s=scale.stretched_s(60),
            severity="critical",
            summary="A feature is open and nobody watches it",
            says="{{ $value | humanize }} features are enabled in Redis and in no configuration: "
            "nothing pauses them; `rollout status` names them",
            runbook="unwatched",
            about="A feature is enabled in Redis and in no configuration, so nothing pauses it.",
        ),
        *(_held(feature, scope) for feature in features),
        _alert(
            "RolloutJournalDisagrees",
            f"max by (feature) ({ROLLOUT_JOURNAL_DISAGREEMENT}{scope.recorded()}) > 0",
            for_s=scale.stretched_s(60),
            severity="warning",
            summary="Stream and journal file of {{ $labels.feature }} disagree",
            says="{{ $value | humanize }} records of {{ $labels.feature }} are in the stream, "
            "and cannot be written to the journal file",
            runbook="journal-disagrees",
            about="Decisions are recorded in Redis only: the journal file cannot be written.",
        ),
    )


def _held(feature: RolloutFeature, scope: Scope) -> Alert:
    return _alert(
        "RolloutHeldLong",
        f"max({ROLLOUT_HELD_SECONDS}{scope.recorded(matcher('feature', feature.name))})"
        f" > {feature.longest_hold_s:g}",
        for_s=0,
        severity="warning",
        summary=f"The rollout of {feature.name} has been held for long",
        says=f"{feature.name} has been held for {{{{ $value | humanizeDuration }}}} "
        f"(threshold: {in_words(feature.longest_hold_s)})",
        runbook="held-long",
        about=f"{feature.name} has not moved for {in_words(feature.longest_hold_s)}.",
        feature=feature.name,
    )
