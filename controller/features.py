"""The features that are rolled out: the built-in ones, and those of a TOML file, each checked."""

import dataclasses
import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from controller.contract import format_percent
from controller.decision.model import DatedFreeze, RolloutFeature, WeeklyFreeze

__all__ = [
    "ROLLOUT_FEATURES",
    "ConfigError",
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
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])\Z")


class ConfigError(ValueError):
    """A mistake in the configuration, with the file, the line and what to write instead."""


class _FieldError(ValueError):
    """A mistake at one key; the file and the line are added by who knows them."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def load_features(path: Path | None) -> dict[str, RolloutFeature]:
    """Read the features of a TOML file; without one, or when it names none, the built-in features.

    Raises ConfigError with the line of the first mistake.
    """
    if path is None:
        return dict(ROLLOUT_FEATURES)
    text, document = read_toml(path)
    return parse_features(document.get("features", {}), text=text, source=str(path))


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """Return a TOML file's text and values; raises ConfigError where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path given") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error


def parse_features(tables: Any, *, text: str = "", source: str = "features") -> dict[str, RolloutFeature]:
    """Make features of the tables below `features`; what one leaves out is as built in, or the default."""
    if not isinstance(tables, Mapping):
        raise ConfigError(f"{source}: features must be tables, as in [features.microsoft]")
    features: dict[str, RolloutFeature] = {}
    taken: dict[tuple[str, str], str] = {}
    for name, table in tables.items():
        try:
            features[name] = _feature(name, table)
            _refuse_overlap(features[name], taken)
        except _FieldError as mistake:
            line = line_of(text, f"features.{name}", mistake.key)
            raise ConfigError(f"{source}:{line}: [features.{name}] {mistake}") from mistake
    return features or dict(ROLLOUT_FEATURES)


def line_of(text: str, table: str, key: str) -> int:
    """Return the line (from 1) of a key in a table, of the table's header if the key has none, else 1."""
    header, found = 1, False
    plain = [part.strip().strip("\"'") for part in table.split(".")]
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith("["):
            name = stripped.strip("[]").split("#")[0].strip("] ")
            found = [part.strip().strip("\"'") for part in name.split(".")] == plain
            header = number if found else header
        elif found and key and re.match(rf"[\"']?{re.escape(key)}[\"']?\s*=", stripped):
            return number
    return header


_ONLY_HOLDS = frozenset({"initial_percent", "freezes", "hold_on_alert", "pause_on_alert", "longest_hold_s"})
"""What may change during a ramp without making its evidence worthless."""


def no_feature(name: str, known: Iterable[str]) -> str:
    """Say that there is no such feature, and name the one that was probably meant."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"
    return f"there is no feature {name!r}; {hint}"


def config_hash(feature: RolloutFeature) -> str:
    """Name what the evidence of a ramp was weighed by in 16 hex digits; another value is another ramp."""
    deciding = {key: value for key, value in dataclasses.asdict(feature).items() if key not in _ONLY_HOLDS}
    canonical = json.dumps(deciding, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _feature(name: str, table: Any) -> RolloutFeature:
    if not _NAME.match(name):
        raise _FieldError("", "a feature's name has 1 to 64 of a-z, 0-9, '-' and '_'")
    if not isinstance(table, Mapping):
        raise _FieldError("", "must be a table")
    known = {field.name for field in dataclasses.fields(RolloutFeature)} - {"name"}
    for key in table:
        if key not in known:
            raise _FieldError(key, f"unknown key '{key}'; known are {', '.join(sorted(known))}")
    base = ROLLOUT_FEATURES.get(name)
    given = {key: _READERS[key](key, value) for key, value in table.items()}
    if base is None and not {"provider", "action"} <= given.keys():
        raise _FieldError(
            "", 'needs provider and action, as in provider = "microsoft", action = "outlook.send"'
        )
    feature = dataclasses.replace(base, **given) if base else RolloutFeature(name=name, **given)
    _check(feature)
    return feature


def _refuse_overlap(feature: RolloutFeature, taken: dict[tuple[str, str], str]) -> None:
    """Refuse what another feature measures already; `taken` has the features by their provider and action."""
    other = taken.setdefault((feature.provider, feature.action), feature.name)
    if other != feature.name:
        raise _FieldError(
            "action",
            f"overlaps with [features.{other}]: both measure {feature.provider} {feature.action}, "
            "so neither could be judged; give one of them another action",
        )


def _check(feature: RolloutFeature) -> None:
    """Refuse values that are impossible together or alone; raises _FieldError with the key."""
    steps = feature.steps
    if list(steps) != sorted(set(steps)) or not steps or steps[0] <= 0:
        raise _FieldError("steps", "steps must rise, as in [1, 5, 10, 25, 50, 100]")
    if feature.initial_percent > steps[-1]:
        raise _FieldError("initial_percent", "initial_percent lies above the last step")
    if feature.margin * feature.slo_error_rate_threshold >= 1:
        raise _FieldError("slo_error_rate_threshold", "margin x limit must stay below 1")
    for percent in feature.approval_steps:
        if percent not in steps:
            raise _FieldError("approval_steps", f"{format_percent(percent)} is not one of the steps")


def _text(pattern: str, example: str) -> Callable[[str, Any], str]:
    def read(key: str, value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise _FieldError(key, f'{key} = {value!r} cannot be used; write it as in {key} = "{example}"')
        return value

    return read


def _one_of(*choices: str) -> Callable[[str, Any], str]:
    def read(key: str, value: Any) -> str:
        if value not in choices:
            raise _FieldError(key, f"{key} = {value!r} is not one of {', '.join(choices)}")
        return str(value)

    return read


def _number(low: float, high: float, unit: str) -> Callable[[str, Any], float]:
    def read(key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise _FieldError(
                key, f"{key} = {value!r} must be a number from {low:g} to {high:g} {unit}".rstrip()
            )
        return float(value)

    return read


def _percent(key: str, value: Any) -> float:
    percent = _number(0, 100, "%")(key, value)
    if abs(percent * 1000 - round(percent * 1000)) > 1e-6:
        raise _FieldError(key, f"{key}: {value!r} has more than three decimals")
    return percent


def _percents(key: str, value: Any) -> tuple[float, ...]:
    if not isinstance(value, list):
        raise _FieldError(key, f"{key} = {value!r} must be a list of percentages")
    return tuple(_percent(key, percent) for percent in value)


def _boolean(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _FieldError(key, f"{key} = {value!r} must be true or false")
    return value


def _count(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _FieldError(key, f"{key} = {value!r} must be a whole number from 1")
    return value


def _freezes(key: str, value: Any) -> tuple[WeeklyFreeze | DatedFreeze, ...]:
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        raise _FieldError(key, "freezes must be a list of tables")
    return tuple(_dated(key, entry) if "start" in entry else _weekly(key, entry) for entry in value)


def _dated(key: str, entry: Mapping[str, Any]) -> DatedFreeze:
    start, end = entry.get("start"), entry.get("end")
    if not (isinstance(start, datetime) and isinstance(end, datetime) and start.tzinfo and end.tzinfo):
        raise _FieldError(
            key, "a dated freeze needs start and end with an offset, as in 2026-12-24T00:00:00Z"
        )
    if end <= start or entry.keys() - {"start", "end", "name"}:
        raise _FieldError(key, "a dated freeze has start, a later end, and perhaps a name")
    return DatedFreeze(start.timestamp(), end.timestamp(), str(entry.get("name", "dated")))


def _weekly(key: str, entry: Mapping[str, Any]) -> WeeklyFreeze:
    days = entry.get("weekdays", [])
    times = [_CLOCK.match(str(entry.get(end, ""))) for end in ("from", "to")]
    zone = str(entry.get("time_zone", "UTC"))
    if not isinstance(days, list) or not days or not set(days) <= set(_WEEKDAYS) or not all(times):
        example = 'weekdays = ["fri"], from = "16:00", to = "24:00", time_zone = "Europe/Berlin"'
        raise _FieldError(key, f"a weekly freeze needs {example}")
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise _FieldError(key, f"time zone {zone!r} is not known here") from error
    start_s, end_s = (int(time[1]) * 3600 + int(time[2]) * 60 for time in times if time)
    if end_s <= start_s:
        raise _FieldError(key, "a weekly freeze ends later on the same day; use two for a night")
    weekdays = tuple(sorted(_WEEKDAYS.index(day) for day in days))
    return WeeklyFreeze(weekdays, start_s, end_s, zone, str(entry.get("name", "weekly")))


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "provider": _text(r"[a-z0-9_]{1,64}", "microsoft"),
    "action": _text(r"[a-z0-9_]+(\.[a-z0-9_]+)+", "outlook.send"),
    "initial_percent": _percent,
    "slo_error_rate_threshold": _number(0.000001, 0.4, "(0.01 is 1 %)"),
    "slo_latency_p95_ms": _number(1, 600_000, "ms"),
    "steps": _percents,
    "bake_s": _number(0, 30 * 86_400, "s"),
    "policy": _one_of("sequential", "threshold"),
    "on_breach": _one_of("pause", "step_back"),
    "salt": _text(r".{1,256}", "microsoft"),
    "max_failed_sends_per_step": _count,
    "approval_steps": _percents,
    "freezes": _freezes,
    "hold_on_alert": _boolean,
    "pause_on_alert": _boolean,
    "longest_hold_s": _number(1, 365 * 86_400, "s"),
    "alpha": _number(0.0001, 0.5, ""),
    "step_up_error": _number(0.0001, 0.5, ""),
    "margin": _number(1, 10, "times the limit"),
    "longest_ramp_s": _number(60, 365 * 86_400, "s"),
}
