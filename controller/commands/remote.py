"""`--server`: the same command through a daemon's API instead of Redis."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from controller.client import Client, ClientError
from controller.console import NO, UNREACHABLE, USAGE, fail

server_option = click.option(
    "--server",
    envvar="ROLLOUT_SERVER",
    metavar="URL",
    help="Ask this daemon's API instead of Redis; ROLLOUT_API_TOKEN is the token.",
)


@contextmanager
def daemon_at(server: str) -> Iterator[Client]:
    """Open a client; what the daemon refuses ends the command with one line and the fitting exit code."""
    try:
        with Client(server, os.environ.get("ROLLOUT_API_TOKEN", "")) as client:
            yield client
    except ClientError as error:
        unreachable = error.status in {0, 503}
        usage = error.status in {400, 401, 403, 404, 422}
        fail(str(error), UNREACHABLE if unreachable else USAGE if usage else NO)
