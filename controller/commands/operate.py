"""`rollout pause|resume|set|open|close|enable|disable|approve`: what a person does, with name and reason."""

import getpass
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from controller.commands.common import config_option, feature_argument, feature_named, settings_from
from controller.commands.remote import daemon_at, server_option
from controller.config.command_line import redis_text
from controller.config.settings import ControllerSettings, load_settings, shown
from controller.contract import parse_percent
from controller.decision.model import Kind
from controller.decision.record import snapshot_from
from controller.decision.telling.sentences import audience_text
from controller.features import RolloutFeature
from controller.journal.sinks import FileJournal, Journals
from controller.loop.consequences import consequence
from controller.loop.feature_status import feature_status, status_context
from controller.loop.manual import operate
from controller.shared.config_file import ConfigError
from controller.shared.console import NO, UNREACHABLE, examples, fail, json_option, print_json, say
from controller.shared.environment import Environment
from controller.shared.plain_text import LONGEST_NAME, fit_line, read_line
from controller.shared.redis_pool import open_redis
from controller.store.flag_store import FlagStore, StoreError
from controller.store.lease import ever_led
from controller.store.opening import open_store, redis_timeout_s


class Percent(click.ParamType[float]):
    """A percentage as the flags hold it: 0 to 100, at most three decimals."""

    name = "percent"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert an option's text; the command ends with a usage error where it cannot be read."""
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


_STOPS = frozenset({Kind.PAUSE, Kind.DISABLE, Kind.CLOSE})
"""What also works for a feature that is in no configuration any more: it may still be open."""


def _perform(
    kind: Kind, name: str, config: Path | None, reason: str, percent: float | None, ask: bool
) -> tuple[dict[str, Any], ControllerSettings]:
    settings = _settings_to_pause(config, name) if kind is Kind.PAUSE else settings_from(config)
    asked: dict[str, Any] = {"actor": _actor(), "note": reason, "percent": percent}
    try:
        store = open_store(settings)
        feature = _feature(store, settings, kind, name)
        if kind is Kind.OPEN:
            _tell_of_domains(feature.provider)
        if ask:
            _confirm(kind, _stand(store, settings, feature), percent)
        journal = Journals(*[FileJournal(path) for path in [settings.journal] if path])
        return operate(store, journal, feature, kind, now=time.time(), **asked), settings
    except ValueError as error:
        fail(str(error), NO)
    except StoreError as error:
        fail(f"{error}; {redis_text(settings)}: check redis_url or ROLLOUT_REDIS_URL", UNREACHABLE)


def _feature(store: FlagStore, settings: ControllerSettings, kind: Kind, name: str) -> RolloutFeature:
    """Return the feature; one that only Redis knows may be stopped."""
    if name in settings.features or kind not in _STOPS:
        return feature_named(settings, name)
    [stored] = store.read([name])
    if not any(stored.texts):
        return feature_named(settings, name)
    unknown = RolloutFeature(name=name, provider="unknown", action="unknown")
    return _as_recorded(settings, name).get(name, unknown)


def _stand(store: FlagStore, settings: ControllerSettings, feature: RolloutFeature) -> dict[str, Any]:
    [stored] = store.read([feature.name])
    return feature_status(feature, stored, {}, status_context(settings, time.time()))


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


def _tell(record: Mapping[str, Any], as_json: bool, where: str) -> None:
    flags = record["to"]
    now = audience_text(flags["rollout_percent"], internal_only=flags["internal_only"])
    if as_json:
        print_json(record)
        say(f"rollout: written to {where}", err=True)
        return
    said = f"{record['feature']}: {record['detail']} Now at {now}, revision {record['revision']}."
    say(f"{said} Written to {where}.")


def _told_of_no_controller(kind: Kind, settings: ControllerSettings) -> None:
    """Say that nothing here reads what was written; a pause then probably missed the Redis that counts."""
    with suppress(StoreError):
        if not ever_led(open_redis(settings.redis_url, redis_timeout_s(settings))):
            where = f"this Redis has never seen a controller: {redis_text(settings)}"
            if kind is Kind.PAUSE:
                fail(f"paused, but {where}; senders that use another one go on, so check --config", NO)
            say(f"rollout: {where}", err=True)


def _tell_of_domains(provider: str) -> None:
    """Say what receivers outside will think of this mail; nothing of it keeps the feature from opening."""
    from controller.doctor.domains import look_at_domains  # noqa: PLC0415 - a pause needs no DNS

    for finding in look_at_domains((), [provider]):
        said = f"{finding.subject}: {finding.seen}" + (f"; {finding.do}" if finding.do else "")
        say(f"rollout: {said}", err=True)


def _confirm(kind: Kind, stand: Mapping[str, Any], percent: float | None) -> None:
    """Ask a person at a terminal, after saying what will change."""
    say(consequence(kind, stand, time.time(), percent), err=True)
    click.confirm(f"{kind} {stand['feature']}?", abort=True, err=True)


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
        ask = not yes and sys.stdin.isatty()
        if server:
            with daemon_at(server) as daemon:
                if kind is Kind.OPEN:
                    _tell_of_domains(daemon.feature(feature)["provider"])
                if ask:
                    _confirm(kind, daemon.feature(feature), percent)
                record = daemon.act(kind, feature, reason, percent)
            _tell(record, as_json, shown(server))
            return
        record, settings = _perform(kind, feature, config, reason, percent, ask)
        _tell(record, as_json, redis_text(settings))
        _told_of_no_controller(kind, settings)

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
