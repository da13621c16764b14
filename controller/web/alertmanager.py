"""Alertmanager's webhook: a feature's critical alert makes a tick at once, and a pause where it says so."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from controller.decision.feature import RolloutFeature
from controller.decision.model import Kind
from controller.loop.manual import operate
from controller.shared.api_tokens import Right
from controller.shared.openapi import TEXT, TRUTH, Operation, ResponseSpec, listed, record_like
from controller.shared.plain_text import fit_line
from controller.web.context import ServerContext
from controller.web.json_io import read_object
from controller.web.problems import ProblemError
from controller.web.replies import Call, Replies

LARGEST_BODY_BYTES = 1024 * 1024
ACTOR = "alertmanager"
_SEVERITY = "critical"


class Alerts:
    """Takes what Alertmanager sends. One firing of one alert pauses once, however often it is repeated."""

    def __init__(self, context: ServerContext, replies: Replies) -> None:
        self._context = context
        self._replies = replies
        self._log = structlog.get_logger("alerts")

    async def take(self, request: Request) -> Response:
        """Take Alertmanager's alerts: pause what they name, or ask for a tick."""
        self._context.caller(request, Right.ALERT)
        told = await read_object(request, largest_bytes=LARGEST_BODY_BYTES)
        alerts = told.get("alerts")
        if not isinstance(alerts, list) or not all(isinstance(one, Mapping) for one in alerts):
            raise ProblemError(422, "alerts must be a list, as Alertmanager's webhook sends it")
        firing = [(one, feature) for one in alerts for feature in self._features_of(one) if _critical(one)]
        paused = [feature.name for one, feature in firing if await self._pause(one, feature)]
        if firing:
            self._context.tick_soon()
        concerned = sorted({feature.name for _, feature in firing})
        self._log.info("alerts_taken", alerts=len(alerts), features=concerned, paused=paused)
        return JSONResponse({"ticked": bool(firing), "features": concerned, "paused": sorted(set(paused))})

    def _features_of(self, alert: Mapping[str, Any]) -> Iterable[RolloutFeature]:
        labels = _texts(alert.get("labels"))
        pair = (labels.get("provider"), labels.get("action"))
        return [
            feature
            for feature in self._context.features.values()
            if labels.get("feature") == feature.name or pair == (feature.provider, feature.action)
        ]

    async def _pause(self, alert: Mapping[str, Any], feature: RolloutFeature) -> bool:
        """Pause where the feature asks for it, and not again for a firing that has paused it before."""
        if not feature.pause_on_alert or self._context.dry_run:
            return False
        labels = _texts(alert.get("labels"))
        firing = {"labels": labels, "startsAt": str(alert.get("startsAt")), "feature": feature.name}
        call = Call.of(f"{feature.name} {alert.get('startsAt')} {_named(alert)}"[:255], ACTOR, "", firing)
        try:
            if await self._replies.begin(call) is not None:
                return False
        except ProblemError:
            return False
        record = None
        try:
            record = await asyncio.to_thread(
                operate,
                self._context.store,
                self._context.journal,
                feature,
                Kind.PAUSE,
                actor=ACTOR,
                note=_in_words(alert),
                now=time.time(),
            )
        finally:
            await self._replies.end(call, record)
        return True

    @property
    def operations(self) -> list[Operation]:
        """Return what is served here, each with its description."""
        answer = record_like({"ticked": TRUTH, "features": listed(TEXT), "paused": listed(TEXT)})
        return [
            Operation(
                "POST",
                "/api/v1/alerts",
                self.take,
                "Take Alertmanager's webhook: tick at once, and pause where the feature says so.",
                "by machine",
                {200: ResponseSpec("which features it concerns, and which it paused", answer)},
                body=record_like({"alerts": listed({"type": "object"})}),
                right=Right.ALERT,
                problems={
                    400: "the body is not a JSON object",
                    413: "the body is too large",
                    422: "not Alertmanager's webhook",
                    503: "Redis does not answer",
                },
            )
        ]


def _critical(alert: Mapping[str, Any]) -> bool:
    return alert.get("status") == "firing" and _texts(alert.get("labels")).get("severity") == _SEVERITY


def _texts(value: Any) -> dict[str, str]:
    return {str(key): str(text) for key, text in value.items()} if isinstance(value, Mapping) else {}


def _named(alert: Mapping[str, Any]) -> str:
    return str(alert.get("fingerprint") or sorted(_texts(alert.get("labels")).items()))


def _in_words(alert: Mapping[str, Any]) -> str:
    name = _texts(alert.get("labels")).get("alertname", "an alert")
    summary = _texts(alert.get("annotations")).get("summary", "")
    return fit_line(f"{name} is firing{f': {summary}' if summary else ''}")
