"""`rollout simulate`: many seeded ramps on made-up traffic."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import click

from controller.commands.common import config_option, feature_argument, feature_named, settings_from
from controller.decision.feature import RolloutFeature
from controller.decision.model import SLOW_SHARE_LIMIT
from controller.decision.telling.sentences import count_text, duration_text, share_text
from controller.shared.console import Number, examples, json_option, print_json, print_table, say
from controller.whatif.outcome import RampOutcome
from controller.whatif.simulate import Traffic, ramp

SHARE = Number(0, 1)


@click.command(
    epilog=examples(
        "rollout simulate microsoft --rps 5 --error-rate 0.003",
        "rollout simulate microsoft --rps 5 --error-rate 0.1 --ramps 200 --seed 7",
    )
)
@feature_argument()
@click.option("--rps", metavar="X", type=Number(0), required=True, help="Sends per second of all users.")
@click.option("--error-rate", metavar="Y", type=SHARE, required=True, help="Share of the sends that fail.")
@click.option(
    "--slow-share", metavar="Z", type=SHARE, default=0.01, show_default=True, help="Share that is too slow."
)
@click.option("--constant", is_flag=True, help="The same traffic at each step, not the share of users.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--ramps", metavar="N", type=click.IntRange(1, 100_000), default=20, show_default=True)
@click.option(
    "--hours",
    metavar="N",
    type=Number(0.01, 8760),
    default=168.0,
    show_default=True,
    help="At most.",
)
@config_option
@json_option
def simulate(
    *,
    feature: str,
    rps: float,
    error_rate: float,
    slow_share: float,
    constant: bool,
    seed: int,
    ramps: int,
    hours: float,
    config: Path | None,
    as_json: bool,
) -> None:
    """Try a feature's rollout on made-up traffic: how many ramps complete or pause, when, at what harm.

    Each step gets its share of --rps. The same seed gives the same ramps.
    """
    settings = settings_from(config)
    chosen = feature_named(settings, feature)
    traffic = Traffic(rps, error_rate, slow_share, constant=constant)
    outcomes = [
        ramp(chosen, traffic, seed=f"{seed}/{number}", hours=hours, window_s=settings.window_s)
        for number in range(ramps)
    ]
    told = _told(chosen, traffic, outcomes) | {"seed": seed, "hours": hours}
    if as_json:
        print_json(told)
    else:
        _print(told)


def _told(feature: RolloutFeature, traffic: Traffic, outcomes: Sequence[RampOutcome]) -> dict[str, Any]:
    breached = traffic.error_rate > feature.slo_error_rate_threshold or traffic.slow_share > SLOW_SHARE_LIMIT
    each = [outcome.as_dict() for outcome in outcomes]
    completed = [one["complete_after_s"] for one in each if one["completed"]]
    paused = [one for one in each if one["paused_after_s"] is not None]
    return {
        "feature": feature.name,
        "policy": feature.policy,
        "rps": traffic.sends_per_s,
        "constant": traffic.constant,
        "error_rate": traffic.error_rate,
        "slow_share": traffic.slow_share,
        "breached": breached,
        "ramps": len(outcomes),
        "completed": len(completed),
        "paused": len(paused),
        "paused_falsely": 0 if breached else len(paused),
        "completed_although_breached": len(completed) if breached else 0,
        "unfinished": len(outcomes) - len(completed) - len(paused),
        "pause_reasons": dict(Counter(one["pause_reason"] for one in paused)),
        "complete_after_s": _median(completed),
        "paused_after_s": _median([one["paused_after_s"] for one in paused]),
        "sends": mean(one["sends"] for one in each),
        "failed_sends": mean(one["failed_sends"] for one in each),
        "failed_sends_until_pause": mean(one["failed_sends"] for one in paused) if paused else None,
    }


def _median(lengths_s: Sequence[float]) -> float | None:
    return median(lengths_s) if lengths_s else None


def _print(told: dict[str, Any]) -> None:
    kind = "in breach" if told["breached"] else "healthy"
    say(
        f"{told['ramps']} ramps of {told['feature']} (policy {told['policy']}, seed {told['seed']}, at most "
        f"{duration_text(told['hours'] * 3600)}), {told['rps']:g} sends/s, {share_text(told['error_rate'])} "
        f"failed, {share_text(told['slow_share'])} slow: {kind}"
    )
    print_table(
        ("outcome", "ramps", "median time"),
        [
            ("completed", told["completed"], _time(told["complete_after_s"])),
            ("paused", told["paused"], _time(told["paused_after_s"])),
            ("of these falsely", told["paused_falsely"], ""),
            ("neither in that time", told["unfinished"], ""),
        ],
    )
    until = told["failed_sends_until_pause"]
    say(
        f"A ramp sent {told['sends']:,.0f} times on average, {count_text(told['failed_sends'])} failed"
        + ("." if until is None else f"; {count_text(until)} before a pause.")
    )


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else duration_text(seconds)
