"""What a validation found: one result per rule and case, printed as a table, as JSON and as JUnit XML."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring


@dataclass(frozen=True, slots=True)
class Result:
    """Whether one rule did in one case what it must."""

    rule: str
    case: str
    passed: bool
    detail: str = ""
    """What was seen instead, one line."""

    def as_dict(self) -> dict[str, str | bool]:
        """Return the fields by name, as JSON has them."""
        return asdict(self)


def failures(results: Iterable[Result]) -> tuple[Result, ...]:
    """Return the results that did not pass."""
    return tuple(result for result in results if not result.passed)


def junit_text(results: Sequence[Result], suite: str, seconds: float) -> str:
    """Write JUnit XML, as CI systems read it."""
    root = Element(
        "testsuite",
        name=suite,
        tests=str(len(results)),
        failures=str(len(failures(results))),
        time=f"{seconds:.3f}",
    )
    for result in results:
        case = SubElement(root, "testcase", classname=result.rule, name=result.case)
        if not result.passed:
            SubElement(case, "failure", message=result.detail or "failed")
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def write_junit(path: Path, results: Sequence[Result], suite: str, seconds: float) -> None:
    """Write results as a JUnit file, for a forge to show."""
    path.write_text(junit_text(results, suite, seconds), encoding="utf-8")
