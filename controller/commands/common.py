"""What the commands share: the configuration, the features asked for, and errors in one line."""

from collections.abc import Mapping
from pathlib import Path

import click

from controller.console import USAGE, fail
from controller.features import ConfigError, RolloutFeature, no_feature
from controller.settings import Settings, load_settings

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file with the features and settings (default: ROLLOUT_CONFIG).",
)


def settings_from(config: Path | None) -> Settings:
    """Load the settings, or end with exit code 2 and the mistake."""
    try:
        return load_settings(config)
    except ConfigError as error:
        fail(str(error), USAGE)


def feature_named(settings: Settings, name: str) -> RolloutFeature:
    """Give one feature, or end with exit code 2 and the name that was probably meant."""
    if name in settings.features:
        return settings.features[name]
    fail(no_feature(name, settings.features), USAGE)


def features_named(settings: Settings, name: str | None) -> Mapping[str, RolloutFeature]:
    """Give the feature of this name, or all of them."""
    return settings.features if name is None else {name: feature_named(settings, name)}
