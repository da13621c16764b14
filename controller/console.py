"""What every command prints with: JSON, plain tables, and one-line errors with an exit code."""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import click

DONE, NO, USAGE, UNREACHABLE = 0, 1, 2, 3
"""Exit codes: done; a check failed or the answer is no; usage or configuration; a server is out of reach."""

_NARROWEST = 24
"""The last column of a table gets at least so much room."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class CliError(click.ClickException):
    """Ends the command with one line on stderr and an exit code."""

    def __init__(self, message: str, exit_code: int = USAGE) -> None:
        super().__init__(" ".join(message.split()))
        vars(self)["exit_code"] = exit_code

    def show(self, file: Any = None) -> None:
        click.echo(f"rollout: {self.message}", err=True, file=file)


def examples(*commands: str, codes: str = "") -> str:
    """Give the end of a help text: commands to copy, one on a line, and what the exit codes mean."""
    lines = ["\b", "Examples:", *(f"  {command}" for command in commands)]
    return "\n".join([*lines, "", f"Exit codes: {codes}." if codes else ""]).rstrip()


def fail(message: str, exit_code: int = USAGE) -> NoReturn:
    raise CliError(message, exit_code)


def json_text(value: Any) -> str:
    return json.dumps(value, indent=2, default=str)


def print_json(value: Any) -> None:
    click.echo(json_text(value))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print columns as wide as their widest cell; on a terminal the last one is broken to fit."""
    for line in table_lines(headers, rows, terminal_width()):
        click.echo(line)


def terminal_width() -> int | None:
    """Give the columns of the terminal; None where the output goes elsewhere and may be as wide as it is."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table_lines(headers: Sequence[str], rows: Iterable[Sequence[object]], width: int | None) -> list[str]:
    """Lay a table out; where little room is left for the last column, it goes on lines of its own."""
    cells = [[str(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    begin = sum(widths[:-1]) + 2 * (len(widths) - 1)
    lines = []
    for row in cells:
        padded = [cell.ljust(wide) for cell, wide in zip(row[:-1], widths[:-1], strict=True)]
        lines += _broken("  ".join(padded), row[-1], begin, width)
    return lines


def _broken(first: str, last: str, begin: int, width: int | None) -> list[str]:
    whole = f"{first}  {last}" if first else last
    if width is None or len(whole) <= width:
        return [whole.rstrip()]
    room = width - begin
    if room >= _NARROWEST:
        parts = textwrap.wrap(last, room) or [""]
        return [f"{first}  {parts[0]}".rstrip(), *(" " * begin + part for part in parts[1:])]
    return [first.rstrip(), *("    " + part for part in textwrap.wrap(last, max(width - 4, _NARROWEST)))]
