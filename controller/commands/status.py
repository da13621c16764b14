"""`rollout status`: where each feature stands, from the flags and its last decision."""

import time
from pathlib import Path
from typing import Any

import click

from controller.assembly import open_store
from controller.commands.common import config_option, settings_from
from controller.console import UNREACHABLE, fail, json_option, print_json, print_table
from controller.contract import format_percent
from controller.flagstore import FlagStore, Stored, StoreError
from controller.settings import Settings


@click.command(epilog="Examples:  rollout status   |   rollout status --watch   |   rollout status --json")
@config_option
@click.option("--watch", is_flag=True, help="Show it again at every tick, until Ctrl-C.")
@json_option
def status(config: Path | None, watch: bool, as_json: bool) -> None:
    """Show each feature's flags and what was decided last, with the reason."""
    settings = settings_from(config)
    store = open_store(settings)
    try:
        _show(store, settings, as_json)
        while watch:
            time.sleep(min(settings.interval_s, 5))
            click.clear()
            _show(store, settings, as_json)
    except StoreError as error:
        fail(f"{error}; check redis_url or ROLLOUT_REDIS_URL", UNREACHABLE)


def _show(store: FlagStore, settings: Settings, as_json: bool) -> None:
    rows = [_row(store, stored) for stored in store.read(list(settings.features))]
    if as_json:
        print_json({"features": rows})
        return
    print_table(
        ("feature", "%", "enabled", "paused", "internal", "last decision", "in words"),
        [
            (
                row["feature"],
                format_percent(row["rollout_percent"]),
                _yes(row["enabled"]),
                _yes(row["paused"]),
                _yes(row["internal_only"]),
                f"{row['kind']} {row['reason']}",
                row["detail"],
            )
            for row in rows
        ],
    )


def _row(store: FlagStore, stored: Stored) -> dict[str, Any]:
    last: dict[str, Any] = next(iter(store.history(stored.feature, newest=1)), {})
    flags = stored.flags
    return {
        "feature": stored.feature,
        "enabled": flags.enabled,
        "internal_only": flags.internal_only,
        "rollout_percent": flags.rollout_percent,
        "paused": flags.paused,
        "revision": flags.revision,
        "unreadable": list(flags.unreadable),
        "missing": list(flags.missing),
        "kind": last.get("kind", ""),
        "reason": last.get("reason", ""),
        "detail": last.get("detail", "no decision yet"),
        "at": last.get("at"),
        "id": last.get("id"),
    }


def _yes(value: bool) -> str:
    return "yes" if value else "no"
