"""`rollout init`: a configuration with a comment for every key, checked by reading it again."""

import shutil
from pathlib import Path

import click

from controller.commands.common import settings_from
from controller.commands.doctor import examine
from controller.commands.rules import rendered_rules
from controller.commands.scale import DEFAULT_FOLDER
from controller.config.settings import ControllerSettings
from controller.features import ROLLOUT_FEATURES
from controller.rules.artifacts.prometheus_config import prometheus_config
from controller.rules.scale import Scale
from controller.rules.yaml_text import yaml_text
from controller.shared.console import USAGE, examples, fail, print_table, say
from controller.shared.value_readers import read_address

TEMPLATE = """\
# rollout-controller: what is rolled out, and how. `rollout config check` reads it as the daemon does.
# What is commented out is the default. Secrets belong in the environment, in a file that
# ROLLOUT_..._FILE names, or in systemd credentials: docs/how-to.md says how.

[controller]
redis_url = "{redis_url}"            # ROLLOUT_REDIS_URL
prometheus_url = "{prometheus_url}"  # ROLLOUT_PROMETHEUS_URL
# listen = "127.0.0.1:8003"          # status page, API, metrics
# interval_s = 30                    # length of a tick; the lengths below follow from it
# window_s = 30                      # the interval of the recording rules
# scrape_s = 10                      # how often Prometheus scrapes the senders
# lease_s = 90                       # how long a leader may be silent before another takes over
# journal = "/var/lib/rollout-controller/decisions.jsonl"
# requests_per_s = 1000              # how many requests one address may make
# decisions_kept = 20000             # decisions in Redis for each feature
# log_unchanged_holds = true         # false for hundreds of features

[features.{feature}]
provider = "{provider}"
action = "{action}"
steps = [1, 5, 10, 25, 50, 100]      # percentages, one after the other
bake_s = 600                         # a step lasts at least so long; a list has one time for each step
slo_error_rate_threshold = 0.01      # the limit: 1 % of the sends may fail
slo_latency_p95_ms = 500             # the limit: 95 % of the sends are at most so slow
# initial_percent = 0
# on_breach = "pause"                # or "step_back"
# approval_steps = [50]              # these wait for `rollout approve`
# max_failed_sends_per_step = 100    # a harm budget; none unless set
# hold_on_alert = true               # no step up while an alert of this feature is pending or firing
# pause_on_alert = false             # a critical alert sent to /api/v1/alerts pauses
# longest_hold_s = 86400             # a longer hold is worth a notice
# policy = "sequential"              # or "threshold", for comparison
# freezes = [{{ weekdays = ["fri"], from = "16:00", to = "24:00", time_zone = "Europe/Berlin" }}]

# [notify.ops]                       # who is notified; `rollout notify test ops` tries it
# kind = "slack"                     # webhook, slack, teams or email
# url = "https://hooks.slack.com/services/..."
# on = ["step_up", "pause", "resume", "long_hold", "leader"]
"""

_NEXT = """
Next:
  prometheus --config.file={prometheus}  # or let your Prometheus take over its rule_files and scrape_configs
  rollout doctor --config {path}  # until nothing is left to do
  rollout decide --config {path}  # what would be decided now; writes nothing
  rollout run --config {path}  # the daemon; enable the feature when you are ready
After a change of {path}:
  rollout rules render --config {path} --out {rules}
"""


def _addresses(_: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        try:
            read_address(text)
        except ValueError as error:
            fail(f"{option.opts[0]} {text}: {error}", USAGE)
    return texts


@click.command(
    epilog=examples("rollout init", "rollout init --redis-url redis://10.0.0.5:6379/0 --sender 10.0.0.6:8004")
)
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False), default="rollout.toml")
@click.option(
    "--feature", type=click.Choice(sorted(ROLLOUT_FEATURES)), default="microsoft", show_default=True
)
@click.option("--redis-url", default="redis://127.0.0.1:6379/0", show_default=True)
@click.option("--prometheus-url", default="http://127.0.0.1:9090", show_default=True)
@click.option(
    "--sender",
    "senders",
    multiple=True,
    metavar="HOST:PORT",
    callback=_addresses,
    help="A process that sends, for Prometheus to scrape; once for each.  [default: the daemon itself]",
)
@click.option("--force", is_flag=True, help="Write over files that are there; each is kept beside as .bak.")
def init(
    path: Path, feature: str, redis_url: str, prometheus_url: str, senders: tuple[str, ...], force: bool
) -> None:
    """Write a commented configuration, its rules and what Prometheus scrapes; check it, say what is next."""
    if path.exists() and not force:
        fail(f"{path} is there already; name another file, or say --force", USAGE)
    _write(path, written(feature, redis_url, prometheus_url))
    settings = settings_from(path)
    say(f"Wrote {path}.")
    for companion, text in _companions(path.parent, settings, senders).items():
        if companion.exists() and companion.read_bytes() != text.encode() and not force:
            say(f"Kept {companion}, which is there already and differs; --force writes over it.")
        else:
            _write(companion, text)
            say(f"Wrote {companion}.")
    _tell_next(path, settings)


def _tell_next(path: Path, settings: ControllerSettings) -> None:
    findings = [(one.verdict.value, one.subject, one.seen, one.do) for one in examine(settings)]
    print_table(("", "what", "seen", "do"), findings)
    folder = path.parent
    say(_NEXT.format(path=path, prometheus=folder / "prometheus.yml", rules=folder / DEFAULT_FOLDER).rstrip())


def _companions(folder: Path, settings: ControllerSettings, senders: tuple[str, ...]) -> dict[Path, str]:
    """Return what stands beside the configuration: the rules, and where Prometheus finds its targets."""
    scale = Scale.of(settings.window_s, settings.interval_s, settings.scrape_s)
    daemon = settings.listen.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 (to be scraped, not to listen)
    scraped = prometheus_config(settings.scope, scale, senders or (daemon,), daemon)
    files = {folder / DEFAULT_FOLDER / one.name: yaml_text(one) for one in rendered_rules(settings, scale)}
    return {folder / "prometheus.yml": scraped} | files


def _write(path: Path, text: str) -> None:
    """Write a file; what was there and differs is kept beside it."""
    try:
        if path.parent.name == DEFAULT_FOLDER.name:
            path.parent.mkdir(exist_ok=True)
        if path.exists() and path.read_bytes() != text.encode():
            shutil.copy2(path, f"{path}.bak")
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{path} cannot be written ({error.strerror})", USAGE)


def written(feature: str, redis_url: str, prometheus_url: str) -> str:
    """Return the commented configuration with these values in it."""
    chosen = ROLLOUT_FEATURES[feature]
    return TEMPLATE.format(
        feature=feature,
        provider=chosen.provider,
        action=chosen.action,
        redis_url=redis_url,
        prometheus_url=prometheus_url,
    )
