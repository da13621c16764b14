"""Borders to promtool: documents for `promtool test rules`, running it, and what it complained about."""

import json
import math
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.alertcheck.cases.synthetic_series import Samples, Series

_COMPLAINT = re.compile(
    r"^ +(?:alertname: (?P<alert>[^,]+)|expr: (?P<expr>\".*\")), *time: (?P<time>[0-9a-z]+),? *$"
)
_PART = re.compile(r"([0-9]+)(ms|[ywdhms])")
_PART_MS = {
    "y": 31_536_000_000,
    "w": 604_800_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
_OLDEST_OPEN = (3, 0)
_TIMEOUT_S = 120


class PromtoolError(Exception):
    """promtool could not run a test at all; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """One expectation that did not hold: the alert or the expression, when, and what was there."""

    subject: str
    at_ms: int
    got: str


def input_series(samples: Samples) -> list[dict[str, str]]:
    """Return samples as promtool takes them."""
    return [{"series": _selector(one), "values": _values(one.values)} for one in samples.series]


def _selector(series: Series) -> str:
    labels = ",".join(f"{label}={json.dumps(value)}" for label, value in series.labels.items())
    return f"{series.name}{{{labels}}}"


def _values(values: Sequence[float | None]) -> str:
    """Write values; the first that is gone after one that was there is marked stale."""
    texts, there = list[str](), False
    for value in values:
        if value is None:
            texts.append("stale" if there else "_")
            there = False
        elif math.isnan(value):
            texts.append("_")
        else:
            texts.append(repr(value))
            there = True
    return " ".join(texts)


def run(document: Mapping[str, Any], promtool: str) -> list[Complaint]:
    """Run one document; raises PromtoolError when promtool refuses the rules or the test itself."""
    with tempfile.TemporaryDirectory(prefix="rollout-promtool-") as folder:
        path = Path(folder) / "test.yml"
        path.write_text(json.dumps(document), encoding="utf-8")
        done = subprocess.run(
            [promtool, "test", "rules", str(path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    if done.returncode == 0:
        return []
    complaints = list(_complaints((done.stdout + done.stderr).splitlines()))
    if not complaints:
        raise PromtoolError(" ".join((done.stdout + done.stderr).split()))
    return complaints


def _complaints(lines: Sequence[str]) -> list[Complaint]:
    found: list[Complaint] = []
    for line in lines:
        match = _COMPLAINT.match(line)
        if match:
            subject = match["alert"] or json.loads(match["expr"])
            found.append(Complaint(subject, _milliseconds(match["time"]), ""))
        elif found:
            last = found[-1]
            found[-1] = Complaint(last.subject, last.at_ms, f"{last.got} {line.strip()}".strip())
    return found


def _milliseconds(text: str) -> int:
    return sum(int(count) * _PART_MS[unit] for count, unit in _PART.findall(text))


def ranges_are_closed(promtool: str) -> bool:
    """Whether a range holds a sample right at its older end, as before Prometheus 3."""
    done = subprocess.run([promtool, "--version"], capture_output=True, text=True, check=False, timeout=30)
    match = re.search(r"version ([0-9]+)\.([0-9]+)", done.stdout + done.stderr)
    return match is None or (int(match[1]), int(match[2])) < _OLDEST_OPEN
