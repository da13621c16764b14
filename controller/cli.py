"""The `rollout` command: a table of commands, each imported only when it is called.

This is the one file of the controller that names the adapter, because it embeds it.
"""

import importlib
from typing import TYPE_CHECKING, NamedTuple

import click

from controller import __version__

if TYPE_CHECKING:
    from starlette.routing import BaseRoute


class Row(NamedTuple):
    """Where a command lives (`module:attribute`, a click.Command) and its line in the help."""

    target: str
    help: str


_COMMANDS = "controller.commands"
COMMANDS: dict[str, Row] = {
    "run": Row(f"{_COMMANDS}.run:run", "Run the daemon, or a single tick."),
    "decide": Row(f"{_COMMANDS}.decide:decide", "Say what would be decided now; write nothing."),
    "status": Row(f"{_COMMANDS}.status:status", "Show where each feature stands."),
    "history": Row(f"{_COMMANDS}.history:history", "Show the decisions of a feature."),
    "pause": Row(f"{_COMMANDS}.operate:pause", "Stop a feature's sends at once."),
    "resume": Row(f"{_COMMANDS}.operate:resume", "Let a paused feature go on."),
    "set": Row(f"{_COMMANDS}.operate:set_percent", "Set the percentage by hand."),
    "enable": Row(f"{_COMMANDS}.operate:enable", "Switch a feature on."),
    "disable": Row(f"{_COMMANDS}.operate:disable", "Switch a feature off."),
    "approve": Row(f"{_COMMANDS}.operate:approve", "Approve the next step that waits for a person."),
    "gate": Row("adapter.commands.gate:gate", "Say whether a user's send would go ahead now."),
    "auth": Row("adapter.commands.auth:auth", "Link users to their Microsoft mailboxes."),
    "send": Row("adapter.commands.send:send", "Send one mail, or show the request that would."),
    "replay": Row(f"{_COMMANDS}.replay:replay", "Decide once more over recorded counts."),
    "simulate": Row(f"{_COMMANDS}.simulate:simulate", "Try a feature's rollout on made-up traffic."),
    "plan": Row(f"{_COMMANDS}.plan:plan", "Foretell how long each step takes and what it can see."),
    "explain": Row(f"{_COMMANDS}.explain:explain", "Tell one decision, and recompute it."),
    "rules": Row(f"{_COMMANDS}.rules:rules", "Render and check the Prometheus rules."),
    "demo": Row(f"{_COMMANDS}.demo:demo", "Show the whole loop for real, on this machine."),
}


def adapter_routes() -> "list[BaseRoute]":
    """Give the adapter's HTTP routes, to be served beside the controller."""
    from adapter.service import routes  # noqa: PLC0415 - only the daemon embeds the adapter

    return list(routes())


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
