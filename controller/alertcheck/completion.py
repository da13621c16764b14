"""Writes the pages of completion evidence, one for each phase, and their pictures, from a live validation."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from controller.alertcheck.result import Result, failures
from controller.rules.model import RuleFile

PICTURES = "evidence"
TEXTS = Path(__file__).parent / "phases"


def write_completion(
    folder: Path,
    drawings: Mapping[str, str],
    results: Sequence[Result],
    files: Sequence[RuleFile],
    *,
    backend: str,
    seconds: float,
) -> None:
    """Write the pages into a folder, and the pictures below it; raises OSError where that cannot be done."""
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    for name, drawing in drawings.items():
        (folder / PICTURES / name).write_text(drawing, encoding="utf-8")
    words = {
        "backend": backend,
        "python": platform.python_version(),
        "passed": str(len(results) - len(failures(results))),
        "checks": str(len(results)),
        "seconds": f"{seconds:.0f}",
        "series": str(sum(len(file.recordings) for file in files)),
        "alerts": str(sum(len(file.alerts) for file in files)),
        "results": "\n".join(_rows(results)),
    }
    for text in sorted(TEXTS.glob("phase-*.md")):
        page = Template(text.read_text(encoding="utf-8")).substitute(words)
        (folder / page_of(text)).write_text(page, encoding="utf-8")


def page_of(text: Path) -> str:
    """Return the name of the page that a text becomes."""
    return f"{text.stem.upper()}-COMPLETION.md"


def _rows(results: Sequence[Result]) -> list[str]:
    rows = [
        f"| `{result.rule}` | {result.case} | {'passed' if result.passed else f'FAILED: {result.detail}'} |"
        for result in results
    ]
    return ["| rule | what was to be seen | result |", "|---|---|---|", *rows]
