"""What is rendered beside the rules: runbooks, dashboards, an Alertmanager example, and a page about it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template

from controller.decision.feature import RolloutFeature
from controller.rules.artifacts.alertmanager import EXAMPLE_NAME, NoticeTiming, alertmanager_text
from controller.rules.artifacts.dashboards import dashboards
from controller.rules.artifacts.grafana import dashboard_json
from controller.rules.artifacts.runbooks import runbook_texts
from controller.rules.model import RuleFile
from controller.rules.promql_names import vocabulary
from controller.rules.scale import Scale, duration
from controller.rules.scope import DEFAULT_SCOPE, Scope
from controller.rules.yaml_text import RUNBOOKS
from controller.shared.shipped import shipped

PAGE = "docs/MS-RECORDING-RULES-AND-ALERTS.md"
_PAGE_TEXT = Path(__file__).parent / "texts" / "page.md"


def companion_texts(
    features: Sequence[RolloutFeature], files: Sequence[RuleFile], scale: Scale, scope: Scope = DEFAULT_SCOPE
) -> dict[str, str]:
    """Return every companion's text by its path below the project's folder."""
    ordered = sorted(features, key=lambda feature: feature.name)
    boards = dashboards(ordered, scope)
    return {
        **{f"runbooks/{path.name}": path.read_text(encoding="utf-8") for path in _own_runbooks(files)},
        **{f"runbooks/{name}": text for name, text in runbook_texts(ordered).items()},
        **{f"docs/dashboards/{name}": dashboard_json(one) for name, one in boards.items()},
        f"docs/{EXAMPLE_NAME}": alertmanager_text(NoticeTiming()),
        PAGE: page_text(files, scale),
    }


def _own_runbooks(files: Sequence[RuleFile]) -> Iterator[Path]:
    """Yield those that come with the program: of the controller's own alerts, and the page that lists all."""
    folder = shipped(RUNBOOKS)
    named = {alert.runbook for file in files for alert in file.alerts} | {"README.md"}
    yield from (folder / name for name in sorted(named) if (folder / name).is_file())


def page_text(files: Sequence[RuleFile], scale: Scale) -> str:
    words = {
        "series": "\n".join(_series_table(files)),
        "alerts": "\n".join(_alert_table(files)),
        "series_count": str(sum(len(file.recordings) for file in files)),
        "alert_count": str(sum(len(file.alerts) for file in files)),
        "window": duration(scale.window_s),
        "scrape": duration(scale.scrape_s),
        "timeout": duration(scale.delay_s),
    }
    return Template(_PAGE_TEXT.read_text(encoding="utf-8")).substitute(words)


def _series_table(files: Sequence[RuleFile]) -> Iterator[str]:
    readers = readers_of(files)
    for file in files:
        if file.recordings:
            yield f"\n### `rules/{file.name}`\n"
            yield "| series | what it is | who reads it |\n|---|---|---|"
        for rule in file.recordings:
            who = rule.reader or ", ".join(readers.get(rule.name, ())) or "people, ad hoc"
            why = f'{{why="{rule.labels["why"]}"}}' if "why" in rule.labels else ""
            yield f"| `{rule.name}{why}` | {rule.about} | {who} |"


def readers_of(files: Sequence[RuleFile]) -> dict[str, tuple[str, ...]]:
    """Say which kinds of readers name each series in the rules themselves; dashboards show them all."""
    found: dict[str, dict[str, None]] = {}
    for file in files:
        for rule in file.rules:
            kind = "alerts" if file.alerts else "other series"
            for metric in vocabulary(rule.expr).metrics:
                found.setdefault(metric, {})[kind] = None
    recorded = {rule.name for file in files for rule in file.recordings}
    return {name: (*found.get(name, ()), "dashboards and runbooks") for name in recorded}


def _alert_table(files: Sequence[RuleFile]) -> Iterator[str]:
    for file in files:
        if file.alerts:
            yield f"\n### `rules/{file.name}`\n"
            yield "| alert | severity | for | what it means | runbook |\n|---|---|---|---|---|"
        for rule in file.alerts:
            link = f"[{rule.runbook}](../runbooks/{rule.runbook})"
            after = duration(rule.for_s) if rule.for_s else "at once"
            yield f"| `{rule.name}` | {rule.labels['severity']} | {after} | {rule.about} | {link} |"
