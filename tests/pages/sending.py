"""Draws the tables of docs/sending.md from the code. Usage: python tests/pages/sending.py"""

from collections.abc import Iterable
from pathlib import Path

from adapter.errors import FAILURES, REFUSALS, Code
from adapter.providers.outlook_errors import GRAPH_NAMES, GRAPH_STATUSES, MS_CODES
from adapter.providers.provider import RetryAction

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sending.md"

FOLLOWS = {
    RetryAction.FAIL: "",
    RetryAction.REFRESH: "once more with a new token",
    RetryAction.WAIT: "once more after the wait",
    RetryAction.UNKNOWN: "",
}


def drawn(text: str) -> str:
    """Return the page with its tables as the code has them now."""
    tried = [code for name, code in {**MS_CODES, **FAILURES}.items() if name not in REFUSALS]
    for name, table in (
        ("refusals", _codes(REFUSALS.values())),
        ("failures", _codes(tried)),
        ("graph", _graph()),
    ):
        before, _, rest = text.partition(f"<!-- {name}: begin -->\n")
        _, ended, after = rest.partition(f"<!-- {name}: end -->")
        if not ended:
            raise ValueError(f"docs/sending.md has no place for {name}")
        text = f"{before}<!-- {name}: begin -->\n{table}\n{ended}{after}"
    return text


def _codes(codes: Iterable[Code]) -> str:
    rows = [f"| `{code.name}` | {code.source} | {code.http} | {code.sentence} |" for code in codes]
    return "\n".join(["| code | source | our HTTP | |", "|---|---|---:|---|", *rows])


def _graph() -> str:
    statuses: dict[str, list[int]] = {}
    for status, (code, _) in GRAPH_STATUSES.items():
        statuses.setdefault(code, []).append(status)
    rows = [
        f"| {', '.join(f'`{name}`' for name in names.split())} | "
        f"{', '.join(map(str, statuses.get(code, [])))} | `{code}` | {FOLLOWS[then]} |"
        for code, (then, names) in GRAPH_NAMES.items()
    ]
    return "\n".join(["| Graph's code | or status | becomes | then |", "|---|---|---|---|", *rows])


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
