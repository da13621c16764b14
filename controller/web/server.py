"""The daemon's HTTP face: health, metrics, status page, API, events, OFREP, and what is embedded."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute

from controller.journal.stream import BLOCK_S, Streams
from controller.notify.delivery import Notifier
from controller.shared.openapi import TEXT, Operation, ResponseSpec, operations_of
from controller.shared.redis_pool import open_async_redis
from controller.shared.tasks import end
from controller.store.flag_store import StoreError
from controller.web.alertmanager import Alerts
from controller.web.api import Api
from controller.web.context import ServerContext
from controller.web.events import Hub
from controller.web.guard.limits import guarded
from controller.web.json_io import tagged, to_json
from controller.web.ofrep import Ofrep
from controller.web.openapi import document
from controller.web.page.routes import StatusPage
from controller.web.problems import ProblemError, on_crash, on_http_exception, on_problem, on_store_error
from controller.web.readiness import Readiness
from controller.web.replies import Replies
from controller.web.runbooks import Runbooks

_REDIS_TIMEOUT_S = 2.0


def build_app(context: ServerContext, routes: Sequence[BaseRoute] = ()) -> Starlette:
    """Yield the application that the daemon serves.

    `routes` are embedded as they are, and stand in the document as they describe themselves.
    """
    settings = context.settings()
    client = open_async_redis(settings.redis_url, _REDIS_TIMEOUT_S, blocks_s=BLOCK_S)
    streams = Streams(client)
    readiness = Readiness(context, streams)
    hub = Hub(context, streams, readiness)
    replies = Replies(client)
    api = Api(context, streams, replies)
    receivers = () if context.dry_run else settings.notify
    notifiers = [Notifier(one, client, lambda: context.features, context.mailer) for one in receivers]
    shown = StatusPage(context, streams, api, readiness)
    operations = [
        *_basics(),
        *readiness.operations,
        *api.operations,
        *Alerts(context, replies).operations,
        *hub.operations,
        *Runbooks(context).operations,
        *(Ofrep(context, context.gate).operations if context.gate else ()),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await context.on_start()
        running = [asyncio.create_task(work) for work in (hub.run(), *(one.run() for one in notifiers))]
        try:
            yield
        finally:
            await end(running)
            await shown.aclose()
            await readiness.aclose()
            await client.aclose()

    described = _with_document(operations, routes)
    app = Starlette(
        routes=[*(operation.route for operation in described), *shown.routes, *routes],
        lifespan=lifespan,
        middleware=[guarded(settings)],
        exception_handlers={
            ProblemError: on_problem,
            StoreError: on_store_error,
            HTTPException: on_http_exception,
            Exception: on_crash,
        },
    )
    app.state.operations = described
    return app


def _with_document(operations: list[Operation], embedded: Sequence[BaseRoute]) -> list[Operation]:
    """Add the operation that gives the document of all of them, itself included."""

    async def openapi(request: Request) -> Response:
        return tagged(request, body, "application/json")

    json_document = {200: ResponseSpec("this document", {"type": "object"})}
    about = Operation(
        "GET", "/openapi.json", openapi, "What is served, as OpenAPI 3.1.", "health", json_document
    )
    body = to_json(document([*operations, about, *operations_of(embedded)]))
    return [*operations, about]


def _basics() -> list[Operation]:
    alive = {200: ResponseSpec("`ok`", TEXT, "text/plain")}
    exposition = {200: ResponseSpec("Prometheus's text format", TEXT, "text/plain")}
    return [
        Operation("GET", "/healthz", _healthz, "Whether the process is alive.", "health", alive),
        Operation("GET", "/metrics", _metrics, "The daemon's own metrics.", "health", exposition),
    ]


async def _healthz(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _metrics(_: Request) -> Response:
    body = await asyncio.to_thread(generate_latest)
    return Response(body, media_type=CONTENT_TYPE_LATEST)
