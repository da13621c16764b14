"""Which targets are the senders: their scrape job, and labels that tell one environment from another."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controller.contract import METRIC_LABELS, SENDER_JOB

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z", re.ASCII)
_OWN_LABELS = {label for labels in METRIC_LABELS.values() for label in labels}
_TAKEN = (
    _OWN_LABELS
    | {"job", "le", "why", "__name__", "alertname", "alertstate"}
    | {
        "severity",
        "service",
        "component",
    }
)


@dataclass(frozen=True, slots=True)
class Scope:
    """The senders of one environment. Every recorded series and alert carries `labels`."""

    job: str = SENDER_JOB
    labels: tuple[tuple[str, str], ...] = ()
    """Labels that each of these senders has, and no other one of the job."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.labels)

    def senders(self, *matchers: str) -> str:
        """Select what the senders export."""
        return braces((matcher("job", self.job), *self._matchers, *matchers))

    def recorded(self, *matchers: str) -> str:
        """Select what rules record for these senders, and what their controller exports."""
        return braces((*self._matchers, *matchers))

    def __str__(self) -> str:
        labels = ", ".join(f"{name} {value}" for name, value in self.labels)
        return f"the job {self.job}{f' with {labels}' if labels else ''}"

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a target of these labels is one of the senders."""
        return labels.get("job") == self.job and self.covers(labels)

    def covers(self, labels: Mapping[str, str]) -> bool:
        """Whether labels are those of this environment."""
        return all(labels.get(name) == value for name, value in self.labels)

    @property
    def _matchers(self) -> Iterable[str]:
        return (matcher(name, value) for name, value in self.labels)


DEFAULT_SCOPE = Scope()


def matcher(label: str, value: str) -> str:
    return f"{label}={quoted(value)}"


def quoted(text: str) -> str:
    """Quote a text as PromQL does."""
    return json.dumps(text, ensure_ascii=False)


def braces(matchers: Iterable[str]) -> str:
    joined = ",".join(matchers)
    return f"{{{joined}}}" if joined else ""


def parse_selector(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the labels in order; raises ValueError for one that cannot tell environments apart."""
    for name, value in labels.items():
        if not _LABEL.match(name):
            raise ValueError(f"{name!r} is no label's name")
        if name in _TAKEN:
            raise ValueError(f"the label {name} has a meaning of its own; select by a label of the targets")
        if not value or not value.isprintable() or "`" in value:
            raise ValueError(f"the label {name} needs a value, printable and without backticks")
    return tuple(sorted(labels.items()))
