"""Which folder of rules, and on which scale of time: the options that the commands about rules share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from controller.commands.common import settings_from
from controller.config.settings import ControllerSettings
from controller.rules.scale import Scale
from controller.shared.console import Number, fail

DEFAULT_FOLDER = Path("rules")
_LENGTH = Number(0.01, 86_400)
"""Seconds."""
_OPTIONS = (
    click.option(
        "--window-s", type=_LENGTH, help="Length of a window of evidence.  [default: as configured, 30]"
    ),
    click.option("--interval-s", type=_LENGTH, help="How often rules are evaluated.  [default: the window]"),
    click.option("--scrape-s", type=_LENGTH, help="Scrape interval.  [default: a third of the window]"),
)


def scale_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a scale of time to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def settings_and_scale(
    config: Path | None, window_s: float | None, interval_s: float | None, scrape_s: float | None
) -> tuple[ControllerSettings, Scale]:
    """Load the settings; lengths that are not given as options are theirs."""
    settings = settings_from(config)
    try:
        if window_s or interval_s:
            return settings, Scale.of(window_s, interval_s, scrape_s)
        return settings, Scale.of(settings.window_s, settings.interval_s, scrape_s or settings.scrape_s)
    except ValueError as error:
        fail(str(error))


def find_folder() -> Path:
    """Return ./rules, or where there is none, the rules that came with the source."""
    with_source = Path(__file__).parents[2] / DEFAULT_FOLDER
    return with_source if with_source.is_dir() and not DEFAULT_FOLDER.is_dir() else DEFAULT_FOLDER
