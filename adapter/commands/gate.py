"""`rollout gate`: would this user's send go ahead now, and why."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from math import isinf
from typing import Any

import click

from adapter.commands.config import config_option
from adapter.gate.rollout_gate import Explanation, RolloutGate, configured_features
from adapter.gate.rule import BUCKETS, GATE_REASONS
from adapter.settings import Settings
from controller.contract import FLAG_NAMES, Flags, format_flags, format_percent
from controller.features import RolloutFeature, no_feature
from controller.shared.console import (
    DONE,
    NO,
    UNREACHABLE,
    examples,
    fail,
    json_option,
    print_json,
    print_table,
    say,
)


def _complete_feature(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """Return the features that a shell may complete to; none where the configuration cannot be read."""
    try:
        return sorted(name for name in configured_features() if name.startswith(begun))
    except ValueError:
        return []


@click.command(
    epilog=examples(
        "rollout gate microsoft user-17 --recipient ann@corp.example --json",
        "rollout gate microsoft - < ids.txt",
        codes="0 open, 1 closed, 2 usage or configuration, 3 Redis cannot be reached",
    )
)
@click.argument("feature", shell_complete=_complete_feature)
@click.argument("user_id")
@click.option(
    "--recipient", "recipients", multiple=True, help="An address the mail goes to; may be repeated."
)
@config_option
@json_option
def gate(feature: str, user_id: str, recipients: tuple[str, ...], as_json: bool) -> None:
    """Ask the gate as a sender would; nothing is sent.

    Without --recipient the answer is for the user alone, whoever the mail goes to. With - in the place of
    USER_ID the ids come from stdin, one on a line, and the answer is open when it is for all of them.
    """
    many = user_id == "-"
    user_ids = _listed(sys.stdin) if many else [user_id]
    explanations = _explain(feature, user_ids, recipients)
    if as_json:
        told = [_as_json(one, recipients) for one in explanations]
        print_json(told if many else told[0])
    elif many:
        rows = [(one.user_id, "open" if one.open else "closed", one.reason) for one in explanations]
        print_table(("user", "gate", "reason"), rows)
    else:
        say(_in_words(explanations[0], recipients))
    raise SystemExit(DONE if all(one.open for one in explanations) else NO)


def _listed(lines: Iterable[str]) -> list[str]:
    """Return the ids, one on a line; ends the command where there is none or a byte is no UTF-8."""
    try:
        user_ids = [line.rstrip("\r\n") for line in lines if line.strip() and line.encode()]
    except UnicodeError:
        fail("standard input is not UTF-8; write one user id on each line")
    if not user_ids:
        fail("standard input has no user id; write one on each line")
    return user_ids


def _explain(feature: str, user_ids: Sequence[str], recipients: tuple[str, ...]) -> list[Explanation]:
    try:
        features = _features(feature)
        rollout_gate = RolloutGate.connect(Settings.from_environment().redis_url, features)
    except ValueError as error:
        fail(str(error))
    with rollout_gate:
        explanations = [rollout_gate.explain(feature, user_id, recipients) for user_id in user_ids]
        trouble = rollout_gate.trouble
    if any(isinf(one.age_s) for one in explanations):
        fail(f"the flags cannot be read ({trouble}); check Redis and ROLLOUT_REDIS_URL", UNREACHABLE)
    return explanations


def _features(feature: str) -> Mapping[str, RolloutFeature]:
    features = configured_features()
    if feature not in features:
        fail(no_feature(feature, features))
    return {feature: features[feature]}


def _as_json(explanation: Explanation, recipients: tuple[str, ...]) -> dict[str, Any]:
    told = asdict(explanation)
    flags = told.pop("flags")
    return {**told, **flags, "recipients": recipients, "sentence": GATE_REASONS[explanation.reason]}


def _in_words(explanation: Explanation, recipients: tuple[str, ...]) -> str:
    answer = "open" if explanation.open else "closed"
    reached = format_percent((explanation.bucket + 1) * 100 / BUCKETS)
    lines = [
        f"{answer} ({explanation.reason}): {GATE_REASONS[explanation.reason]}",
        f"user    {explanation.user_id}: bucket {explanation.bucket}, in at {reached} % and above",
        f"flags   {_flags_in_words(explanation.flags)}",
    ]
    if recipients:
        outside = ", ".join(explanation.external_recipients) or "none"
        lines.append(f"mail    {len(recipients)} recipients, not internal: {outside}")
    return "\n".join(lines)


def _flags_in_words(flags: Flags) -> str:
    texts = dict(zip(FLAG_NAMES, format_flags(flags), strict=True))
    texts |= dict.fromkeys(flags.missing, "missing")
    texts |= {name: f"{texts[name]} (unreadable)" for name in flags.unreadable}
    return ", ".join(f"{name} {text}" for name, text in texts.items()) + f", revision {flags.revision}"
