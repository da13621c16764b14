"""Draws the tables of docs/sending.md from the code. Usage: python tests/pages/sending.py"""

from collections.abc import Iterable
from pathlib import Path

from adapter.errors import FAILURES, REFUSALS, Code, not_linked_codes
from adapter.providers.closed_list import NotSent
from adapter.providers.gmail_codes import GOOGLE_CODES
from adapter.providers.gmail_codes import NOT_SENT as GMAIL_NOT_SENT
from adapter.providers.outlook_codes import MS_CODES, NOT_SENT
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
    own = {**MS_CODES, **GOOGLE_CODES}
    tried = [code for code in {**own, **FAILURES}.values() if code not in REFUSALS.values()]
    for name, table in (
        ("refusals", _codes([*REFUSALS.values(), *not_linked_codes(own.values())])),
        ("failures", _codes(tried)),
        ("graph", _closed_list("Graph's code", NOT_SENT)),
        ("gmail", _closed_list("Gmail's reason", GMAIL_NOT_SENT)),
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


def _closed_list(word: str, lines: Iterable[NotSent]) -> str:
    rows = [
        f"| {_quoted(line.names)} | {line.status or ''} | `{line.code}` | {FOLLOWS[line.then]} "
        f"| {line.because} |"
        for line in lines
    ]
    heads = f"| {word} | or status | becomes | then | why the mail was not sent |"
    return "\n".join([heads, "|---|---|---|---|---|", *rows])


def _quoted(names: str) -> str:
    return ", ".join(f"`{name}`" for name in names.split()) or "whatever it is"


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
