"""`rollout config`: checks the configuration, and shows it as it is used, secrets masked."""

from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from controller.commands.common import config_option, settings_from
from controller.config.settings import NO_SETTINGS, ControllerSettings, masked, variable
from controller.decision.codec import encode
from controller.shared.config_file import read_config_file
from controller.shared.console import examples, json_option, print_json, print_table, say
from controller.shared.environment import Environment


@click.group(epilog=examples("rollout config check", "rollout config show"))
def config() -> None:
    """Check or show the configuration."""


@config.command(epilog=examples("rollout config check --config rollout.toml"))
@config_option
@json_option
def check(config: Path | None, as_json: bool) -> None:
    """Say whether the configuration can be used; the first mistake is named with its line (exit code 2)."""
    settings = settings_from(config)
    names = sorted(settings.features)
    if as_json:
        print_json({"config": settings.config_path, "features": names})
    else:
        say(f"{settings.config_path or 'no file'}: sound; features {', '.join(names)}")


@config.command(epilog=examples("rollout config show", "rollout config show --json"))
@config_option
@json_option
def show(config: Path | None, as_json: bool) -> None:
    """Show every setting with where it comes from; secrets are masked."""
    settings = settings_from(config)
    rows = _rows(settings)
    if as_json:
        features = {name: encode(feature) for name, feature in settings.features.items()}
        print_json({"settings": rows, "features": features})
        return
    print_table(("setting", "value", "from"), [tuple(row.values()) for row in rows])
    for name, feature in settings.features.items():
        say(f"\n[features.{name}]")
        print_table(("", ""), [(f"  {key}", value) for key, value in encode(feature).items()])


def _rows(settings: ControllerSettings) -> list[dict[str, Any]]:
    file = read_config_file(settings.config_path) if settings.config_path else None
    in_file = file.table("controller").values if file else {}
    names = [field.name for field in fields(settings) if field.name not in NO_SETTINGS]
    return [
        {"setting": name, "value": masked(name, getattr(settings, name)), "from": _source(name, in_file)}
        for name in names
    ]


def _source(name: str, in_file: Collection[str]) -> str:
    origin = "" if name == "notify" else Environment().origin(variable(name))
    return origin or ("file" if name in in_file else "default")
