"""The features that are rolled out: the built-in ones, and those of a TOML file, each checked."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from controller.contract import format_percent
from controller.decision.codec import encode
from controller.decision.feature import Links, RolloutFeature
from controller.decision.freeze import DatedFreeze, Freeze, WeeklyFreeze
from controller.shared.config_file import ConfigError, Table, probably, read_config_file
from controller.shared.value_readers import Reader, count, flag, http_url, number, one_of, text

__all__ = [
    "ROLLOUT_FEATURES",
    "RolloutFeature",
    "config_hash",
    "load_features",
    "no_feature",
    "parse_features",
]

ROLLOUT_FEATURES: dict[str, RolloutFeature] = {
    "google": RolloutFeature(name="google", provider="google", action="gmail.send"),
    "microsoft": RolloutFeature(name="microsoft", provider="microsoft", action="outlook.send"),
}

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?\Z")
_LABEL_VALUE = r"[^\x00-\x1f\x7f\ud800-\udfff]{1,256}"
"""What may be a label's value in Prometheus, in one line."""
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])\Z")


def load_features(path: Path | None) -> dict[str, RolloutFeature]:
    """Read the features of a TOML file; without one, or when it names none, the built-in features.

    Raises ConfigError with the line of the first mistake.
    """
    return parse_features(read_config_file(path).table("features")) if path else dict(ROLLOUT_FEATURES)


def parse_features(table: Table) -> dict[str, RolloutFeature]:
    """Make features of the tables below `features`; what one leaves out is as built in, or the default.

    Raises ConfigError with the line of the first mistake.
    """
    if not isinstance(table.values, Mapping):
        raise ConfigError(f"{table.source}: features must be tables, as in [features.microsoft]")
    features: dict[str, RolloutFeature] = {}
    taken: dict[tuple[str, str], str] = {}
    for name, values in table.values.items():
        own = Table(f"features.{name}", values, table.text, table.source)
        features[name] = _feature(name, own)
        _refuse_overlap(features[name], taken, own)
    for name, feature in features.items():
        if feature.reference and feature.reference not in features.keys() - {name}:
            own = Table(f"features.{name}", table.values[name], table.text, table.source)
            raise own.mistake("reference", f"must be another feature here, as in [features.{_other(name)}]")
        if feature.delta and not feature.reference:
            own = Table(f"features.{name}", table.values[name], table.text, table.source)
            raise own.mistake("delta", f'needs reference, as in reference = "{_other(name)}"')
    return features or dict(ROLLOUT_FEATURES)


def _other(name: str) -> str:
    return next(built_in for built_in in ROLLOUT_FEATURES if built_in != name)


_ONLY_HOLDS = frozenset(
    {
        "initial_percent",
        "freezes",
        "hold_on_alert",
        "pause_on_alert",
        "longest_hold_s",
        "links",
        "reference",
        "delta",
    }
)
"""What may change during a ramp without making its evidence worthless."""


def no_feature(name: str, known: Iterable[str]) -> str:
    """Say that there is no such feature, and name the one that was probably meant."""
    return f"there is no feature {name!r}; {probably(name, known)}"


def config_hash(feature: RolloutFeature) -> str:
    """Name what the evidence of a ramp was weighed by in 16 hex digits; another value is another ramp."""
    deciding = {key: value for key, value in encode(feature).items() if key not in _ONLY_HOLDS}
    canonical = json.dumps(deciding, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _feature(name: str, table: Table) -> RolloutFeature:
    if not _NAME.match(name):
        raise table.mistake("", "a feature's name has 1 to 64 of a-z, 0-9, '-' and '_'")
    given = table.read(_READERS)
    if "links" in given:
        given["links"] = Links(**table.inner("links").read(_LINKS))
    base = ROLLOUT_FEATURES.get(name)
    if base is None and not {"provider", "action"} <= given.keys():
        example = 'as in provider = "microsoft", action = "outlook.send"'
        raise table.mistake("", f"needs provider and action, {example}")
    feature = dataclasses.replace(base, **given) if base else RolloutFeature(name=name, **given)
    for key, reason in _impossible(feature):
        raise table.mistake(key, reason)
    return feature


def _refuse_overlap(feature: RolloutFeature, taken: dict[tuple[str, str], str], table: Table) -> None:
    """Refuse what another feature measures already; `taken` has the features by their provider and action."""
    other = taken.setdefault((feature.provider, feature.action), feature.name)
    if other != feature.name:
        raise table.mistake(
            "action",
            f"overlaps with [features.{other}]: both measure {feature.provider} {feature.action}, "
            "so neither could be judged; give one of them another action",
        )


def _impossible(feature: RolloutFeature) -> Iterator[tuple[str, str]]:
    """Name each key whose value is impossible beside the others, and why."""
    steps = feature.steps
    if list(steps) != sorted(set(steps)) or not steps or steps[0] <= 0:
        yield "steps", "steps must rise, as in [1, 5, 10, 25, 50, 100]"
    elif feature.initial_percent > steps[-1]:
        yield "initial_percent", "initial_percent is above the last step"
    if isinstance(feature.bake_s, tuple) and len(feature.bake_s) != len(steps):
        yield (
            "bake_s",
            f"has {len(feature.bake_s)} times for {len(steps)} steps; give one for each",
        )
    if feature.margin * feature.slo_error_rate_threshold >= 1:
        yield "slo_error_rate_threshold", "margin x limit must stay below 1"
    if feature.margin * (feature.slo_very_slow_threshold or 0.0) >= 1:
        yield "slo_very_slow_threshold", "margin x limit must stay below 1"
    for percent in feature.approval_steps:
        if percent not in steps:
            yield (
                "approval_steps",
                f"approval_steps has {format_percent(percent)}, which is not one of the steps",
            )


def _percent(value: Any) -> float:
    percent = number(0, 100, "%")(value)
    if abs(percent * 1000 - round(percent * 1000)) > 1e-6:
        raise ValueError("has more than three decimals")
    return percent


def _percents(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list):
        raise ValueError("must be a list of percentages")  # noqa: TRY004 - what a reader raises
    return tuple(_percent(percent) for percent in value)


def _bake_s(value: Any) -> float | tuple[float, ...]:
    """Read one bake time in seconds, or one for each step."""
    one = number(0, 30 * 86_400, "s")
    return tuple(one(each) for each in value) if isinstance(value, list) else one(value)


def _freezes(value: Any) -> tuple[Freeze, ...]:
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        raise ValueError("must be a list of tables")
    return tuple(_dated(entry) if "start" in entry else _weekly(entry) for entry in value)


def _dated(entry: Mapping[str, Any]) -> DatedFreeze:
    start, end = entry.get("start"), entry.get("end")
    if not (isinstance(start, datetime) and isinstance(end, datetime) and start.tzinfo and end.tzinfo):
        raise ValueError("has a dated freeze without start and end with an offset, as 2026-12-24T00:00:00Z")
    if end <= start or entry.keys() - {"start", "end", "name"}:
        raise ValueError("has a dated freeze with more or less than start, a later end, and perhaps a name")
    return DatedFreeze(start.timestamp(), end.timestamp(), str(entry.get("name", "dated")))


def _weekly(entry: Mapping[str, Any]) -> WeeklyFreeze:
    days = entry.get("weekdays", [])
    times = [_CLOCK.match(str(entry.get(end, ""))) for end in ("from", "to")]
    zone = str(entry.get("time_zone", "UTC"))
    if not isinstance(days, list) or not days or not set(days) <= set(_WEEKDAYS) or not all(times):
        example = 'weekdays = ["fri"], from = "16:00", to = "24:00", time_zone = "Europe/Berlin"'
        raise ValueError(f"has a weekly freeze that is not written as in {example}")
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"has the time zone {zone!r}, which is not known here") from error
    start_s, end_s = (int(time[1]) * 3600 + int(time[2]) * 60 for time in times if time)
    if end_s <= start_s:
        raise ValueError("has a weekly freeze that ends before it starts; use two for a night")
    weekdays = tuple(sorted(_WEEKDAYS.index(day) for day in days))
    return WeeklyFreeze(weekdays, start_s, end_s, zone, str(entry.get("name", "weekly")))


_LINKS = {field.name: http_url for field in dataclasses.fields(Links)}
_READERS: dict[str, Reader[Any]] = {
    "links": Reader(lambda value: value),
    "provider": text(_LABEL_VALUE, "aws-ses"),
    "action": text(_LABEL_VALUE, "outlook.send"),
    "initial_percent": Reader(_percent),
    "slo_error_rate_threshold": number(0.000001, 0.4, "(0.01 is 1 %)"),
    "slo_latency_p95_ms": number(1, 600_000, "ms"),
    "slo_very_slow_threshold": number(0.000001, 0.4, "(0.01 is 1 %)"),
    "steps": Reader(_percents),
    "bake_s": Reader(_bake_s),
    "policy": one_of("sequential", "threshold"),
    "on_breach": one_of("pause", "step_back"),
    "salt": text(r".{1,256}", "microsoft"),
    "max_failed_sends_per_step": count(1, 10**12),
    "approval_steps": Reader(_percents),
    "freezes": Reader(_freezes),
    "hold_on_alert": flag,
    "pause_on_alert": flag,
    "longest_hold_s": number(1, 365 * 86_400, "s"),
    "alpha": number(0.0001, 0.5),
    "step_up_error": number(0.0001, 0.5),
    "margin": number(1, 10, "times the limit"),
    "longest_ramp_s": number(60, 365 * 86_400, "s"),
    "blip_s": number(0, 30, "s"),
    "reference": text(_NAME.pattern.removesuffix(r"\Z"), "google"),
    "delta": number(1, 100, "times the reference's rate"),
}
