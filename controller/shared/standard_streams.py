"""The program's input and outputs where they are closed, full, or in a locale without our characters."""

import errno
import io
import os
import sys
from typing import TextIO, cast

_STDOUT, _STDERR = 1, 2


class ClosedOutput(io.TextIOBase):
    """The output of a program that was started without one; writing to it fails, as to a full disk."""

    def write(self, _: str) -> int:
        """Raise OSError: the output was closed by the caller."""
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def open_standard_streams() -> None:
    """Make input and outputs usable whatever they are: closed ones keep their numbers from other files."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(descriptor)
    if sys.stdin is None:
        sys.stdin = io.StringIO()
    if sys.stdout is None:
        sys.stdout = cast("TextIO", ClosedOutput())
    if sys.stderr is None:
        sys.stderr = io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a locale without a character ends no command


def discard_output() -> None:
    """Send to nowhere what is still to be written, so that the end of the program does not fail on it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDOUT)
    os.close(nowhere)
