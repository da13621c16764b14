"""What rule files are made of: frozen values, no query language and no YAML."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded series: its name, its expression, what it is, and who reads it."""

    name: str
    expr: str
    about: str
    """One sentence for the docs."""
    reader: str = ""
    """Who reads a series that no other rule, alert, runbook or dashboard reads."""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `for_s` is how long the expression must hold before it fires."""

    name: str
    expr: str
    for_s: float
    labels: Mapping[str, str]
    summary: str
    description: str
    runbook: str
    """The runbook's file name below runbooks/."""
    about: str
    """One sentence for the docs."""
    runbook_base: str = ""
    """An address below which `runbooks/` is; without one the alert's runbook_url is a path."""


RuleKey = tuple[str, str, str]
"""What tells one rule from another: its name, the feature that it is of, and the doubt that it records."""


def rule_key(name: str, labels: Mapping[str, str] | None) -> RuleKey:
    return name, (labels or {}).get("feature", ""), (labels or {}).get("why", "")


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated together, one after the other, every `interval_s`."""

    name: str
    interval_s: float
    rules: tuple[Recording | Alert, ...]


@dataclass(frozen=True, slots=True)
class RuleFile:
    """One file of rules below rules/."""

    name: str
    about: str
    groups: tuple[Group, ...] = field(default=())

    @property
    def rules(self) -> tuple[Recording | Alert, ...]:
        """Every rule of the file."""
        return tuple(rule for group in self.groups for rule in group.rules)

    @property
    def recordings(self) -> tuple[Recording, ...]:
        """The recording rules of the file."""
        return tuple(rule for rule in self.rules if isinstance(rule, Recording))

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """The alerts of the file."""
        return tuple(rule for rule in self.rules if isinstance(rule, Alert))
