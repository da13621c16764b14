"""The `rollout` command: a table of commands, each imported only when it is called.

This is the one file of the controller that names the adapter, because it embeds it.
"""

import difflib
import errno
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import click

from controller import __version__
from controller.shared.console import INTERRUPTED, NO, say
from controller.shared.standard_streams import discard_output, open_standard_streams

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from controller.config.settings import ControllerSettings
    from controller.notify.delivery import Mailer
    from controller.shared.api_tokens import CheckCaller
    from controller.web.context import EvaluatesGate


class Row(NamedTuple):
    """Where a command lives (`module:attribute`, a click.Command) and its line in the help."""

    target: str
    help: str


_COMMANDS = "controller.commands"
COMMANDS: dict[str, Row] = {
    "init": Row(f"{_COMMANDS}.init:init", "Write a commented configuration and check it."),
    "run": Row(f"{_COMMANDS}.run:run", "Run the daemon, or a single tick."),
    "serve": Row(f"{_COMMANDS}.serve:serve", "Send and sign in only: a sender without a controller."),
    "decide": Row(f"{_COMMANDS}.decide:decide", "Say what would be decided now; write nothing."),
    "status": Row(f"{_COMMANDS}.status:status", "Show where each feature stands."),
    "history": Row(f"{_COMMANDS}.history:history", "Show the decisions of a feature."),
    "pause": Row(f"{_COMMANDS}.operate:pause", "Stop a feature's sends at once."),
    "resume": Row(f"{_COMMANDS}.operate:resume", "Let a paused feature go on."),
    "set": Row(f"{_COMMANDS}.operate:set_percent", "Set the percentage by hand."),
    "open": Row(f"{_COMMANDS}.operate:open_", "Let other mail in too, not only internal mail."),
    "close": Row(f"{_COMMANDS}.operate:close", "Let internal mail in only."),
    "enable": Row(f"{_COMMANDS}.operate:enable", "Switch a feature on."),
    "disable": Row(f"{_COMMANDS}.operate:disable", "Switch a feature off."),
    "approve": Row(f"{_COMMANDS}.operate:approve", "Approve the next step that waits for a person."),
    "gate": Row("adapter.commands.gate:gate", "Say whether a user's send would go ahead now."),
    "auth": Row("adapter.commands.auth:auth", "Link users to their mailboxes."),
    "send": Row("adapter.commands.send:send", "Send one mail, or show the request that would."),
    "replay": Row(f"{_COMMANDS}.replay:replay", "Decide once more over recorded counts."),
    "simulate": Row(f"{_COMMANDS}.simulate:simulate", "Try a feature's rollout on made-up traffic."),
    "plan": Row(f"{_COMMANDS}.plan:plan", "Estimate how long each step takes and what it can see."),
    "explain": Row(f"{_COMMANDS}.explain:explain", "Tell one decision, and recompute it."),
    "doctor": Row(f"{_COMMANDS}.doctor:doctor", "Look at everything a rollout needs, and say what to do."),
    "config": Row(f"{_COMMANDS}.config:config", "Check or show the configuration."),
    "reload": Row(f"{_COMMANDS}.reload:reload", "Let the daemon read its configuration again."),
    "journal": Row(f"{_COMMANDS}.journal:journal", "Check the journal of decisions."),
    "rules": Row(f"{_COMMANDS}.rules:rules", "Render and check the Prometheus rules."),
    "files": Row(f"{_COMMANDS}.files:files", "Write rules, runbooks, dashboards, units and documents."),
    "validate-alerts": Row(
        f"{_COMMANDS}.validate_alerts:validate_alerts", "Prove that the rules and alerts do what they say."
    ),
    "notify": Row(f"{_COMMANDS}.notify:notify", "Say who is notified of decisions, and try it."),
    "completion": Row(f"{_COMMANDS}.completion:completion", "Print the completion of a shell."),
    "demo": Row(f"{_COMMANDS}.demo:demo", "Show the whole loop for real, on this machine."),
}


class Embedded(NamedTuple):
    """What the adapter adds to the daemon: its gate, the routes that send and sign in, mail for notices."""

    gate: "EvaluatesGate"
    routes: "list[BaseRoute]"
    mailer: "Mailer | None"


@contextmanager
def embedded(settings: "ControllerSettings", *, sends: bool) -> "Iterator[Embedded]":
    """Open the adapter's part of a daemon; without `sends` only the gate, which OFREP answers from.

    Raises ValueError where the adapter's settings cannot be used.
    """
    from adapter.gate.rollout_gate import RolloutGate  # noqa: PLC0415 - only the daemon embeds the adapter
    from controller.shared.api_tokens import Tokens  # noqa: PLC0415

    tell_adapter(settings)
    caller = Tokens.parse(settings.api_token).caller
    with RolloutGate.connect(settings.redis_url, settings.features) as gate:
        if not sends:
            yield Embedded(gate, [], None)
            return
        from adapter.sending.mailer import NoticeMailer  # noqa: PLC0415 - as above

        yield Embedded(gate, adapter_routes(caller), NoticeMailer())


def tell_adapter(settings: "ControllerSettings") -> None:
    """Put what the file says into the environment, where the adapter takes its settings from."""
    os.environ.setdefault("ROLLOUT_REDIS_URL", settings.redis_url)
    if settings.config_path:
        os.environ.setdefault("ROLLOUT_CONFIG", str(settings.config_path))


async def start_adapter() -> None:
    """Open the adapter before the first send, so that its gate and its metrics are there from the start."""
    from adapter.sending.runtime import default_runtime  # noqa: PLC0415 - as below

    await default_runtime()


def adapter_routes(caller: "CheckCaller | None" = None) -> "list[BaseRoute]":
    """Return the adapter's HTTP routes, to be served beside the controller; `caller` checks bearer tokens.

    Raises ValueError where the adapter's settings cannot be used: at the start, not at the first send.
    """
    from adapter.settings import Settings  # noqa: PLC0415 - as above
    from adapter.web import service, signin_routes  # noqa: PLC0415 - only the daemon embeds the adapter

    Settings.from_environment()
    return [*service.routes(caller=caller), *signin_routes.all_routes(caller=caller)]


def sign_in_looks() -> "list[tuple[str, str, str, str]]":
    """Return what the doctor says of signing in: subject, verdict, what was seen, what to do."""
    from adapter.commands.sign_in_looks import sign_in_looks as looks  # noqa: PLC0415 - as above

    return list(looks(os.environ))


class LazyGroup(click.Group):
    """Lists the commands without importing them, and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return one command; None where there is no such name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name].target} is not a command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the command that was probably meant."""
        close = difflib.get_close_matches(args[0].casefold(), COMMANDS, n=1)
        if args[0] not in COMMANDS and close:
            ctx.fail(f"There is no command '{args[0]}'; did you mean {close[0]}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the table of commands for the help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, row.help) for name, row in COMMANDS.items()])


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="rollout-controller")
def rollout() -> None:
    """Roll an email provider out to users a few percent at a time, and stop when its SLOs say so."""
    from controller.config.lookup import look_for_config  # noqa: PLC0415 - not for the help alone

    look_for_config()


def main() -> None:
    """Run the command line; the exit code says how it went: 0 done, 1 no, 2 usage, 3 a server is missing.

    130 is for Ctrl-C, as of every program that a signal ends.
    """
    open_standard_streams()
    try:
        _run()
    except OSError as error:
        if error.errno == errno.EPIPE:  # Who reads has seen enough.
            sys.exit(1)
        what = error.filename or "the output"
        discard_output()
        say(f"rollout: {what} cannot be used ({error.strerror}); the command itself may be done", err=True)
        sys.exit(1)


def _run() -> None:
    """Run the command and end with its exit code."""
    try:
        code = rollout.main(prog_name="rollout", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        about = error.ctx.command_path if error.ctx else "rollout"
        say(f"rollout: {' '.join(error.format_message().split())} ({about} --help)", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort as abort:
        say("rollout: ended by the user; nothing more was done", err=True)
        sys.exit(INTERRUPTED if isinstance(abort.__cause__, KeyboardInterrupt) else NO)
    sys.exit(code if isinstance(code, int) else 0)
