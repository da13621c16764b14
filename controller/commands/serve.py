"""`rollout serve`: a sender by itself; the adapter's routes and metrics, and no controller."""

import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import click
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from controller.commands.common import config_option, settings_from
from controller.config.settings import ControllerSettings
from controller.daemon.systemd import notify
from controller.journal.sinks import set_up_logging
from controller.shared.api_tokens import Tokens
from controller.shared.console import examples, fail
from controller.shared.value_readers import read_address
from controller.web.guard.connections import ListenError, listen_on, server_config
from controller.web.guard.limits import guarded

_GRACE_S = 35
"""A send under way may take its whole deadline (ROLLOUT_SEND_DEADLINE_S, 30 s) before the process ends."""


@click.command(epilog=examples("rollout serve --config rollout.toml --listen 127.0.0.1:8004"))
@config_option
@click.option(
    "--listen",
    envvar="ROLLOUT_SENDER_LISTEN",
    default="127.0.0.1:8004",
    show_default=True,
    help="HOST:PORT of the routes and of /metrics, which Prometheus scrapes as rollout-sender.",
)
def serve(config: Path | None, listen: str) -> None:
    """Serve POST /actions/outlook.send and the sign-in behind the same flags, without deciding anything."""
    from controller.cli import tell_adapter  # noqa: PLC0415 - only here the adapter is embedded

    settings = settings_from(config)
    set_up_logging()
    tell_adapter(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    try:
        listening = listen_on(*read_address(listen))
        server = uvicorn.Server(server_config(sender_app(settings), settings, grace_s=_GRACE_S))
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises the signal again when it has ended
            server.run(sockets=[listening])
    except ListenError as error:
        fail(str(error))
    except ValueError as error:
        fail(f"{listen}: {error}")


def sender_app(settings: ControllerSettings) -> Starlette:
    """Yield the application. Raises ValueError where the adapter's settings cannot be used."""
    from controller.cli import adapter_routes, start_adapter  # noqa: PLC0415 - as above

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await start_adapter()
        notify("READY=1")
        yield
        notify("STOPPING=1")

    own = [Route("/healthz", _healthz), Route("/metrics", _metrics)]
    return Starlette(
        routes=[*own, *adapter_routes(Tokens.parse(settings.api_token).caller)],
        lifespan=lifespan,
        middleware=[guarded(settings)],
    )


async def _healthz(_: Request) -> Response:
    return PlainTextResponse("ok\n")


def _metrics(_: Request) -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
