"""`--server`: the same command through a daemon's API instead of Redis."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from controller.commands.common import http_url
from controller.config.settings import shown
from controller.shared.console import NO, UNREACHABLE, USAGE, fail
from controller.shared.environment import Environment

if TYPE_CHECKING:
    from controller.client import Client

server_option = click.option(
    "--server",
    envvar="ROLLOUT_SERVER",
    metavar="URL",
    callback=http_url,
    help="Ask this daemon's API instead of Redis; ROLLOUT_API_TOKEN is the token.",
)


_CODES = {503: UNREACHABLE} | dict.fromkeys((400, 401, 403, 404, 422), USAGE)
_ADVICE = dict.fromkeys((401, 403), "; put yours into ROLLOUT_API_TOKEN")


@contextmanager
def daemon_at(server: str) -> "Iterator[Client]":
    """Open a client; what the daemon refuses ends the command with one line and the fitting exit code."""
    from controller.client import Client, ClientError  # noqa: PLC0415 - httpx is slow to import

    try:
        with Client(server, Environment().secret("ROLLOUT_API_TOKEN")) as client:
            yield client
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        fail(f"{shown(server)} answers otherwise than this API ({type(error).__name__}); check --server", NO)
    except ClientError as error:
        if error.status == 0:
            fail(f"{error}; check --server or ROLLOUT_SERVER", UNREACHABLE)
        fail(str(error) + _ADVICE.get(error.status, ""), _CODES.get(error.status, NO))
