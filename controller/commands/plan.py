"""`rollout plan`: what the steps of a feature need and can see at a given traffic, before it starts."""

from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

import click

from controller.commands.common import config_option, feature_argument, feature_named, settings_from
from controller.config.settings import ControllerSettings
from controller.contract import format_percent
from controller.decision.feature import RolloutFeature
from controller.decision.telling.sentences import duration_text, share_text
from controller.shared.console import (
    NO,
    UNREACHABLE,
    Number,
    examples,
    fail,
    json_option,
    print_json,
    print_table,
    say,
)
from controller.whatif.forecast import USUAL_SHARE, Breach, Forecast, StepForecast, forecast
from controller.whatif.recorded import Recorded, RecordedError

GIVEN, LIVE = "given", "prometheus"
_MOST_RPS = 1e9
"""More than anybody sends."""


@click.command(epilog=examples("rollout plan microsoft --rps 5", "rollout plan microsoft --json"))
@feature_argument()
@click.option(
    "--rps", metavar="X", type=Number(0, _MOST_RPS), help="Sends per second of all users; else as measured."
)
@config_option
@json_option
def plan(feature: str, rps: float | None, config: Path | None, as_json: bool) -> None:
    """Estimate how long each step takes, the smallest breach it can see, and at what harm.

    A healthy feature is taken to fail at 0.3 x its limit. Without --rps the traffic is what Prometheus
    saw in the last hour, divided by the percentage of the users who are in.
    """
    settings = settings_from(config)
    chosen = feature_named(settings, feature)
    traffic = _live(settings, chosen) if rps is None else rps
    estimated = forecast(chosen, traffic, settings.window_s)
    if as_json:
        print_json(_as_dict(chosen, traffic, GIVEN if rps is not None else LIVE, estimated))
    else:
        _print(chosen, traffic, estimated)


def _live(settings: ControllerSettings, feature: RolloutFeature) -> float:
    """Measure the traffic of all users, or end with exit code 1 or 3 and say what to give instead."""
    source = Recorded(settings.prometheus_url, access=settings.access_to_prometheus, scope=settings.scope)
    try:
        sends_per_s, percent = source.sends_per_s(feature, settings.window_s)
    except RecordedError as error:
        fail(f"{error}; give the traffic with --rps, or check ROLLOUT_PROMETHEUS_URL", UNREACHABLE)
    if sends_per_s is None:
        fail(f"Prometheus recorded no sends of {feature.provider} {feature.action}; give --rps", NO)
    if percent == 0:
        fail(f"{feature.name} is at 0 %, so its traffic cannot be measured yet; give --rps", NO)
    return sends_per_s if percent is None else sends_per_s / percent * 100


def _as_dict(feature: RolloutFeature, traffic: float, source: str, estimated: Forecast) -> dict[str, Any]:
    limit = feature.slo_error_rate_threshold
    return {
        "feature": feature.name,
        "sends_per_s": traffic,
        "source": source,
        "assumed_error_rate": USUAL_SHARE * limit,
        "limit": limit,
        "steps": [_plain(asdict(step)) for step in estimated.steps],
        "blind_steps": [step.percent for step in estimated.steps if step.blind],
        "total_s": _finite(estimated.total_s),
        "without_first_step_s": _finite(estimated.without_first_s),
    }


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """Return null for a length that never ends, which JSON cannot hold."""
    return {
        key: _plain(one) if isinstance(one, dict) else _finite(one) if isinstance(one, float) else one
        for key, one in value.items()
    }


def _finite(number: float) -> float | None:
    return number if isfinite(number) else None


def _print(feature: RolloutFeature, traffic: float, estimated: Forecast) -> None:
    limit = feature.slo_error_rate_threshold
    say(
        f"{feature.name} at {traffic:g} sends/s of all users, healthy at {share_text(USUAL_SHARE * limit)} "
        f"failed sends (limit {share_text(limit)}):"
    )
    print_table(
        (
            "step",
            "sends/s",
            "lasts",
            "sends needed",
            "smallest breach seen",
            "failed until then",
            "10x seen after",
        ),
        [_row(step, limit, last=step is estimated.steps[-1]) for step in estimated.steps],
    )
    for sentence in _sentences(feature, estimated):
        say(sentence)


def _row(step: StepForecast, limit: float, *, last: bool) -> tuple[str, ...]:
    smallest = step.smallest
    return (
        f"{format_percent(step.percent)} %",
        f"{step.sends_per_s:.3g}",
        "stays" if last else _length(step.lasts_s),
        f"{step.sends_needed:,.0f}",
        "none"
        if smallest is None
        else f"{share_text(smallest.error_rate)} ({smallest.error_rate / limit:.1f}x)",
        "-" if smallest is None else f"{smallest.failed:,.0f}",
        _seen(step.tenfold),
    )


def _seen(breach: Breach | None) -> str:
    return "never" if breach is None else f"{duration_text(breach.after_s)}, {breach.failed:,.0f} failed"


def _length(seconds: float) -> str:
    return duration_text(seconds) if isfinite(seconds) else "forever"


def _sentences(feature: RolloutFeature, estimated: Forecast) -> list[str]:
    ends = isfinite(estimated.total_s)
    proven = share_text(feature.margin * feature.slo_error_rate_threshold)
    last, day = format_percent(feature.steps[-1]), duration_text(feature.longest_hold_s)
    said = [
        f"A healthy ramp takes about {_length(estimated.total_s)}." if ends else "No ramp would ever end."
    ]
    said.append(
        f"A step is taken once the rate is proven below {proven} ({feature.margin:g}x); a worse one that is "
        "too small to be seen in that time holds the step."
    )
    said.append(
        f"The first steps ask for less proof, the last ones for more: at {proven} a step exposes at most "
        f"{share_text(feature.step_up_error)} of the users by mistake, on average."
    )
    said.append(f"{last} % stays: its smallest breach is what shows within {day}.")
    said += _without_first(feature, estimated.total_s - estimated.without_first_s)
    blind = [f"{format_percent(step.percent)} %" for step in estimated.steps if step.blind]
    if blind:
        said.append(
            f"Blind at {', '.join(blind)}: at this traffic health is not proven there within "
            f"{duration_text(feature.longest_hold_s)}. Begin with a larger step, or raise the limit."
        )
    return said


def _without_first(feature: RolloutFeature, saved_s: float) -> list[str]:
    """Say what leaving out the first step is worth, where there is one to leave out and the ramp ends."""
    if not isfinite(saved_s) or len(feature.steps) < 3:
        return []
    first, second = (format_percent(step) for step in feature.steps[:2])
    saves = f"beginning at {second} % instead saves about {duration_text(saved_s)}."
    most = saved_s > 2 * feature.bake_s_at(feature.steps[0])
    return [f"Most waits at {first} %: {saves}" if most else f"Without the step of {first} %: {saves}"]
