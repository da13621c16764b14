"""Rule files as YAML text: the same rules always give the same bytes."""

import json
from collections.abc import Iterable, Iterator, Mapping

from controller.rules.model import Alert, Group, Recording, RuleFile
from controller.rules.scale import duration

RUNBOOKS = "runbooks"


def yaml_text(file: RuleFile, made_by: str = "rollout rules render") -> str:
    """Return a rule file as YAML, with its comments."""
    header = [f"# {line}".rstrip() for line in file.about.splitlines()]
    lines = [*header, f"# Rendered by `{made_by}`; edit the template, not this file.", "groups:"]
    for group in file.groups:
        lines += _group(group)
    return "\n".join(lines) + "\n"


def prometheus_rule(texts: Iterable[str]) -> str:
    """Return the groups of these rule files as one PrometheusRule, as Prometheus's operator reads it."""
    head = (
        "# Rendered by `rollout files`; edit the configuration, not this file.\n"
        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\n"
        "metadata:\n  name: rollout\nspec:\n  groups:\n"
    )
    groups = (text.partition("\ngroups:\n")[2] for text in texts)
    return head + "".join(f"  {line}\n" for group in groups for line in group.splitlines())


def _group(group: Group) -> Iterator[str]:
    yield f"  - name: {group.name}"
    yield f"    interval: {duration(group.interval_s)}"
    yield "    rules:"
    for rule in group.rules:
        yield from _recording(rule) if isinstance(rule, Recording) else _alert(rule)


def _recording(rule: Recording) -> Iterator[str]:
    yield f"      # {rule.about}"
    yield f"      - record: {rule.name}"
    yield from _expr(rule.expr)
    if rule.labels:
        yield from _mapping("labels", rule.labels)


def _alert(rule: Alert) -> Iterator[str]:
    yield f"      - alert: {rule.name}"
    yield from _expr(rule.expr)
    if rule.for_s:
        yield f"        for: {duration(rule.for_s)}"
    yield from _mapping("labels", rule.labels)
    yield from _mapping("annotations", annotations(rule))


def annotations(rule: Alert) -> dict[str, str]:
    """Return an alert's annotations."""
    return {
        "summary": rule.summary,
        "description": rule.description,
        "runbook_url": "/".join(one for one in (rule.runbook_base, RUNBOOKS, rule.runbook) if one),
    }


def _expr(expr: str) -> Iterator[str]:
    if "\n" not in expr and ": " not in expr and "#" not in expr:
        yield f"        expr: {expr}"
        return
    yield "        expr: |-"
    for line in expr.splitlines():
        yield f"          {line}"


def _mapping(key: str, values: Mapping[str, str]) -> Iterator[str]:
    yield f"        {key}:"
    for name, value in values.items():
        plain = value.replace(".", "").replace("_", "").isalnum()
        yield f"          {name}: {value if plain else json.dumps(value, ensure_ascii=False)}"
