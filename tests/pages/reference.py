"""Writes docs/reference.md: commands, settings, reasons, metrics and routes as the code has them.

Usage: PYTHONPATH=tests python -m pages.reference   (a test compares the page with what this gives)
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
from msgspec import UNSET
from prometheus_client import CollectorRegistry

from adapter import settings as adapter_settings
from adapter.errors import FAILURES, REFUSALS
from adapter.gate.rule import GATE_REASONS
from adapter.sending.metrics import SendMetrics as AdapterMetrics
from adapter.signin import settings as signin_settings
from adapter.signin.google import settings as google_settings
from adapter.signin.metrics import SignInMetrics
from adapter.signin.microsoft import settings as microsoft_settings
from adapter.signin.providers import IDENTITIES
from adapter.web.service import routes as actions
from adapter.web.signin_routes import all_routes as signin
from controller.cli import COMMANDS, LazyGroup, rollout
from controller.config import receivers
from controller.config import settings as controller_settings
from controller.config.settings import SECRETS, ControllerSettings
from controller.contract import METRIC_LABELS
from controller.daemon.metrics import DaemonMetrics
from controller.decision import feature
from controller.decision.model import Kind
from controller.decision.telling.reasons import REASONS
from controller.features import ROLLOUT_FEATURES
from controller.loop.tick import Report
from controller.shared.api_tokens import Tokens
from controller.shared.openapi import Operation, operations_of
from controller.shared.redis_pool import open_redis
from controller.store.redis_store import RedisFlagStore
from controller.web.context import ServerContext
from controller.web.server import build_app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference.md"

_HEAD = """\
# Reference

Written from the code by `tests/pages/reference.py`; a test compares the two.

[Commands](#commands) · [Settings](#settings) · [Features](#features) · [Receivers](#receivers) ·
[Reasons](#reasons) · [Gate](#gate) · [Routes](#routes) · [Metrics](#metrics) · [Errors](#errors)
"""


def page() -> str:
    parts = [_HEAD, *_commands(), *_settings(), *_features(), *_receivers(), *_reasons(), *_gate()]
    return "\n".join([*parts, *_routes(), *_metrics(), *_errors()]).rstrip() + "\n"


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [headers, ["---"] * len(headers), *rows]
    return [*(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines), ""]


def _meanings(module: Any, name: str) -> dict[str, str]:
    """Read the docstrings below the fields of a class."""
    tree = ast.parse(inspect.getsource(module))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name).body
    found = {}
    for node, after in pairwise(body):
        text = getattr(getattr(after, "value", None), "value", None)
        if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(text, str):
            found[ast.unparse(node.target)] = " ".join(text.split())
    return found


def _default(field: Any) -> str:
    value = field.default if field.default is not MISSING else None
    if value in (None, "", (), UNSET) or is_dataclass(value):
        return ""
    if isinstance(value, tuple):
        return f"`{[_plain(one) for one in value]}`".replace("'", "")
    return f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _commands() -> list[str]:
    rows = []
    context = click.Context(rollout, info_name="rollout")
    group = rollout
    assert isinstance(group, LazyGroup)
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        rows += _command(command, click.Context(command, info_name=name, parent=context))
    note = (
        "Exit codes: 0 done, 1 a check failed or the answer is no, 2 usage or configuration, 3 a server that "
        "is needed cannot be reached, 130 ended by Ctrl-C (`status --watch` ends so with 0). "
        "`rollout COMMAND --help` has every option."
    )
    return ["## Commands", "", note, "", *_table(("command", "what it does"), rows)]


def _command(command: click.Command, context: click.Context) -> list[tuple[str, str]]:
    if isinstance(command, click.Group):
        found = []
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            found += _command(child, click.Context(child, info_name=name, parent=context))
        return found
    words = [context.command_path, *command.collect_usage_pieces(context)]
    required = [
        f"{option.opts[-1]} {option.make_metavar(context)}"
        for option in command.params
        if isinstance(option, click.Option) and option.required
    ]
    usage = " ".join([*words, *required]).replace("[OPTIONS] ", "").replace(" [OPTIONS]", "")
    return [(f"`{usage}`", " ".join(command.get_short_help_str(400).split()))]


def _settings() -> list[str]:
    known = _meanings(controller_settings, "ControllerSettings")
    rows = []
    for field in fields(ControllerSettings):
        if field.name in {"features", "config_path", "notify"}:
            continue
        secret = " Also from a file or a systemd credential." if field.name in SECRETS else ""
        variable = f"`ROLLOUT_{field.name.upper()}`"
        rows.append((f"`{field.name}`", variable, _default(field), known.get(field.name, "") + secret))
    adapters = {
        **_meanings(adapter_settings, "Settings"),
        **_meanings(signin_settings, "SignInSettings"),
        **_meanings(microsoft_settings, "MicrosoftSettings"),
        **_meanings(google_settings, "GoogleSettings"),
        **_meanings(google_settings, "DelegationSettings"),
    }
    note = (
        "Keys of the table `[controller]`; the environment variable overrides the file that `--config` or "
        "`ROLLOUT_CONFIG` names. `ROLLOUT_..._FILE` names a file that holds a secret."
    )
    return [
        "## Settings",
        "",
        note,
        "",
        *_table(("key", "variable", "default", "meaning"), rows),
        "The adapter reads:",
        "",
        *_bullets(text for text in adapters.values() if re.search("[A-Z]_[A-Z<]", text)),
    ]


def _features() -> list[str]:
    known = _meanings(feature, "RolloutFeature")
    rows = [
        (f"`{field.name}`", _default(field), known.get(field.name, ""))
        for field in fields(feature.RolloutFeature)
        if field.name != "name"
    ]
    built_in = ", ".join(f"`{name}`" for name in sorted(ROLLOUT_FEATURES))
    note = (
        f"Keys of a table `[features.NAME]`. Built in are {built_in}; another feature needs `provider` and "
        "`action`. Unknown keys and impossible values are refused with the line."
    )
    return [
        "## Features",
        "",
        note,
        "",
        *_table(("key", "default", "meaning"), rows),
    ]


def _receivers() -> list[str]:
    known = _meanings(receivers, "Receiver")
    rows = [
        (f"`{field.name}`", _default(field) if field.name != "on" else "all", known.get(field.name, ""))
        for field in fields(receivers.Receiver)
        if field.name != "name"
    ]
    note = (
        f"Keys of a table `[notify.NAME]`. `kind` is one of {_listed(receivers.KINDS)}; `url_file` and "
        "`secret_file` name files. `on` lists what is notified: "
        f"{_listed(receivers.EVENTS)}. A template may name {_listed(sorted(receivers.WORDS))}."
    )
    return [
        "## Receivers",
        "",
        note,
        "",
        *_table(("key", "default", "meaning"), rows),
    ]


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _bullets(lines: Iterable[str]) -> list[str]:
    return [*(f"- {line}" for line in lines), ""]


def _reasons() -> list[str]:
    note = f"A record's `kind` is one of {_listed(kind.value for kind in Kind)}; its `reason` one of:"
    return [
        "## Reasons",
        "",
        note,
        "",
        *_table(("reason", "meaning"), _sentences(REASONS)),
    ]


def _gate() -> list[str]:
    note = "Why a send may go ahead, or may not:"
    return [
        "## Gate",
        "",
        note,
        "",
        *_table(("reason", "meaning"), _sentences(GATE_REASONS)),
    ]


def _sentences(reasons: Mapping[Any, str]) -> list[tuple[str, str]]:
    return [
        (f"`{reason.value if isinstance(reason, Enum) else reason}`", text)
        for reason, text in reasons.items()
    ]


class _Health:
    report = Report()
    reloads, config_error, pid = 0, "", 0
    config_agrees = True
    unwatched: tuple[str, ...] = ()

    def fresh(self, monotonic: float) -> bool:
        raise NotImplementedError(monotonic)


class _Gate:
    def check(self, feature: str, user_id: str, recipients: Iterable[str] = ()) -> Any:
        raise NotImplementedError(feature, user_id, recipients)

    def revision(self, feature: str) -> int:
        raise NotImplementedError(feature)

    def percent(self, feature: str) -> float:
        raise NotImplementedError(feature)


def operations() -> list[Operation]:
    """Return everything that a daemon serves and describes; nothing of it is called."""
    settings = ControllerSettings()
    store = RedisFlagStore(open_redis(settings.redis_url, 1.0))
    context = ServerContext(health=_Health(), settings=lambda: settings, store=store, gate=_Gate())
    described: list[Operation] = build_app(context).state.operations
    return described


def _routes() -> list[str]:
    check = Tokens.parse("x").caller
    adapters = operations_of([*actions(caller=check), *signin(caller=check)])
    rows = [
        (f"`{one.method} {one.path}`", one.right or "", one.summary) for one in [*operations(), *adapters]
    ]
    note = (
        "On the address of `listen`. `/` is the status page; `/openapi.json` has parameters and bodies. "
        "Errors are `application/problem+json`."
    )
    return [
        "## Routes",
        "",
        note,
        "",
        *_table(("route", "token", "what it does"), rows),
    ]


def _metrics() -> list[str]:
    registry = CollectorRegistry()
    DaemonMetrics(ROLLOUT_FEATURES, registry)
    AdapterMetrics.of(ROLLOUT_FEATURES, registry)
    for identity in IDENTITIES:
        SignInMetrics.of(identity, registry)
    told = {metric.name: metric for metric in registry.collect()}
    rows = []
    for name, labels in METRIC_LABELS.items():
        metric = told.get(name) or told.get(name.removesuffix("_total"))
        help_text = metric.documentation if metric else ""
        rows.append((f"`{name}`", metric.type if metric else "", _listed(labels), help_text))
    headers = ("metric", "type", "labels", "meaning")
    return ["## Metrics", "", *_table(headers, rows)]


def _errors() -> list[str]:
    codes = {**REFUSALS, **FAILURES}
    rows = [
        (f"`{name}`", str(code.source), str(code.http), code.sentence) for name, code in sorted(codes.items())
    ]
    note = (
        "Codes of a send that every provider shares; [sending.md](sending.md) has those of Microsoft Graph."
    )
    return ["## Errors", "", note, "", *_table(("code", "source", "HTTP", "meaning"), rows)]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
