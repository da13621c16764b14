"""`rollout rules`: renders the Prometheus rules from the features, and checks committed ones."""

from pathlib import Path

import click

from controller.commands.common import config_option
from controller.commands.scale import DEFAULT_FOLDER, find_folder, scale_options, settings_and_scale
from controller.config.settings import ControllerSettings
from controller.rules.artifacts.dashboards import dashboards
from controller.rules.artifacts.files import companion_texts
from controller.rules.check import check_companions, check_folder, promtool_path
from controller.rules.differences import Problem
from controller.rules.model import RuleFile
from controller.rules.rule_files import rule_files, with_runbook_base
from controller.rules.scale import Scale
from controller.rules.yaml_text import RUNBOOKS, yaml_text
from controller.shared.console import (
    NO,
    UNREACHABLE,
    examples,
    fail,
    json_option,
    print_json,
    print_table,
    say,
)


@click.group(epilog=examples("rollout rules render --out rules", "rollout rules check"))
def rules() -> None:
    """Render and check the Prometheus rules."""


@rules.command(
    epilog=examples(
        "rollout rules render --out /etc/rollout-controller/rules",
        "rollout rules render --out rules --window-s 2 --scrape-s 1",
    )
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to write to.")
@scale_options
@config_option
@json_option
def render(
    out: Path | None,
    window_s: float | None,
    interval_s: float | None,
    scrape_s: float | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Write the rule files; the names in them are the same at any scale.

    Without --out, into the project that this is called in: rules/, and beside it the runbooks, the
    dashboards and the pages that are made from the same table.
    """
    settings, scale = settings_and_scale(config, window_s, interval_s, scrape_s)
    files = rendered_rules(settings, scale)
    folder = out or DEFAULT_FOLDER
    texts = {folder / file.name: yaml_text(file) for file in files}
    if out is None:
        companions = companion_texts(list(settings.features.values()), files, scale, settings.scope)
        texts |= {folder.parent / name: text for name, text in companions.items()}
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{error.filename} cannot be written ({error.strerror}); give another folder with --out")
    rows = [
        {"file": str(folder / f.name), "recordings": len(f.recordings), "alerts": len(f.alerts)}
        for f in files
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(("file", "recorded series", "alerts"), (tuple(row.values()) for row in rows))


@rules.command(
    epilog=examples("rollout rules check", "rollout rules check --rules /etc/rollout-controller/rules --json")
)
@click.option(
    "--rules",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the rules.  [default: rules]",
)
@scale_options
@config_option
@json_option
def check(
    folder: Path | None,
    window_s: float | None,
    interval_s: float | None,
    scrape_s: float | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Check that a folder of rules is what would be rendered, and that what is rendered is sound."""
    folder = folder or find_folder()
    if not folder.is_dir():
        fail(f"{folder} is no folder; give the folder of the rules with --rules")
    settings, scale = settings_and_scale(config, window_s, interval_s, scrape_s)
    files = rendered_rules(settings, scale)
    features = list(settings.features.values())
    problems = check_folder(folder, files, features)
    if (folder.resolve().parent / RUNBOOKS).is_dir():
        queries = [query for one in dashboards(features, settings.scope).values() for query in one.queries()]
        texts = companion_texts(features, files, scale, settings.scope)
        problems += check_companions(folder.resolve().parent, texts, files, queries)
    if as_json:
        print_json({"files": [f.name for f in files], "problems": [p.as_dict() for p in problems]})
    else:
        _print(files, problems)
    if problems:
        fail(f"{len(problems)} problem(s) in {folder}; see above", NO)
    if promtool_path() is None:
        fail("promtool is not on PATH, so the syntax was not checked; install prometheus", UNREACHABLE)


def _print(files: tuple[RuleFile, ...], problems: tuple[Problem, ...]) -> None:
    if problems:
        print_table(("file", "rule", "problem"), ((p.file, p.rule, p.text) for p in problems))
    else:
        series = sum(len(file.recordings) for file in files)
        alerts = sum(len(file.alerts) for file in files)
        say(f"{len(files)} files, {series} recorded series, {alerts} alerts: all sound")


def rendered_rules(settings: ControllerSettings, scale: Scale) -> tuple[RuleFile, ...]:
    """Return the rule files of the configured features; ends the command where they cannot be rendered."""
    try:
        files = rule_files(settings.features.values(), scale, settings.scope)
    except ValueError as error:
        fail(str(error))
    return with_runbook_base(files, settings.runbook_base_url)
