"""What the commands share: the configuration, the features asked for, and errors in one line."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from controller.config.lookup import found_config
from controller.config.settings import ControllerSettings, load_settings
from controller.features import RolloutFeature, no_feature
from controller.shared.config_file import ConfigError
from controller.shared.console import USAGE, fail, say
from controller.shared.value_readers import read_url

_Command = TypeVar("_Command", bound=Callable[..., Any])

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file with the features and settings (default: ROLLOUT_CONFIG, "
    "else ./rollout.toml, else /etc/rollout-controller/rollout.toml).",
)


def http_url(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """Read an option's URL, or end with exit code 2; it may hold a password, so it is not shown."""
    try:
        return read_url(text, "http", "https") if text else None
    except ValueError as error:
        raise click.BadParameter(f"{error}, as in http://127.0.0.1:8003") from error


def _complete_feature(ctx: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Return the features that a shell may complete to; none where the configuration cannot be read."""
    try:
        features = load_settings(ctx.params.get("config")).features
    except ConfigError:
        return []
    return sorted(name for name in features if name.startswith(begun))


def feature_argument(*, required: bool = True) -> Callable[[_Command], _Command]:
    """Return the argument FEATURE, which shells complete."""
    return click.argument("feature", required=required, shell_complete=_complete_feature)


def settings_from(config: Path | None) -> ControllerSettings:
    """Load the settings, or end with exit code 2 and the mistake; say which file was found by itself."""
    found = None if config else found_config()
    if found:
        say(f"rollout: configuration {found.absolute()}", err=True)
    try:
        return load_settings(config)
    except ConfigError as error:
        fail(str(error), USAGE)


def feature_named(settings: ControllerSettings, name: str) -> RolloutFeature:
    """Return one feature, or end with exit code 2 and the name that was probably meant."""
    if name in settings.features:
        return settings.features[name]
    fail(no_feature(name, settings.features), USAGE)


def features_named(settings: ControllerSettings, name: str | None) -> Mapping[str, RolloutFeature]:
    """Return the feature of this name, or all of them."""
    return settings.features if name is None else {name: feature_named(settings, name)}
