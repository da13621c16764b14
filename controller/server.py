"""The daemon's HTTP face: health, readiness, metrics, and whatever is embedded beside them."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from controller.tick import Report


class Health(Protocol):
    """What the server tells of the daemon."""

    report: Report

    def fresh(self, monotonic: float) -> bool:
        """Whether the last tick is recent."""


def build_app(health: Health, routes: Sequence[BaseRoute]) -> Starlette:
    """Give the application that the daemon serves; `routes` are embedded as they are."""
    own = [
        Route("/healthz", _healthz),
        Route("/readyz", _readyz(health)),
        Route("/metrics", _metrics),
    ]
    return Starlette(routes=[*own, *routes])


async def _healthz(_: Request) -> Response:
    return PlainTextResponse("ok\n")


def _metrics(_: Request) -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _readyz(health: Health) -> Callable[[Request], Awaitable[Response]]:
    async def readyz(_: Request) -> Response:
        report, fresh = health.report, health.fresh(time.monotonic())
        answer = {
            "role": "leader" if report.leader else "standby",
            "tick_fresh": fresh,
            "redis": not report.error,
            "prometheus": not report.source_problem,
            "detail": report.error or report.source_problem,
        }
        ready = fresh and not report.error and not report.source_problem
        return JSONResponse(answer, status_code=200 if ready else 503)

    return readyz
