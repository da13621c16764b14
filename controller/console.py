"""What every command prints with: JSON, plain tables, and one-line errors with an exit code."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import click

DONE, NO, USAGE, UNREACHABLE = 0, 1, 2, 3
"""Exit codes: done; a check failed or the answer is no; usage or configuration; a server is out of reach."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class CliError(click.ClickException):
    """Ends the command with one line on stderr and an exit code."""

    def __init__(self, message: str, exit_code: int = USAGE) -> None:
        super().__init__(" ".join(message.split()))
        vars(self)["exit_code"] = exit_code

    def show(self, file: Any = None) -> None:
        click.echo(f"rollout: {self.message}", err=True, file=file)


def fail(message: str, exit_code: int = USAGE) -> NoReturn:
    raise CliError(message, exit_code)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, default=str))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print columns as wide as their widest cell; the last column is left to run on."""
    cells = [[str(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
        click.echo("  ".join([*padded, row[-1]]).rstrip())
