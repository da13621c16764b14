"""`rollout run`: the daemon, or a single tick."""

import sys
from pathlib import Path

import click

from controller import __version__
from controller.commands.common import config_option, settings_from
from controller.config.command_line import redis_text
from controller.config.settings import ControllerSettings
from controller.daemon.installation import foreign_claims
from controller.daemon.process import Daemon
from controller.daemon.wiring import assemble
from controller.journal.sinks import journal_problem, set_up_logging
from controller.shared.console import NO, UNREACHABLE, examples, fail, json_option, print_json, say
from controller.web.guard.connections import ListenError


@click.command(
    epilog=examples("rollout run --config rollout.toml", "rollout run --dry-run", "rollout run --once")
)
@config_option
@click.option("--dry-run", is_flag=True, help="Decide and tell, but write nothing.")
@click.option("--once", is_flag=True, help="Tick once and end.")
@click.option(
    "--no-adapter", is_flag=True, help="Do not serve the outlook.send adapter beside the controller."
)
@json_option
def run(config: Path | None, dry_run: bool, once: bool, no_adapter: bool, as_json: bool) -> None:
    """Read the SLOs from Prometheus at every tick, and step up, hold or pause."""
    if foreign := foreign_claims():
        fail(
            f"another distribution installs {', '.join(foreign)}; uninstall it, or use a virtual environment"
        )
    settings = settings_from(config)
    set_up_logging()
    if settings.journal and (problem := journal_problem(settings.journal, write=once)):
        fail(f"{problem}; set journal or ROLLOUT_JOURNAL to a file that can be written")
    if once:
        _tick_once(settings, dry_run=dry_run, as_json=as_json)
        return
    from controller.cli import embedded, start_adapter  # noqa: PLC0415 - only the daemon embeds the adapter

    if sys.stderr.isatty():
        say(_about(settings), err=True)
    try:
        with embedded(settings, sends=not no_adapter) as adapter:
            starting = None if no_adapter else start_adapter
            Daemon(settings, dry_run=dry_run).run(adapter.routes, adapter.gate, adapter.mailer, starting)
    except (ValueError, ListenError) as error:
        fail(str(error))


def _about(settings: ControllerSettings) -> str:
    """Say what runs, by which configuration, and where its page is."""
    config = settings.config_path.absolute() if settings.config_path else "no file, all as built in"
    return (
        f"rollout-controller {__version__}; configuration {config}; "
        f"Redis {redis_text(settings)}; page http://{settings.listen}/"
    )


def _tick_once(settings: ControllerSettings, *, dry_run: bool, as_json: bool) -> None:
    controller = assemble(settings, dry_run=dry_run).controller
    report = controller.tick()
    if not dry_run:
        controller.release()
    if report.error:
        fail(f"{report.error}; check redis_url or ROLLOUT_REDIS_URL", UNREACHABLE)
    if as_json:
        print_json(report.records)
    if not report.leader:
        fail("another controller holds the lease; this one decided nothing", NO)
