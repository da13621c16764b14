"""`rollout decide`: ask, print, write nothing."""

from dataclasses import replace
from pathlib import Path

import click

from controller.commands.common import config_option, feature_argument, features_named, settings_from
from controller.contract import format_percent
from controller.daemon.wiring import open_controller
from controller.journal.sinks import Journals, set_up_logging
from controller.shared.console import UNREACHABLE, examples, fail, json_option, print_json, print_table


@click.command(epilog=examples("rollout decide", "rollout decide microsoft --json"))
@feature_argument(required=False)
@config_option
@json_option
def decide(feature: str | None, config: Path | None, as_json: bool) -> None:
    """Say what would be decided now, and why; nothing is written."""
    settings = settings_from(config)
    chosen = features_named(settings, feature)
    set_up_logging()
    report = open_controller(replace(settings, features=chosen), dry_run=True, journal=Journals()).tick()
    if report.error:
        fail(f"{report.error}; check redis_url or ROLLOUT_REDIS_URL", UNREACHABLE)
    decided = [record for record in report.records if record["kind"] != "external_change"]
    if as_json:
        print_json(decided[0] if feature else decided)
    else:
        print_table(
            ("feature", "now %", "decision", "reason", "in words"),
            [
                (
                    r["feature"],
                    format_percent(r["from"]["rollout_percent"]),
                    r["kind"],
                    r["reason"],
                    r["detail"],
                )
                for r in decided
            ],
        )
