"""`rollout validate-alerts`: proves that every rule says what it must, and that every alert fires."""

import time
from collections.abc import Callable
from pathlib import Path

import click

from controller.alertcheck.completion import write_completion
from controller.alertcheck.installed import NotThereError, look_at
from controller.alertcheck.live.run import run_live
from controller.alertcheck.offline import as_rendered, run_all
from controller.alertcheck.promtool import ranges_are_closed
from controller.alertcheck.result import Result, failures, write_junit
from controller.alertcheck.setting import Setting
from controller.commands.common import config_option, http_url
from controller.commands.scale import find_folder, scale_options, settings_and_scale
from controller.config.settings import ControllerSettings
from controller.rules.check import promtool_path
from controller.rules.rule_files import rule_files
from controller.rules.scale import Scale
from controller.sandbox.alerting import BACKENDS
from controller.sandbox.processes import StartError
from controller.sandbox.servers import MissingServerError
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


@click.command(
    "validate-alerts",
    epilog=examples(
        "rollout validate-alerts",
        "rollout validate-alerts --live",
        "rollout validate-alerts --prometheus http://127.0.0.1:9090 --json",
    ),
)
@click.option(
    "--rules",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the rules on trial.  [default: rules]",
)
@click.option(
    "--live", is_flag=True, help="Start Prometheus and Alertmanager, and watch each alert come and go."
)
@click.option(
    "--backend",
    type=click.Choice(sorted(BACKENDS)),
    default="prometheus",
    show_default=True,
    help="What --live starts: Prometheus, or VictoriaMetrics with vmalert.",
)
@click.option(
    "--prometheus",
    "url",
    callback=http_url,
    help="Only look at the Prometheus at this URL: is all of it there?",
)
@click.option(
    "--evidence",
    type=click.Path(file_okay=False, path_type=Path),
    help="With --live: write the page of completion evidence and its pictures into this folder.",
)
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write JUnit XML to this file."
)
@scale_options
@config_option
@json_option
def validate_alerts(
    folder: Path | None,
    live: bool,
    backend: str,
    url: str | None,
    evidence: Path | None,
    junit: Path | None,
    window_s: float | None,
    interval_s: float | None,
    scrape_s: float | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Prove that the rules do what they say.

    Without options: offline, in simulated time, every recorded series and every alert against what it
    must be; each alert with a fault that fires it, one just below, its end, and no traffic.
    """
    if live and url:
        fail("--live starts servers of its own and --prometheus looks at yours; give one of them")
    if evidence and not live:
        fail("--evidence shows what --live saw; give --live as well")
    settings, scale = settings_and_scale(config, window_s, interval_s, scrape_s)
    started = time.monotonic()
    if url:
        results = _installed(settings, scale, url)
    elif live:
        results = _live(settings, backend, evidence)
    else:
        results = _offline(settings, scale, folder or find_folder())
    _report(results, time.monotonic() - started, junit, as_json)


def _offline(settings: ControllerSettings, scale: Scale, folder: Path) -> list[Result]:
    promtool = promtool_path()
    if promtool is None:
        fail("promtool is not on PATH; install prometheus (apt-get install prometheus)", UNREACHABLE)
    if not folder.is_dir():
        fail(f"{folder} is no folder; give the folder of the rules with --rules")
    features = sorted(settings.features.values(), key=lambda feature: feature.name)
    files, closed = rule_files(features, scale, settings.scope), ranges_are_closed(promtool)
    setting = Setting(folder, files, features, scale, promtool, closed, settings.scope)
    return [*as_rendered(folder, files), *run_all(setting, _progress)]


def _installed(settings: ControllerSettings, scale: Scale, url: str) -> list[Result]:

    try:
        return look_at(
            url,
            settings.rules_url,
            settings.access_to_prometheus,
            list(settings.features.values()),
            scale,
            settings.scope,
        )
    except NotThereError as error:
        fail(str(error), UNREACHABLE)


def _live(settings: ControllerSettings, backend: str, evidence: Path | None) -> list[Result]:
    features = list(settings.features.values())
    drawn = settings.features.get("microsoft", features[0]) if evidence else None
    started = time.monotonic()
    try:
        results, drawings = run_live(features, _progress, backend, drawn)
        if evidence:
            files, seconds = rule_files(features, Scale()), time.monotonic() - started
            write_completion(evidence, drawings, results, files, backend=backend, seconds=seconds)
    except (MissingServerError, StartError) as error:
        fail(str(error), UNREACHABLE)
    except OSError as error:
        fail(f"{error.filename} cannot be written ({error.strerror}); give another folder with --evidence")
    return results


def _progress(what: str) -> None:
    say(f"{what} ...", err=True)


def _report(results: list[Result], seconds: float, junit: Path | None, as_json: bool) -> None:
    wrong = failures(results)
    if junit is not None:
        write_junit(junit, results, "rollout validate-alerts", seconds)
    if as_json:
        print_json(
            {
                "passed": len(results) - len(wrong),
                "failed": len(wrong),
                "seconds": round(seconds, 1),
                "results": [result.as_dict() for result in results],
            }
        )
    else:
        print_table(("rule", "cases", "result"), _summary(results))
        for result in wrong:
            say(f"FAILED  {result.rule}: {result.case}: {result.detail}")
    if wrong:
        fail(f"{len(wrong)} of {len(results)} checks failed, the first: {wrong[0].rule}: {wrong[0].case}", NO)
    if not as_json:
        say(f"{len(results)} checks passed in {seconds:.1f} s")


def _summary(results: list[Result]) -> list[tuple[str, int, str]]:
    rules = dict.fromkeys(result.rule for result in results)

    def of(rule: str, wanted: Callable[[Result], bool] = lambda _: True) -> int:
        return sum(result.rule == rule and wanted(result) for result in results)

    return [
        (rule, of(rule), "FAILED" if of(rule, lambda result: not result.passed) else "passed")
        for rule in rules
    ]
