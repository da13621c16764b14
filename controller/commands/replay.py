"""`rollout replay`: decide once more over recorded counts, by one policy or by two."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import click

from controller.commands.common import config_option, feature_argument, feature_named, http_url, settings_from
from controller.commands.history import Ago
from controller.config.settings import ControllerSettings
from controller.contract import format_percent
from controller.decision.decide import decide
from controller.decision.feature import RolloutFeature
from controller.decision.judging.policies import POLICIES
from controller.decision.model import Decision, Kind, Snapshot
from controller.decision.record import record_of
from controller.decision.telling.sentences import count_text, duration_text
from controller.features import config_hash
from controller.loop.freezes import open_freeze
from controller.shared.console import UNREACHABLE, USAGE, examples, fail, json_option, print_table, say
from controller.store.record_json import dump
from controller.whatif.chart import Timeline, clock, page, ticks_a_bin
from controller.whatif.outcome import RampOutcome
from controller.whatif.playback import Tick, course
from controller.whatif.recorded import Recorded, RecordedError
from controller.whatif.trace import TraceError, read_trace, spacing_s

ACTOR = "replay"
_LONGEST_LINE = 65_536
Decided = Iterable[tuple[Snapshot, Decision]]


@dataclass(frozen=True, slots=True)
class PolicyRun:
    """One policy's way through the ticks."""

    policy: str
    outcome: RampOutcome
    timeline: Timeline
    took_s: float


@click.command(
    epilog=examples(
        "rollout replay microsoft --trace day.jsonl",
        "rollout replay microsoft --since 7d --policy threshold --plot week.html",
    )
)
@feature_argument()
@click.option("--trace", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), help="JSON lines.")
@click.option("--since", type=Ago(), help="Take what Prometheus recorded, as in 7d.")
@click.option(
    "--policy", "policies", multiple=True, type=click.Choice(sorted(POLICIES)), help="Twice: compare."
)
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Write a timeline as HTML.")
@click.option(
    "--prometheus", metavar="URL", callback=http_url, help="Ask this one instead of the configured one."
)
@config_option
@json_option
def replay(
    *,
    feature: str,
    trace: Path | None,
    since: float | None,
    policies: tuple[str, ...],
    plot: Path | None,
    prometheus: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Decide over a trace, or over what Prometheus recorded, as the daemon would have.

    A line of a trace holds the counts since the line before, at the percentage of that moment:
    {"t": seconds, "sends": n, "errors": k, "slow": s}, or {"t": seconds, "missing": true} for a tick
    without data; "failed_mailboxes" may say of how many mailboxes the failed sends are, "very_slow" how many
    took over 4 x the p95 limit, "reference_sends" and "reference_errors" what the feature's reference sent.
    A window of evidence is as long as two lines are apart. The feature is taken as enabled and not paused,
    and begins at its initial percentage.
    With --json each tick's record is one line.
    """
    if plot is not None and plot.suffix not in {"", ".html", ".htm"}:
        fail(f"{plot}: a timeline is written as HTML; name it .html", USAGE)
    settings = settings_from(config)
    chosen = feature_named(settings, feature)
    if trace is not None and since is None:
        ticks = _from_file(trace) or fail(f"{trace}: has no line; a trace is JSON lines", USAGE)
        window_s = spacing_s(ticks) or settings.window_s
        if chosen.slo_very_slow_threshold and not any(tick.very_slow is not None for tick in ticks):
            fail(
                f'{trace}: no line has "very_slow", by which slo_very_slow_threshold judges; '
                "add it, or leave that limit out",
                USAGE,
            )
    elif since is not None and trace is None:
        ticks = _from_prometheus(settings, chosen, since, prometheus)
        window_s = settings.window_s
    else:
        fail("give either --trace FILE or --since TIME, as in --since 7d", USAGE)
    reference = settings.features.get(chosen.reference)
    runs = [
        _run(
            replace(chosen, policy=policy),
            ticks,
            window_s,
            reference,
            as_json=as_json,
            drawn=plot is not None,
        )
        for policy in policies or (chosen.policy,)
    ]
    if plot is not None:
        _write(plot, page(f"Replay of {feature}", [(run.policy, run.timeline) for run in runs]))
    if not as_json:
        _print_outcomes(runs)


def _from_file(path: Path) -> Sequence[Tick]:
    try:
        if str(path) == "-":
            return list(read_trace(_lines_of(sys.stdin)))
        with path.open(encoding="utf-8") as lines:
            return list(read_trace(_lines_of(lines)))
    except UnicodeDecodeError:
        fail(f"{path}: is not UTF-8 text; a trace is JSON lines", USAGE)
    except TraceError as error:
        fail(f"{path}: {error}", USAGE)
    except OSError as error:
        fail(f"{path}: cannot be read ({error.strerror}); check the path given", USAGE)


def _lines_of(file: TextIO) -> Iterator[str]:
    """Yield the lines of a file; a line without an end is cut, so that memory is bounded."""
    return iter(lambda: file.readline(_LONGEST_LINE), "")


def _from_prometheus(
    settings: ControllerSettings, feature: RolloutFeature, since_s: float, url: str | None
) -> Sequence[Tick]:
    source = Recorded(
        url or settings.prometheus_url, access=settings.access_to_prometheus, scope=settings.scope
    )
    try:
        ticks = source.ticks(feature, since_s, settings.window_s, settings.features.get(feature.reference))
    except RecordedError as error:
        fail(f"{error}; check --prometheus or ROLLOUT_PROMETHEUS_URL", UNREACHABLE)
    if not ticks:
        fail(
            f"Prometheus recorded no sends of {feature.provider} {feature.action} in the last "
            f"{duration_text(since_s)}; check that the rules are loaded with rollout doctor"
        )
    return ticks


def _run(
    feature: RolloutFeature,
    ticks: Sequence[Tick],
    window_s: float,
    reference: RolloutFeature | None,
    *,
    as_json: bool,
    drawn: bool,
) -> PolicyRun:
    """Decide over all ticks with one policy. Words are made only where they are printed."""
    run = PolicyRun(feature.policy, RampOutcome(), Timeline(feature, ticks_a_bin(len(ticks))), 0.0)
    decided = course(
        feature,
        ticks,
        config_hash=config_hash(feature),
        window_s=window_s,
        freeze_at=_freezes(feature),
        decide=decide if as_json else None,
        reference=reference,
    )
    started = time.perf_counter()
    changes = []
    for snapshot, decision in decided:
        run.outcome.add(snapshot, decision)
        if drawn:
            run.timeline.add(snapshot, decision)
        if as_json:
            say(dump(_record(snapshot, decision, run.outcome.ticks)))
        elif decision.kind is not Kind.HOLD:
            changes.append((snapshot, decide(snapshot)))
    if not as_json:
        _print_changes(feature, changes)
    return replace(run, took_s=time.perf_counter() - started)


def _freezes(feature: RolloutFeature) -> Callable[[float], str] | None:
    return (lambda at: open_freeze(feature, at)) if feature.freezes else None


def _record(snapshot: Snapshot, decision: Decision, number: int) -> dict[str, object]:
    return record_of(
        snapshot,
        decision,
        decision_id=f"{snapshot.feature.name}-{int(snapshot.now * 1000)}-{number:08x}",
        actor=ACTOR,
        dry_run=True,
        applied="skipped",
        epoch=0,
        revision=snapshot.flags.revision + (decision.flags is not snapshot.flags),
    )


def _print_changes(feature: RolloutFeature, changes: Decided) -> None:
    say(f"{feature.name}, policy {feature.policy}")
    print_table(
        ("at (UTC)", "from %", "to %", "decision", "reason", "in words"),
        [
            (
                clock(snapshot.now),
                format_percent(snapshot.flags.rollout_percent),
                format_percent(decision.flags.rollout_percent),
                decision.kind,
                decision.reason,
                decision.detail,
            )
            for snapshot, decision in changes
        ],
    )
    say()


def _print_outcomes(runs: Sequence[PolicyRun]) -> None:
    print_table(
        (
            "policy",
            "ended at",
            "complete after",
            "paused after",
            "reason",
            "sends",
            "failed",
            "held for",
        ),
        [_outcome_row(run) for run in runs],
    )
    for run in runs:
        rate = f"{run.outcome.ticks / run.took_s:,.0f} ticks/s" if run.took_s > 0 else ""
        say(f"{run.policy}: {run.outcome.ticks:,} ticks in {run.took_s:.2f} s ({rate})", err=True)


def _outcome_row(run: PolicyRun) -> tuple[str, ...]:
    told = run.outcome.as_dict()
    return (
        run.policy,
        f"{format_percent(run.outcome.percent)} %",
        _after(told["complete_after_s"]),
        _after(told["paused_after_s"]),
        run.outcome.pause_reason or "-",
        count_text(run.outcome.sends),
        count_text(run.outcome.failed),
        ", ".join(f"{reason} {count}x" for reason, count in run.outcome.holds.most_common(3)) or "-",
    )


def _after(seconds: float | None) -> str:
    return "-" if seconds is None else duration_text(seconds)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{path}: cannot be written ({error.strerror})", USAGE)
