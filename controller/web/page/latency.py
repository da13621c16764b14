"""The p95 over the ramp, asked of Prometheus by the name of its recorded series, kept for a few seconds."""

import asyncio
import math
import time

import httpx

from controller.config.settings import ControllerSettings
from controller.decision.feature import RolloutFeature
from controller.evidence.asking import AsyncPrometheus
from controller.rules.names import Names
from controller.shared.tasks import end

Series = list[tuple[float, float]]
"""(unix seconds, seconds of latency), oldest first."""

_KEPT_S = 5.0
_PATIENCE_S = 2.0
_WAITED_S = 0.5
"""No page waits longer for Prometheus; the next one has the answer."""
_POINTS = 400


class Latencies:
    """Asks at most every few seconds for a feature; has nothing where Prometheus has nothing."""

    def __init__(self) -> None:
        self._prometheus = AsyncPrometheus(_PATIENCE_S)
        self._known: dict[str, tuple[float, Series]] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def aclose(self) -> None:
        """Close what is open."""
        await end(self._asking.values())
        await self._prometheus.aclose()

    async def of(self, feature: RolloutFeature, settings: ControllerSettings, started_at: float) -> Series:
        """Return the series as last known; a new question is waited for only a moment."""
        asked_at, _ = self._known.get(feature.name, (float("-inf"), []))
        if time.monotonic() - asked_at > _KEPT_S:
            asking = self._asking.get(feature.name)
            if asking is None or asking.done():
                asking = asyncio.create_task(self._renew(feature, settings, started_at))
                self._asking[feature.name] = asking
            await asyncio.wait([asking], timeout=_WAITED_S)
        return self._known.get(feature.name, (0.0, []))[1]

    async def _renew(self, feature: RolloutFeature, settings: ControllerSettings, started_at: float) -> None:
        self._known[feature.name] = (time.monotonic(), await self._ask(feature, settings, started_at))

    async def _ask(self, feature: RolloutFeature, settings: ControllerSettings, started_at: float) -> Series:
        end = time.time()
        start = max(started_at, end - 30 * 86_400)
        params = {
            "query": Names.of(feature, settings.scope).recorded("latency_p95"),
            "start": f"{start:.3f}",
            "end": f"{end:.3f}",
            "step": f"{max((end - start) / _POINTS, settings.interval_s):.3f}",
        }
        try:
            answer = await self._prometheus.get(settings, "query_range", **params)
            result = answer.json()["data"]["result"]
            values = result[0]["values"] if result else []
            return [(float(at), float(text)) for at, text in values if math.isfinite(float(text))]
        except (httpx.HTTPError, OSError, ValueError, KeyError, TypeError, IndexError):
            return []
