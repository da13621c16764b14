"""Writes the page of completion evidence, and its pictures, from a live validation."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from controller.alertcheck.result import Result, failures
from controller.rules.model import RuleFile

PAGE = "PHASE-1-COMPLETION.md"
PICTURES = "evidence"
_TEXT = Path(__file__).parent / "completion.md"


def write_completion(
    folder: Path,
    drawings: Mapping[str, str],
    results: Sequence[Result],
    files: Sequence[RuleFile],
    *,
    backend: str,
    seconds: float,
) -> None:
    """Write the page into a folder, and the pictures below it; raises OSError where that cannot be done."""
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
    page = Template(_TEXT.read_text(encoding="utf-8")).substitute(words)
    (folder / PAGE).write_text(page, encoding="utf-8")


def _rows(results: Sequence[Result]) -> list[str]:
    rows = [
        f"| `{result.rule}` | {result.case} | {'passed' if result.passed else f'FAILED: {result.detail}'} |"
        for result in results
    ]
    return ["| rule | what was to be seen | result |", "|---|---|---|", *rows]
