"""Readiness: whether this daemon ticks and reaches its dependencies, asked now and not at the last tick."""

import asyncio
import time
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from controller.config.settings import shown
from controller.evidence.asking import AsyncPrometheus
from controller.journal.stream import Streams
from controller.shared.openapi import Operation, ResponseSpec, ref
from controller.store.flag_store import StoreError
from controller.web.context import ServerContext

_KEPT_S = 1.0
_PATIENCE_S = 2.0
_LATELY_S = 10.0


class Readiness:
    """Asks Redis and Prometheus at most once a second, however many ask here."""

    def __init__(self, context: ServerContext, streams: Streams) -> None:
        self._context = context
        self._streams = streams
        self._asked = AsyncPrometheus(_PATIENCE_S)
        self._lock = asyncio.Lock()
        self._known: dict[str, Any] = {}
        self._known_at = float("-inf")

    async def aclose(self) -> None:
        """Close what is open."""
        await self._asked.aclose()

    async def now(self) -> dict[str, Any]:
        """Tell how it stands, at most a second old."""
        async with self._lock:
            if time.monotonic() - self._known_at > _KEPT_S:
                self._known = await self._ask()
                self._known_at = time.monotonic()
        return self._known

    async def lately(self) -> dict[str, Any]:
        """Tell what the last answers were, without waiting for a server that hangs."""
        old = time.monotonic() - self._known_at > _LATELY_S
        return await self.now() if old else self._known

    async def _ask(self) -> dict[str, Any]:
        redis_trouble, prometheus_trouble = await asyncio.gather(self._redis(), self._prometheus())
        report, fresh = self._context.health.report, self._context.health.fresh(time.monotonic())
        ticks = fresh and not report.error
        late = "" if fresh else "the last tick is too long ago"
        return {
            "ready": ticks and not redis_trouble and not prometheus_trouble,
            "role": "leader" if report.leader else "standby",
            "tick_fresh": ticks,
            "redis": not redis_trouble,
            "prometheus": not prometheus_trouble,
            "dry_run": self._context.dry_run,
            "pid": self._context.health.pid,
            "reloads": self._context.health.reloads,
            "config_error": self._context.health.config_error,
            "config_agrees": self._context.health.config_agrees,
            "unwatched": list(self._context.health.unwatched),
            "detail": redis_trouble or prometheus_trouble or report.error or late or report.source_problem,
        }

    async def _redis(self) -> str:
        try:
            await self._streams.ping()
        except StoreError as error:
            return str(error)
        return ""

    async def _prometheus(self) -> str:
        settings = self._context.settings()
        asked = shown(settings.prometheus_url)
        try:
            answer = await self._asked.get(settings, "query", query="1")
        except (httpx.HTTPError, OSError) as error:
            return f"{asked}: {type(error).__name__}"
        return "" if answer.status_code == 200 else f"{asked}: HTTP {answer.status_code}"

    async def readyz(self, _: Request) -> Response:
        """Answer whether this controller is ready: 200 or 503."""
        told = await self.now()
        return JSONResponse(told, 200 if told["ready"] else 503, {"Cache-Control": "no-store"})

    @property
    def operations(self) -> list[Operation]:
        """Return what is served here, each with its description."""
        answers = {
            200: ResponseSpec(
                "ticking, and its dependencies answer; a standby is ready, too", ref("Readiness")
            ),
            503: ResponseSpec("not ready; `detail` says why", ref("Readiness")),
        }
        return [Operation("GET", "/readyz", self.readyz, "Whether it can do its work.", "health", answers)]
