"""`rollout config`: checks the configuration, and shows it as it is used, secrets masked."""

import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click

from controller.commands.common import config_option, settings_from
from controller.config.settings import SECRETS, ControllerSettings, credential, masked
from controller.features import read_toml
from controller.shared.console import examples, json_option, print_json, print_table


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
        click.echo(f"{settings.config_path or 'no file'}: sound; features {', '.join(names)}")


@config.command(epilog=examples("rollout config show", "rollout config show --json"))
@config_option
@json_option
def show(config: Path | None, as_json: bool) -> None:
    """Show every setting with where it comes from; secrets are masked."""
    settings = settings_from(config)
    rows = _rows(settings)
    if as_json:
        features = {name: asdict(feature) for name, feature in settings.features.items()}
        print_json({"settings": rows, "features": features})
        return
    print_table(("setting", "value", "from"), [tuple(row.values()) for row in rows])
    for name, feature in settings.features.items():
        click.echo(f"\n[features.{name}]")
        print_table(("", ""), [(f"  {key}", value) for key, value in asdict(feature).items()])


def _rows(settings: ControllerSettings) -> list[dict[str, Any]]:
    in_file = read_toml(settings.config_path)[1].get("controller", {}) if settings.config_path else {}
    names = [
        field.name for field in fields(ControllerSettings) if field.name not in {"features", "config_path"}
    ]
    return [
        {
            "setting": name,
            "value": masked(name, getattr(settings, name)),
            "from": _source(name, in_file),
        }
        for name in names
    ]


def _source(name: str, in_file: dict[str, Any]) -> str:
    variable = f"ROLLOUT_{name.upper()}"
    if os.environ.get(variable):
        return variable
    if name in SECRETS and os.environ.get(f"{variable}_FILE"):
        return f"{variable}_FILE"
    if name in SECRETS and credential(os.environ, variable):
        return f"credential {variable}"
    return "file" if name in in_file else "default"
