"""`rollout status`: where each feature stands, from the flags and its last decision, and who leads."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from controller.commands.common import config_option, settings_from
from controller.commands.remote import daemon_at, server_option
from controller.config.settings import ControllerSettings
from controller.contract import format_percent
from controller.decision.telling.headline import WORST_FIRST, Stage
from controller.loop.consequences import instant_text, since_text
from controller.loop.feature_status import feature_status, status_context, unwatched_status
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
from controller.store.live_sight import LiveSight, read_sights
from controller.store.opening import open_store, redis_timeout_s
from controller.store.oversight import Oversight
from controller.whatif.remaining import NO_ESTIMATE, with_estimate

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
    """Say of each feature who is in, whether anybody is hurt, what stopped it, and what to do next."""
    if server:
        with daemon_at(server) as daemon:
            _show(daemon.overview, watch=watch, as_json=as_json)
        return
    settings = settings_from(config)
    store, client = open_store(settings), open_redis(settings.redis_url, redis_timeout_s(settings))
    oversight = Oversight(client)
    try:
        _show(
            lambda: {
                "features": _standings(store, settings, read_sights(client)),
                "unwatched": _unwatched(store, oversight, settings),
                "leader": leader(client),
            },
            watch=watch,
            as_json=as_json,
        )
    except StoreError as error:
        fail(f"{error}; check redis_url or ROLLOUT_REDIS_URL", UNREACHABLE)


def _standings(
    store: FlagStore, settings: ControllerSettings, live: Mapping[str, LiveSight]
) -> list[dict[str, Any]]:
    about = status_context(settings, time.time(), live)
    features = settings.features
    stands = [
        feature_status(features[stored.feature], stored, newest_record(store, stored.feature), about)
        for stored in store.read(list(features))
    ]
    return [with_estimate(stand, features[stand["feature"]], settings.window_s) for stand in stands]


def _unwatched(store: FlagStore, oversight: Oversight, settings: ControllerSettings) -> list[dict[str, Any]]:
    """Return the features that are enabled and that nobody watches; none where SCAN is not allowed."""
    about = status_context(settings, time.time())
    try:
        names = oversight.unwatched(settings.features)
    except StoreError:
        return []
    return [unwatched_status(stored, about) | {"estimate": NO_ESTIMATE} for stored in store.read(names)]


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
    text = json_text(overview) if as_json else "\n".join(_lines(overview, time.time()))
    (say_over if over else say)(text)


def _lines(overview: Overview, now: float) -> list[str]:
    """Return the overview, worst first, and below it what a person on call asks about what needs one."""
    every = [*overview["features"], *overview.get("unwatched", ())]
    stands = sorted(every, key=lambda stand: WORST_FIRST.index(Stage(stand["stage"])))
    headers = ("feature", "%", "where", "anybody hurt now", "reaction", "decided", "in words")
    rows = [
        (
            stand["feature"],
            format_percent(stand["rollout_percent"]),
            f"{stand['headline']}{_estimated(stand)}",
            stand["harm"]["text"],
            _reaction(stand),
            f"{stand['kind']} {stand['reason']}".strip() or "-",
            stand["detail"],
        )
        for stand in stands
    ]
    needy = [line for stand in stands if _needs_a_person(stand) for line in _answers(stand, now)]
    leads = f"Led by {overview['leader']}." if overview["leader"] else "No controller leads."
    return [*table_lines(headers, rows, terminal_width()), *needy, "", leads]


def _reaction(stand: Mapping[str, Any]) -> str:
    """Say how fast harm is answered; a daemon of an earlier version does not tell."""
    return str(stand.get("live", {}).get("text", "by windows only"))


def _estimated(stand: Mapping[str, Any]) -> str:
    text = stand["estimate"]["text"]
    return f"; {text}" if text else ""


_AT_REST = {Stage.RAMPING, Stage.COMPLETE, Stage.DISABLED, Stage.NOT_SET_UP}


def _needs_a_person(stand: Mapping[str, Any]) -> bool:
    return stand["stage"] not in _AT_REST or bool(stand["harm"]["now"])


def _answers(stand: Mapping[str, Any], now: float) -> list[str]:
    """Answer: is anybody hurt now, what stopped it, who, since when, and what to do next."""
    cause = stand["paused_by"] or stand["stopped_by"]
    stopped = [f"  since: {instant_text(cause['at'])}, by {since_text(cause, now)}"] if cause else []
    if stand["paused"] and not cause:
        stopped = ["  since: not recorded; the history may say it"]
    steps = [
        line
        for step in stand["next_steps"]
        for line in (f"  next: {step['text']}", *([f"        {step['command']}"] if step["command"] else []))
    ]
    links = [f"  {name}: {url}" for name, url in stand["links"].items() if url]
    return ["", f"{stand['feature']}: {stand['headline']}", *_hurt(stand), *stopped, *steps, *links]


def _hurt(stand: Mapping[str, Any]) -> list[str]:
    return [f"  anybody hurt now: {stand['harm']['text']}"]
