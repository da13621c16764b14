"""What every command prints with: JSON, plain tables, and one-line errors with an exit code."""

import json
import math
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, NoReturn

import click

from controller.shared.plain_text import escape_controls

DONE, NO, USAGE, UNREACHABLE = 0, 1, 2, 3
"""Exit codes: done; a check failed or the answer is no; usage or configuration; a server is out of reach."""
INTERRUPTED = 130
"""The exit code after Ctrl-C."""

_HOME, _TO_LINE_END, _TO_SCREEN_END = "\x1b[H", "\x1b[K", "\x1b[J"
_NARROWEST = 12
"""No column of a table is made narrower, however little room there is."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Number(click.FloatRange):
    """A finite number in a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert an option's text; the command ends with a usage error where it cannot be read."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


class CliError(click.ClickException):
    """Ends the command with one line on stderr and an exit code."""

    def __init__(self, message: str, exit_code: int = USAGE) -> None:
        super().__init__(" ".join(message.split()))
        vars(self)["exit_code"] = exit_code

    def show(self, file: Any = None) -> None:
        """Print the error as one line on stderr."""
        click.echo(f"rollout: {escape_controls(self.message)}", err=True, file=file)


def examples(*commands: str, codes: str = "") -> str:
    """Return the end of a help text: commands to copy, one on a line, and what the exit codes mean."""
    lines = ["\b", "Examples:", *(f"  {command}" for command in commands)]
    return "\n".join([*lines, "", f"Exit codes: {codes}." if codes else ""]).rstrip()


def fail(message: str, exit_code: int = USAGE) -> NoReturn:
    """End the command with one line on stderr and this exit code."""
    raise CliError(message, exit_code)


def say(text: str = "", *, err: bool = False) -> None:
    """Print lines; what somebody else put into them may not steer the terminal."""
    click.echo(escape_controls(text, keep="\n\t"), err=err)


def say_over(text: str) -> None:
    """Print over what the terminal shows, line by line, because clearing it first flickers."""
    lines = (f"{line}{_TO_LINE_END}\n" for line in escape_controls(text, keep="\n").split("\n"))
    click.echo(f"{_HOME}{''.join(lines)}{_TO_SCREEN_END}", nl=False, color=True)


def json_text(value: Any) -> str:
    """Return a value as JSON for people, indented."""
    return json.dumps(value, indent=2, default=str)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    say(json_text(value))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print columns as wide as their widest cell; on a terminal the widest ones are broken to fit."""
    for line in table_lines(headers, rows, terminal_width()):
        say(line)


def terminal_width() -> int | None:
    """Return the columns of the terminal; None where the output goes elsewhere and may be of any width."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table_lines(headers: Sequence[str], rows: Iterable[Sequence[object]], width: int | None) -> list[str]:
    """Lay a table out; where it is wider than `width`, the cells of its widest columns are broken."""
    cells = [[escape_controls(str(cell)) for cell in row] for row in (headers, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    if width is not None:
        widths = _fitted(widths, width - 2 * (len(widths) - 1))
    return [line for row in cells for line in _lines(row, widths)]


def _fitted(widths: list[int], room: int) -> list[int]:
    """Take from the widest column until all have room together."""
    fitted = list(widths)
    while sum(fitted) > room and max(fitted) > _NARROWEST:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def _lines(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    broken = [_broken(cell, wide) for cell, wide in zip(row, widths, strict=True)]
    return [
        "  ".join(part.ljust(wide) for part, wide in zip(parts, widths, strict=True)).rstrip()
        for parts in zip_longest(*broken, fillvalue="")
    ]


def _broken(cell: str, wide: int) -> list[str]:
    """Break a cell between words; a number keeps its per cent sign."""
    if len(cell) <= wide:
        return [cell]
    lines = textwrap.wrap(cell.replace(" %", "\N{NO-BREAK SPACE}%"), wide, break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]
