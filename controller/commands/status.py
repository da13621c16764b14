"""`rollout status`: where each feature stands, from the flags and its last decision, and who leads."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from controller.commands.common import config_option, settings_from
from controller.commands.remote import daemon_at, server_option
from controller.config.settings import ControllerSettings
from controller.contract import format_percent
from controller.loop.feature_status import feature_status, status_context
from controller.shared.console import (
    UNREACHABLE,
    examples,
    fail,
    json_option,
    json_text,
    say,
    say_over,
    table_lines,
    terminal_width,
)
from controller.shared.redis_pool import open_redis
from controller.store.flag_store import FlagStore, StoreError, newest_record
from controller.store.lease import leader
from controller.store.opening import open_store, redis_timeout_s

Overview = dict[str, Any]
"""As GET /api/v1/features tells it."""

_WATCH_S = 2.0


@click.command(
    epilog=examples(
        "rollout status", "rollout status --watch", "rollout status --server http://127.0.0.1:8003 --json"
    )
)
@config_option
@server_option
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@json_option
def status(config: Path | None, server: str | None, watch: bool, as_json: bool) -> None:
    """Show each feature's flags and what was decided last, with the reason, and which controller leads."""
    if server:
        with daemon_at(server) as daemon:
            _show(daemon.overview, watch=watch, as_json=as_json)
        return
    settings = settings_from(config)
    store, client = open_store(settings), open_redis(settings.redis_url, redis_timeout_s(settings))
    try:
        _show(
            lambda: {"features": _standings(store, settings), "leader": leader(client)},
            watch=watch,
            as_json=as_json,
        )
    except StoreError as error:
        fail(f"{error}; check redis_url or ROLLOUT_REDIS_URL", UNREACHABLE)


def _standings(store: FlagStore, settings: ControllerSettings) -> list[dict[str, Any]]:
    about = status_context(settings, time.time())
    return [
        feature_status(
            settings.features[stored.feature],
            stored,
            newest_record(store, stored.feature),
            about,
        )
        for stored in store.read(list(settings.features))
    ]


def _show(ask: Callable[[], Overview], *, watch: bool, as_json: bool) -> None:
    on_terminal = watch and sys.stdout.isatty()
    if on_terminal:
        click.clear()
    _print(ask(), as_json, over=on_terminal)
    while watch and _waited():
        _print(ask(), as_json, over=on_terminal)


def _waited() -> bool:
    """Wait for the next look; Ctrl-C is how watching ends, and no failure."""
    try:
        time.sleep(_WATCH_S)
    except KeyboardInterrupt:
        return False
    return True


def _print(overview: Overview, as_json: bool, *, over: bool) -> None:
    text = json_text(overview) if as_json else "\n".join(_lines(overview))
    (say_over if over else say)(text)


def _lines(overview: Overview) -> list[str]:
    headers = ("feature", "%", "on", "paused", "internal", "decided", "in words")
    rows = [
        (
            stand["feature"],
            format_percent(stand["rollout_percent"]),
            _yes(stand["enabled"]),
            _yes(stand["paused"]),
            _yes(stand["internal_only"]),
            f"{stand['kind']} {stand['reason']}".strip() or "-",
            stand["detail"],
        )
        for stand in overview["features"]
    ]
    leads = f"Led by {overview['leader']}." if overview["leader"] else "No controller leads."
    return [*table_lines(headers, rows, terminal_width()), "", leads]


def _yes(value: bool) -> str:
    return "yes" if value else "no"
