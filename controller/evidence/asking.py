"""Asks Prometheus from an event loop, for the page and for readiness, the way that the ticks ask it."""

from typing import Any

import httpx

from controller.config.settings import ControllerSettings, PrometheusAccess


class AsyncPrometheus:
    """One client, opened again where a reload changed how Prometheus is asked."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._access: PrometheusAccess | None = None
        self._http = httpx.AsyncClient()

    async def get(self, settings: ControllerSettings, path: str, **params: str) -> httpx.Response:
        """Ask `/api/v1/<path>`; raises httpx.HTTPError, and OSError for a certificate that cannot be used."""
        if settings.access_to_prometheus != self._access:
            await self._open(settings)
        return await self._http.get(f"{settings.prometheus_url}/api/v1/{path}", params=params)

    async def _open(self, settings: ControllerSettings) -> None:
        access = settings.access_to_prometheus
        options: dict[str, Any] = {"headers": access.headers, "timeout": self._timeout_s}
        if settings.prometheus_url.startswith("https"):
            options["verify"] = access.trust
        await self._http.aclose()
        self._http, self._access = httpx.AsyncClient(**options), access

    async def aclose(self) -> None:
        await self._http.aclose()
