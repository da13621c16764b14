"""The `rollout` command: a table of commands, each imported only when it is called.

This is the one file of the controller that names the adapter, because it embeds it.
"""

import importlib
from typing import NamedTuple

import click

from controller import __version__


class Row(NamedTuple):
    """Where a command lives (`module:attribute`, a click.Command) and its line in the help."""

    target: str
    help: str


COMMANDS: dict[str, Row] = {
    "rules": Row("controller.commands.rules:rules", "Render and check the Prometheus rules."),
}


class LazyGroup(click.Group):
    """Lists the commands without importing them, and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name].target} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, row.help) for name, row in COMMANDS.items()])


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="rollout-controller")
def rollout() -> None:
    """Roll an email provider out to users a few percent at a time, and stop when its SLOs say so."""


def main() -> None:
    """Run the command line; the exit code says how it went: 0 done, 1 no, 2 usage, 3 a server is missing."""
    rollout(prog_name="rollout")
