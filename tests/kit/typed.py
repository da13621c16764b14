"""Commands as somebody types them: read by the real command line, and not done."""

import contextlib
import re
import shlex
from pathlib import Path

import click

from controller import cli

_FILES = ("a.html", "body.html", "body.txt", "hello.txt", "logo.png")
_ENDS = {"|", "||", "&", "&&", ";", ">", "<", ">>", "(", ")", "2>"}


def words_of(line: str) -> list[str]:
    """Return the words after `rollout`, up to where the shell or an explanation goes on."""
    command = re.split(r"  +|[ ]#", line.strip())[0].replace("\\|", "|")
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = []
    for word in lexer:
        if word in _ENDS:
            break
        words.append(word)
    return words[1:]


def read(words: list[str], folder: Path) -> None:
    """Read the words after `rollout`; raises click.UsageError for what cannot be typed so."""
    command: click.Command | None = cli.rollout
    context = click.Context(cli.rollout)
    while isinstance(command, click.Group):
        if not words:
            return
        command, words = command.get_command(context, words[0]), words[1:]
    if command is None:
        raise click.UsageError("there is no such command")
    with contextlib.chdir(folder):
        for name in _FILES:
            Path(name).touch()
        with contextlib.suppress(click.exceptions.Exit):
            command.make_context("rollout", words).close()
