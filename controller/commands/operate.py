"""`rollout pause|resume|set|open|close|enable|disable|approve`: what a person does, with name and reason."""

import getpass
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from controller.commands.common import config_option, feature_argument, feature_named, settings_from
from controller.commands.remote import daemon_at, server_option
from controller.config.settings import ControllerSettings, load_settings
from controller.contract import format_percent, parse_percent
from controller.decision.model import Kind
from controller.decision.record import snapshot_from
from controller.features import RolloutFeature
from controller.journal.sinks import FileJournal, Journals
from controller.loop.manual import operate
from controller.shared.config_file import ConfigError
from controller.shared.console import NO, UNREACHABLE, examples, fail, json_option, print_json, say
from controller.shared.environment import Environment
from controller.shared.plain_text import LONGEST_NAME, fit_line, read_line
from controller.store.flag_store import StoreError
from controller.store.opening import open_store


class Percent(click.ParamType[float]):
    """A percentage as the flags hold it: 0 to 100, at most three decimals."""

    name = "percent"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        percent = parse_percent(str(value).removesuffix("%"))
        if percent is None:
            self.fail(f"{value!r} is not 0 to 100 with at most three decimals", param, ctx)
        return percent


_yes_option = click.option("--yes", is_flag=True, help="Do not ask back at a terminal.")


def _told(_: click.Context, __: click.Parameter, reason: str) -> str:
    try:
        return read_line(reason)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


_reason_option = click.option(
    "--reason", required=True, callback=_told, help="Why; it stands in the history."
)


def _perform(
    kind: Kind, name: str, config: Path | None, reason: str, percent: float | None
) -> dict[str, Any]:
    settings = _settings_to_pause(config, name) if kind is Kind.PAUSE else settings_from(config)
    feature = feature_named(settings, name)
    journal = Journals(*[FileJournal(path) for path in [settings.journal] if path])
    try:
        return operate(
            open_store(settings),
            journal,
            feature,
            kind,
            actor=_actor(),
            note=reason,
            now=time.time(),
            percent=percent,
        )
    except ValueError as error:
        fail(str(error), NO)
    except StoreError as error:
        fail(f"{error}; check redis_url or ROLLOUT_REDIS_URL", UNREACHABLE)


def _settings_to_pause(config: Path | None, name: str) -> ControllerSettings:
    """Load the settings; a mistake in them does not keep a pause from the Redis that is named beside them."""
    try:
        return load_settings(config)
    except ConfigError as mistake:
        redis_url = Environment().secret("ROLLOUT_REDIS_URL")
        if not redis_url:
            fail(f"{mistake}; to pause all the same, set ROLLOUT_REDIS_URL")
        try:
            settings = load_settings(environ={"ROLLOUT_REDIS_URL": redis_url})
        except ConfigError as error:
            fail(str(error))
        say(f"rollout: {mistake}; pausing at ROLLOUT_REDIS_URL all the same", err=True)
        return replace(settings, features={**settings.features, **_as_recorded(settings, name)})


def _as_recorded(settings: ControllerSettings, name: str) -> dict[str, RolloutFeature]:
    """Return a feature as its newest record has it; nothing where none can be read."""
    try:
        *_, newest = open_store(settings).history(name, newest=10)
        return {name: snapshot_from(newest).feature}
    except (StoreError, KeyError, TypeError, ValueError):
        return {}


def _tell(record: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(record)
        return
    percent_now = format_percent(record["to"]["rollout_percent"])
    say(f"{record['feature']}: {record['detail']} Now at {percent_now} %, revision {record['revision']}.")


def _confirm(kind: Kind, name: str, percent: float | None) -> None:
    """Ask a person at a terminal; a script, and a pause, are never held up."""
    if kind is Kind.PAUSE or not sys.stdin.isatty():
        return
    to = "" if percent is None else f" to {format_percent(percent)} %"
    click.confirm(f"{kind} {name}{to}?", abort=True, err=True)


def _actor() -> str:
    """Name the person: ROLLOUT_ACTOR, who called sudo, or the user, who need not be known by a name."""
    try:
        name = os.environ.get("ROLLOUT_ACTOR") or os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        name = ""
    return fit_line(name, LONGEST_NAME) or f"uid {os.getuid()}"


def _command(kind: Kind, help_text: str, *, with_percent: bool = False) -> click.Command:
    def call(
        feature: str,
        config: Path | None,
        server: str | None,
        reason: str,
        as_json: bool,
        yes: bool = True,
        percent: float | None = None,
    ) -> None:
        if not yes:
            _confirm(kind, feature, percent)
        if server:
            with daemon_at(server) as daemon:
                record = daemon.act(kind, feature, reason, percent)
        else:
            record = _perform(kind, feature, config, reason, percent)
        _tell(record, as_json)

    command: Callable[..., Any] = json_option(_reason_option(server_option(config_option(call))))
    if kind is not Kind.PAUSE:
        command = _yes_option(command)
    example = f"rollout {kind} microsoft {'10 ' if with_percent else ''}--reason 'release 42'"
    if with_percent:
        command = click.argument("percent", type=Percent())(command)
    command = feature_argument()(command)
    return click.command(kind.value, help=help_text, epilog=examples(example))(command)


pause = _command(Kind.PAUSE, "Stop a feature's sends at once. Needs nothing but Redis, and never asks back.")
resume = _command(Kind.RESUME, "Let a paused feature go on; its step is proven again from zero.")
open_ = _command(Kind.OPEN, "Let other mail in too: ends internal-only.")
close = _command(Kind.CLOSE, "Let internal mail in only; everybody else is out at once.")
enable = _command(Kind.ENABLE, "Switch a feature on; the controller begins to step it up.")
disable = _command(Kind.DISABLE, "Switch a feature off for everybody.")
approve = _command(Kind.APPROVE, "Approve the next step that waits for a person.")
set_percent = _command(Kind.SET, "Set the percentage by hand.", with_percent=True)
