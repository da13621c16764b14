"""`rollout notify`: who is notified of what, and a sample of each notice, shown or really sent."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from controller.commands.common import config_option, settings_from
from controller.config.receivers import EVENTS, Receiver
from controller.config.settings import ControllerSettings
from controller.contract import Flags
from controller.decision.byhand import by_hand
from controller.decision.feature import RolloutFeature
from controller.decision.model import Kind, State
from controller.decision.record import manual_record
from controller.features import config_hash
from controller.notify.delivery import DeliveryError, send_once
from controller.notify.messages import Notice, mail, message
from controller.shared.console import NO, USAGE, examples, fail, json_option, print_json, print_table, say


@click.group(epilog=examples("rollout notify list", "rollout notify test ops"))
def notify() -> None:
    """Say who is notified of decisions, and try it."""


@notify.command(name="list", epilog=examples("rollout notify list", "rollout notify list --json"))
@config_option
@json_option
def listed(config: Path | None, as_json: bool) -> None:
    """Show the receivers of the configuration; addresses and secrets are left out."""
    receivers = settings_from(config).notify
    if as_json:
        print_json([{"name": one.name, "kind": one.kind, "on": one.on} for one in receivers])
        return
    if not receivers:
        say("Nobody is notified: there is no [notify.NAME] table. docs/how-to.md has examples.")
        return
    rows = [
        (one.name, one.kind, ", ".join(one.features) or "every feature", ", ".join(one.on))
        for one in receivers
    ]
    print_table(("receiver", "kind", "features", "told of"), rows)


@notify.command(epilog=examples("rollout notify test ops", "rollout notify test ops --event set --print"))
@click.argument("receiver")
@click.option(
    "--event",
    type=click.Choice(EVENTS),
    default="pause",
    metavar="EVENT",
    show_default=True,
    help=f"What to tell of: {', '.join(EVENTS)}.",
)
@click.option("--print", "only_print", is_flag=True, help="Show what would be sent, and send nothing.")
@config_option
def test(receiver: str, event: str, only_print: bool, config: Path | None) -> None:
    """Send a sample notice, marked as a test, once."""
    settings = settings_from(config)
    chosen = _named(settings, receiver)
    notice = _sample(next(iter(settings.features.values())), event)
    if only_print:
        say(_shown(notice, chosen))
        return
    try:
        asyncio.run(send_once(chosen, notice))
    except DeliveryError as error:
        fail(f"{receiver} did not take it: {error}", NO)
    say(f"{receiver} took a test notice of {event} ({notice.id}).")


def _named(settings: ControllerSettings, name: str) -> Receiver:
    for receiver in settings.notify:
        if receiver.name == name:
            return receiver
    known = ", ".join(one.name for one in settings.notify) or "none; add a [notify.NAME] table"
    fail(f"there is no receiver {name!r}; known are {known}", USAGE)


def _sample(feature: RolloutFeature, event: str) -> Notice:
    """Make a notice of a record as a person's pause leaves it."""
    now = time.time()
    flags = Flags(True, True, 5.0, False)
    state = State(flags=flags, held_since=now - 2 * feature.longest_hold_s)
    record: dict[str, Any] = manual_record(
        by_hand(Kind.PAUSE, flags, feature, state, now),
        flags,
        feature,
        state,
        at=now,
        config_hash=config_hash(feature),
        decision_id=f"test-{int(now * 1000)}-00000000",
        actor="rollout notify test",
        note="This is a test; nothing has happened.",
        dry_run=True,
        applied="skipped",
        epoch=0,
        revision=0,
    )
    return Notice(record["id"], event, record)


def _shown(notice: Notice, receiver: Receiver) -> str:
    if receiver.kind == "email":
        subject, text = mail(notice, receiver)
        return f"To: {', '.join(receiver.to)}\nSubject: {subject}\n\n{text}"
    unsigned = message(notice, replace(receiver, secret=""), time.time())
    headers = "\n".join(f"{name}: {value}" for name, value in unsigned.headers.items())
    return f"{headers}\n\n{unsigned.body.decode()}"
