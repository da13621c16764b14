"""Where the benchmarks' figures go: one section each in docs/benchmarks.md, between its marks."""

import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"

HEADER = """# Benchmarks

`make bench` measures all of this again and writes it here. Everything is measured side by side in one run on
one machine; ratios mean something elsewhere too, absolute times do not.
"""


def write_section(name: str, body: str) -> None:
    """Put a section in the place of the one that stands between its marks, or at the end."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else HEADER
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    section = f"{begin}\n{body.strip()}\n{end}"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    stands = pattern.search(text)
    text = pattern.sub(lambda _: section, text) if stands else f"{text.rstrip()}\n\n{section}\n"
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")


def machine() -> str:
    """Say when and on what the figures were measured."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    day = time.strftime("%Y-%m-%d", time.gmtime())
    python = f"Python {platform.python_version()}"
    return f"Measured on {day}: {os.cpu_count()} cores of {cpu}, {platform.system()}, {python}."


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table in Markdown; the first column is text, the others are numbers."""
    marks = ["---", *["---:"] * (len(headers) - 1)]
    return "\n".join(f"| {' | '.join(str(cell) for cell in row)} |" for row in [headers, marks, *rows])


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
