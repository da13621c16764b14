"""All rule files of an installation, from its features and its scale of time."""

from collections.abc import Iterable
from dataclasses import replace

from controller.decision.feature import RolloutFeature
from controller.rules.alerts import alert_group
from controller.rules.evidence_rules import HEADER, evidence_group
from controller.rules.model import Alert, Group, RuleFile
from controller.rules.names import refuse_shared_names
from controller.rules.own_alerts import rollout_alert_group
from controller.rules.recording import recording_group
from controller.rules.scale import Scale
from controller.rules.scope import DEFAULT_SCOPE, Scope


def rule_files(
    features: Iterable[RolloutFeature], scale: Scale, scope: Scope = DEFAULT_SCOPE
) -> tuple[RuleFile, ...]:
    """Return every file; raises ValueError where two features would record the same series."""
    ordered = sorted(features, key=lambda feature: feature.name)
    refuse_shared_names(ordered)
    return (
        RuleFile("prometheus-recording-rollout.yml", HEADER, (evidence_group(scale, scope),)),
        RuleFile(
            "prometheus-alerts-rollout.yml",
            "Alerts of the rollout itself: the controller, the senders it counts, and what it decided.",
            (rollout_alert_group(ordered, scale, scope),),
        ),
        *(file for feature in ordered for file in _feature_files(feature, scale, scope)),
    )


def with_runbook_base(files: Iterable[RuleFile], url: str) -> tuple[RuleFile, ...]:
    """Return the files with absolute addresses of their runbooks, below `url`; as they are without one."""
    return tuple(replace(file, groups=tuple(_based(group, url) for group in file.groups)) for file in files)


def _based(group: Group, url: str) -> Group:
    rules = (replace(rule, runbook_base=url) if isinstance(rule, Alert) else rule for rule in group.rules)
    return replace(group, rules=tuple(rules))


def _feature_files(feature: RolloutFeature, scale: Scale, scope: Scope) -> tuple[RuleFile, RuleFile]:
    about = f"{feature.provider} {feature.action}"
    return (
        RuleFile(
            f"prometheus-recording-{feature.name}.yml",
            f"Recorded series of {about}, for alerts, dashboards and people; decisions use the evidence.",
            (recording_group(feature, scale, scope),),
        ),
        RuleFile(
            f"prometheus-alerts-{feature.name}.yml",
            f"Alerts of {about}.",
            (alert_group(feature, scale, scope),),
        ),
    )
