"""What an alert's text must read, filled in by Python: the few template functions that the rules use."""

import math
import re
from collections.abc import Mapping

from controller.alertcheck.cases.oracle import SampleView, Vector

_FIELD = re.compile(
    r"{{\s*(?:\$labels\.(?P<label>\w+)|(?P<value>\$value)|query `(?P<query>[^`]+)` \| "
    r"first \| value)(?:\s*\|\s*(?P<format>[^}]+?))?\s*}}"
)
_PREFIXES = ("", "k", "M", "G", "T", "P")
_SMALL_PREFIXES = ("", "m", "u", "n", "p")


def filled(
    text: str, value: float, labels: Mapping[str, str], view: SampleView, recorded: Mapping[str, Vector]
) -> str:
    """Fill in a template; raises ValueError where it holds something that this does not know."""

    def field(match: re.Match[str]) -> str:
        if match["label"]:
            return labels.get(match["label"], "")
        number = value if match["value"] else recorded[match["query"].partition("{")[0]](view)[()]
        return _formatted(number, match["format"] or "")

    result = _FIELD.sub(field, text)
    if "{{" in result:
        raise ValueError(f"no one knows how to fill in: {result}")
    return result


def _formatted(number: float, form: str) -> str:
    match form:
        case "humanizePercentage":
            return f"{number * 100:.4g}%"
        case "humanizeDuration":
            return duration_text(number)
        case "humanize":
            return _humanized(number)
        case 'printf "%.3g"':
            return f"{number:.3g}"
    raise ValueError(f"no one knows the format {form!r}")


def duration_text(seconds: float) -> str:
    """Write seconds as humanizeDuration does: 1h 2m 3s, 4.5s, 62.5ms."""
    if abs(seconds) < 1:
        return _small(seconds, "s")
    whole = int(abs(seconds))
    days, hours, minutes, rest = whole // 86_400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    sign = "-" if seconds < 0 else ""
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {rest}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {rest}s"
    if minutes:
        return f"{sign}{minutes}m {rest}s"
    return f"{seconds:.4g}s"


def _small(number: float, unit: str) -> str:
    if number == 0 or math.isnan(number):
        return f"{number:.4g}{unit}"
    power = 0
    while abs(number) < 1 and power < len(_SMALL_PREFIXES) - 1:
        number *= 1000
        power += 1
    return f"{number:.4g}{_SMALL_PREFIXES[power]}{unit}"


def _humanized(number: float) -> str:
    if abs(number) < 1:
        return _small(number, "")
    power = 0
    while abs(number) >= 1000 and power < len(_PREFIXES) - 1:
        number /= 1000
        power += 1
    return f"{number:.4g}{_PREFIXES[power]}"
