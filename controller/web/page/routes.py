"""The routes of the status page: the page itself, its files, and the figures of the chart."""

import asyncio
import time
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from controller.journal.stream import Streams
from controller.store.flag_store import StoreError
from controller.web.api import Api
from controller.web.context import ServerContext
from controller.web.json_io import answer, tagged
from controller.web.page.card import Card, card_or_trouble
from controller.web.page.course import Course, Courses, Point
from controller.web.page.frame import page, title_of, trouble
from controller.web.page.latency import Latencies, Series
from controller.web.page.overview import overview
from controller.web.problems import ProblemError
from controller.web.readiness import Readiness

MOST_CARDS = 6
"""With more features the first page is the overview alone."""
_WITHOUT_REDIS = "Senders let nobody in until it is back; nothing steps up. This page comes back by itself."
_RECORDS = 300
_AVERAGED = 10
"""The chart's error rate is over so many neighbouring points: a single tick has few sends."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_FILES = {
    "style.css": ("style.css", "text/css"),
    **{
        name: (name, "text/javascript")
        for name in ("live.js", "charts.js", "acts.js", "page.js", "stream.js")
    },
    "icon.svg": ("icon.svg", "image/svg+xml"),
    "uPlot.min.css": ("vendor/uPlot.min.css", "text/css"),
    "uPlot.iife.min.js": ("vendor/uPlot.iife.min.js", "text/javascript"),
}


class StatusPage:
    """Shows what the API tells; holds only what the chart needs."""

    def __init__(self, context: ServerContext, streams: Streams, api: Api, readiness: Readiness) -> None:
        self._context = context
        self._streams = streams
        self._api = api
        self._readiness = readiness
        self._courses = Courses(streams)
        self._latencies = Latencies()

    async def aclose(self) -> None:
        """Close what is open."""
        await self._latencies.aclose()

    @property
    def routes(self) -> list[Route]:
        """What Starlette serves."""
        return [
            Route("/", self.home),
            Route("/features/{name}", self.one),
            Route("/page/features/{name}/course", self.course),
            Route("/page/{file}", _file),
            Route("/favicon.ico", _icon),
        ]

    async def home(self, _: Request) -> Response:
        """Return the page of all features."""
        return await self._page("")

    async def one(self, request: Request) -> Response:
        """Return the page of one feature."""
        return await self._page(request.path_params["name"])

    async def _page(self, name: str) -> Response:
        """Return the page of one feature, or of all; what prevents it is a page too."""
        health = await self._readiness.lately()
        try:
            title, listed, cards = await self._shown(name, watched=health["prometheus"])
            status = 200
        except ProblemError as problem:
            title, listed, status = "Not found", "", problem.status
            cards = [trouble(f"{problem.detail[:1].upper()}{problem.detail[1:]}.", "All rollouts are at /.")]
        except StoreError as error:
            title, listed, status = "Redis does not answer", "", 503
            cards = [trouble(f"{error}.", _WITHOUT_REDIS)]
        return HTMLResponse(
            page(title, health, listed, cards), status, headers={"Content-Security-Policy": POLICY}
        )

    async def _shown(self, name: str, *, watched: bool) -> tuple[str, str, list[str]]:
        """Return title, overview and cards; raises ProblemError for an unknown feature, StoreError."""
        if name:
            self._context.feature(name)
        standings, unwatched = await asyncio.gather(self._api.standings(), self._api.unwatched())
        shown = [stand for stand in standings if name in {"", stand["feature"]}]
        title = title_of(shown)
        if len(shown) > MOST_CARDS:
            shown = []
        cards = await asyncio.gather(*(self._card(stand, watched) for stand in sorted(shown, key=_awake)))
        return title, overview([*standings, *unwatched], time.time()), cards

    async def _card(self, stand: dict[str, Any], watched: bool) -> str:
        name = stand["feature"]
        records, course, p95 = await asyncio.gather(
            self._streams.page(name, limit=_RECORDS), self._course(stand), self._p95(stand)
        )
        newest = [record for entry in records.entries if (record := entry.record)]
        p95_s = p95[-1][1] if p95 else None
        return card_or_trouble(Card(stand, newest, course, p95_s, time.time(), watched))

    async def _course(self, stand: dict[str, Any]) -> Course:
        started_at = stand["progress"]["ramp_started_at"]
        return await self._courses.of(stand["feature"], started_at) if started_at else Course(0.0)

    async def _p95(self, stand: dict[str, Any]) -> Series:
        feature, started_at = self._context.features[stand["feature"]], stand["progress"]["ramp_started_at"]
        if not stand["enabled"] or not started_at:
            return []
        return await self._latencies.of(feature, self._context.settings(), started_at)

    async def course(self, request: Request) -> Response:
        """Return the chart's figures: columns of equal length, None where nothing is known."""
        name = self._context.feature(request.path_params["name"]).name
        [stand] = await self._api.standings([name])
        course, p95 = await asyncio.gather(self._course(stand), self._p95(stand))
        told = {
            "limits": stand["slo"],
            "at": [round(point.at, 3) for point in course.points],
            "percent": [0.0 if point.paused else point.percent for point in course.points],
            "paused": [point.paused for point in course.points],
            "errors": _averaged(course.points),
            "p95_at": [at for at, _ in p95],
            "p95_ms": [round(seconds * 1000, 1) for _, seconds in p95],
        }
        return answer(request, told)


def _averaged(points: list[Point]) -> list[float | None]:
    """Return the error rate in percent over the neighbouring points behind each one, at its percentage."""
    rates: list[float | None] = []
    for i, point in enumerate(points):
        near = [one for one in points[max(0, i - _AVERAGED + 1) : i + 1] if one.percent == point.percent]
        sends = sum(one.sends for one in near)
        rates.append(round(100 * sum(one.errors for one in near) / sends, 4) if sends else None)
    return rates


def _awake(stand: dict[str, Any]) -> tuple[bool, str]:
    return (not stand["enabled"] and stand["rollout_percent"] == 0, stand["feature"])


async def _file(request: Request) -> Response:
    name = request.path_params["file"]
    if name not in _FILES:
        return Response(status_code=404)
    path, media_type = _FILES[name]
    body = files("controller.web.page").joinpath(path).read_bytes()
    # A worker obeys the policy of its own file.
    return tagged(request, body, media_type, {"Content-Security-Policy": POLICY})


async def _icon(request: Request) -> Response:
    body = files("controller.web.page").joinpath("icon.svg").read_bytes()
    return tagged(request, body, "image/svg+xml")
