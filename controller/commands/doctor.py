"""`rollout doctor`: looks at everything that a rollout needs; each line is ok or says what to do."""

import os
from pathlib import Path

import click

from controller.commands.common import config_option, settings_from
from controller.config.settings import ControllerSettings
from controller.doctor.domains import look_at_domains
from controller.doctor.finding import DoctorFinding, DoctorVerdict, ok
from controller.doctor.holds import look_at_holds
from controller.doctor.prometheus import look_at_prometheus
from controller.doctor.redis import look_at_redis
from controller.doctor.surroundings import (
    look_at_daemon,
    look_at_journal,
    look_at_providers,
    look_at_units,
    look_at_variables,
)
from controller.shared.console import NO, UNREACHABLE, examples, json_option, print_json, print_table


@click.command(epilog=examples("rollout doctor", "rollout doctor --domains --json"))
@click.option("--domains", is_flag=True, help="Look at the DNS of the domains that mail is sent from, too.")
@click.option("--domain", "named", multiple=True, help="One more of these domains; repeatable.")
@config_option
@json_option
@click.pass_context
def doctor(
    context: click.Context, config: Path | None, domains: bool, named: tuple[str, ...], as_json: bool
) -> None:
    """Look at Redis, Prometheus, the senders, the daemon and the mail providers, and say what to do.

    With --domains or --domain it also says what a receiver outside will think of mail from each domain, by
    SPF, DKIM and DMARC: look before `rollout open` lets other mail in.

    Exits 0 when all is well, 1 when something must be done, 3 when a server does not answer.
    """
    settings = settings_from(config)
    findings = examine(settings)
    if domains or named:
        findings += look_at_domains(named, {feature.provider for feature in settings.features.values()})
    if as_json:
        print_json([finding.as_dict() for finding in findings])
    else:
        print_table(
            ("", "what", "seen", "do"), [(f.verdict.value, f.subject, f.seen, f.do) for f in findings]
        )
    verdicts = {finding.verdict for finding in findings}
    context.exit(
        UNREACHABLE if DoctorVerdict.AWAY in verdicts else NO if DoctorVerdict.BAD in verdicts else 0
    )


def examine(settings: ControllerSettings) -> list[DoctorFinding]:
    """Look at everything, whatever is away."""
    place = settings.config_path or "built-in features, no file"
    return [
        ok("configuration", f"{place}: {', '.join(sorted(settings.features))}"),
        *look_at_variables(os.environ),
        *look_at_redis(settings),
        *look_at_prometheus(settings),
        *look_at_holds(settings),
        *look_at_journal(settings),
        *look_at_daemon(settings),
        *look_at_units(),
        *look_at_providers(os.environ),
        *_sign_in(),
    ]


def _sign_in() -> list[DoctorFinding]:
    from controller.cli import sign_in_looks  # noqa: PLC0415 - only the command line knows the adapter

    return [DoctorFinding(what, DoctorVerdict(how), seen, do) for what, how, seen, do in sign_in_looks()]
