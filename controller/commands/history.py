"""`rollout history`: the decisions of one feature, oldest first."""

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from controller.commands.common import config_option, feature_argument, feature_named, settings_from
from controller.commands.remote import daemon_at, server_option
from controller.config.settings import ControllerSettings
from controller.contract import format_percent
from controller.journal.sinks import read_file, rotated_files
from controller.shared.console import UNREACHABLE, examples, fail, json_option, print_json, print_table, say
from controller.store.flag_store import StoreError
from controller.store.opening import open_store

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


class Ago(click.ParamType[float]):
    """A length of time before now, as in 90s, 15m, 6h, 7d, 2w; in seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert an option's text; the command ends with a usage error where it cannot be read."""
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhdw])", str(value))
        if match is None:
            self.fail(f"{value!r} is not a length of time; write it as in 90s, 15m, 6h, 7d", param, ctx)
        return float(match[1]) * _UNITS_S[match[2]]


@click.command(
    epilog=examples("rollout history microsoft --since 6h", "rollout history microsoft --changes --json")
)
@feature_argument()
@click.option("--since", type=Ago(), default="7d", show_default=True, help="How far back.")
@click.option("--changes", is_flag=True, help="Leave out the holds.")
@config_option
@server_option
@json_option
def history(
    feature: str, since: float, changes: bool, config: Path | None, server: str | None, as_json: bool
) -> None:
    """Show the decisions of a feature with their reasons."""
    start = max(time.time() - since, 0.0)
    if server:
        with daemon_at(server) as daemon:
            records = list(daemon.decisions(feature, since=start, changes=changes))[::-1]
    else:
        records = _from_redis(settings_from(config), feature, start)
    records = [record for record in records if not (changes and record["kind"] == "hold")]
    if as_json:
        print_json(records)
        return
    print_table(
        ("at (UTC)", "%", "decision", "reason", "actor", "in words"),
        [
            (
                datetime.fromtimestamp(record["at"], UTC).strftime("%Y-%m-%d %H:%M:%S"),
                format_percent(record["to"]["rollout_percent"]),
                record["kind"],
                record["reason"],
                record["actor"],
                ". ".join(part for part in (record["note"], record["detail"]) if part),
            )
            for record in records
        ],
    )


def _from_redis(settings: ControllerSettings, feature: str, start: float) -> list[dict[str, Any]]:
    feature_named(settings, feature)
    try:
        return list(open_store(settings).history(feature, since_ms=int(start * 1000)))
    except StoreError as error:
        return _from_files(settings, feature, start, error)


def _from_files(
    settings: ControllerSettings, feature: str, since: float, error: StoreError
) -> list[dict[str, Any]]:
    """Read the journal's files where Redis is away, and say so."""
    if settings.journal is None:
        fail(f"{error}; check redis_url or ROLLOUT_REDIS_URL", UNREACHABLE)
    try:
        records = [record for path in rotated_files(settings.journal) for record in read_file(path)]
    except OSError as problem:
        fail(f"{error}, and {settings.journal} cannot be read ({problem.strerror})", UNREACHABLE)
    say(f"rollout: {error}; this is from {settings.journal}", err=True)
    return [record for record in records if record["feature"] == feature and record["at"] >= since]
