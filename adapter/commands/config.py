"""`--config` of the adapter's commands: for as long as one runs, what ROLLOUT_CONFIG says."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click


def _into_environment(ctx: click.Context, _: click.Parameter, config: Path | None) -> None:
    """Put it where the adapter takes its settings from."""
    if config is not None:
        ctx.with_resource(_set("ROLLOUT_CONFIG", str(config)))


@contextmanager
def _set(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_into_environment,
    expose_value=False,
    help="TOML file with the features and settings (default: ROLLOUT_CONFIG).",
)
