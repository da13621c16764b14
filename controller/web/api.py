"""The API: where each feature stands, every decision, and what a person may do, as `/api/v1`."""

import asyncio
import re
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from controller.contract import parse_percent
from controller.decision.byhand import BY_HAND
from controller.decision.feature import RolloutFeature
from controller.decision.model import Kind
from controller.journal.stream import Streams, is_entry_id
from controller.loop.feature_status import feature_status, status_context, unwatched_status
from controller.loop.manual import operate
from controller.shared.api_tokens import Right
from controller.shared.openapi import (
    TEXT,
    TRUTH,
    Operation,
    Parameter,
    ResponseSpec,
    Schema,
    listed,
    maybe,
    record_like,
    ref,
)
from controller.shared.plain_text import LONGEST_TEXT, read_line
from controller.store.flag_store import find_record
from controller.web.context import ServerContext
from controller.web.json_io import answer, read_object
from controller.web.problems import ProblemError
from controller.web.replies import Call, Replies
from controller.web.schemas import ACT, APPROVE, SET
from controller.whatif.remaining import NO_ESTIMATE, with_estimate

LARGEST_PAGE = 500
_PAGE = 50


class Api:
    """Answers for one daemon; reads are open, what changes asks for a bearer token."""

    def __init__(self, context: ServerContext, streams: Streams, replies: Replies) -> None:
        self._context = context
        self._streams = streams
        self._replies = replies

    async def standings(self, names: list[str] | None = None) -> list[dict[str, Any]]:
        """Return where these features stand, all of them without names; raises StoreError."""
        features = self._context.features
        wanted = [name for name in features if names is None or name in names]
        stored, last, live = await asyncio.gather(
            asyncio.to_thread(self._context.store.read, wanted),
            self._streams.last(wanted),
            asyncio.to_thread(self._context.live),
        )
        about = status_context(self._context.settings(), time.time(), live)
        stands = [feature_status(features[one.feature], one, last[one.feature], about) for one in stored]
        window_s = self._context.settings().window_s
        return [with_estimate(stand, features[stand["feature"]], window_s) for stand in stands]

    async def features(self, request: Request) -> Response:
        """Return every feature with where it is, and those that nobody watches."""
        told, unwatched, leader = await asyncio.gather(
            self.standings(), asyncio.to_thread(self._unwatched), self._streams.leader()
        )
        return answer(request, {"features": told, "unwatched": unwatched, "leader": leader})

    def _unwatched(self) -> list[dict[str, Any]]:
        """Return where the features are that no tick of this daemon looks at, as the last tick found them."""
        stored = self._context.store.read(self._context.health.unwatched)
        about = status_context(self._context.settings(), time.time())
        return [unwatched_status(one, about) | {"estimate": NO_ESTIMATE} for one in stored]

    async def feature(self, request: Request) -> Response:
        """Return one feature with where it is."""
        name = self._context.feature(request.path_params["name"]).name
        return answer(request, (await self.standings([name]))[0])

    async def unwatched(self) -> list[dict[str, Any]]:
        """Return where the features are that no tick of this daemon looks at."""
        return await asyncio.to_thread(self._unwatched)

    async def decisions(self, request: Request) -> Response:
        """Return a page of decisions, newest first."""
        name = self._context.feature(request.path_params["name"]).name
        limit, before = _limit(request.query_params), _before(request.query_params)
        changes = _truth(request.query_params, "changes")
        page = await self._streams.page(name, before=before, limit=limit, changes=changes)
        following = ""
        if page.next:
            following = str(request.url.include_query_params(before=page.next).replace(scheme="", netloc=""))
        told = {"decisions": [one.record for one in page.entries], "next": following or None}
        return answer(request, told, {"Link": f'<{following}>; rel="next"'} if following else None)

    async def decision(self, request: Request) -> Response:
        """Return one decision's record."""
        name = self._context.feature(request.path_params["name"]).name
        decision_id = request.path_params["id"]
        record = await asyncio.to_thread(find_record, self._context.store, [name], decision_id)
        if record is None:
            raise ProblemError(404, f"{name} has no decision {decision_id!r}; it may have been trimmed away")
        return answer(request, record)

    async def act(self, kind: Kind, request: Request) -> Response:
        """Do what a person asks for; the same Idempotency-Key does it once."""
        actor = self._context.caller(request, Right.OPERATE).name
        feature = self._context.feature(request.path_params["name"])
        body = await read_object(request)
        reason, percent = _asked(kind, body)
        if self._context.dry_run:
            raise ProblemError(409, "this daemon is a dry run and changes nothing; ask the real one")
        key = request.headers.get("idempotency-key")
        if key is None:
            return JSONResponse(await self._perform(kind, feature, actor, reason, percent))
        call = Call.of(key, actor, request.url.path, body)
        known = await self._replies.begin(call)
        if known is not None:
            return JSONResponse(known, headers={"Idempotency-Replayed": "true"})
        record = None
        try:
            record = await self._perform(kind, feature, actor, reason, percent)
        finally:
            await self._replies.end(call, record)
        return JSONResponse(record)

    async def _perform(
        self, kind: Kind, feature: RolloutFeature, actor: str, reason: str, percent: float | None
    ) -> dict[str, Any]:
        try:
            return await asyncio.to_thread(
                operate,
                self._context.store,
                self._context.journal,
                feature,
                kind,
                actor=actor,
                note=reason,
                now=time.time(),
                percent=percent,
            )
        except ValueError as error:
            raise ProblemError(409 if kind is Kind.APPROVE else 422, str(error)) from error

    @property
    def operations(self) -> list[Operation]:
        """Return what is served here, each with its description."""
        return [*self._reads(), *(self._act_operation(kind) for kind in BY_HAND)]

    def _reads(self) -> list[Operation]:
        base = "/api/v1/features"
        unknown = {404: "no such feature", 503: "Redis does not answer"}
        page = record_like({"decisions": listed(ref("Record")), "next": maybe(TEXT)})
        leader = {**maybe(TEXT), "description": "the controller that leads, host:pid:number; null for none"}
        alone = {**listed(ref("Feature")), "description": "enabled in Redis and in no configuration"}
        every = record_like(
            {"features": listed(ref("Feature")), "unwatched": alone, "leader": leader},
        )
        return [
            Operation(
                "GET",
                base,
                self.features,
                "Where every feature stands.",
                "features",
                _answers("all features", every),
                problems={503: "Redis does not answer"},
            ),
            Operation(
                "GET",
                f"{base}/{{name}}",
                self.feature,
                "Where one feature stands.",
                "features",
                _answers("the feature", ref("Feature")),
                problems=unknown,
            ),
            Operation(
                "GET",
                f"{base}/{{name}}/decisions",
                self.decisions,
                "The decisions of a feature, newest first.",
                "features",
                _answers("a page of whole records", page),
                parameters=_PAGING,
                problems=unknown | {400: "a parameter cannot be used"},
            ),
            Operation(
                "GET",
                f"{base}/{{name}}/decisions/{{id}}",
                self.decision,
                "One decision, the whole record.",
                "features",
                _answers("the record", ref("Record")),
                problems=unknown,
            ),
        ]

    def _act_operation(self, kind: Kind) -> Operation:
        return Operation(
            "POST",
            f"/api/v1/features/{{name}}/{kind}",
            partial(self.act, kind),
            _SUMMARIES[kind],
            "by hand",
            {200: ResponseSpec("done; the record of it", ref("Record"))},
            parameters=[_IDEMPOTENCY_KEY],
            body=_BODIES.get(kind, ACT),
            right=Right.OPERATE,
            problems=_ACT_PROBLEMS,
        )


_SUMMARIES = {
    Kind.PAUSE: "Stop a feature's sends at once.",
    Kind.RESUME: "Let a paused feature go on; its step is proven again from zero.",
    Kind.SET: "Set the percentage by hand.",
    Kind.OPEN: "Let other mail in too, not only internal mail.",
    Kind.CLOSE: "Let internal mail in only.",
    Kind.ENABLE: "Switch a feature on.",
    Kind.DISABLE: "Switch a feature off for everybody.",
    Kind.APPROVE: "Approve the next step that waits for a person.",
}
_BODIES: dict[Kind, Schema] = {Kind.SET: SET, Kind.APPROVE: APPROVE}
_IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "The same key within a day does it once.",
    {"type": "string", "minLength": 1, "maxLength": 255},
    "header",
)
_PAGING = (
    Parameter(
        "limit", "How many.", {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": _PAGE}
    ),
    Parameter(
        "before", "Only older ones: as `next` has it.", {"type": "string", "pattern": "^[0-9]+-[0-9]+$"}
    ),
    Parameter("changes", "Leave out the holds.", TRUTH),
)
_ACT_PROBLEMS = {
    400: "the body is not a JSON object",
    404: "no such feature",
    409: "not as things stand: nothing waits for an approval, a dry run, the same call is under way",
    413: "the body is too large",
    422: "a value in the body cannot be used",
    503: "Redis does not answer",
}


def _answers(description: str, schema: Schema) -> dict[int, ResponseSpec]:
    return {200: ResponseSpec(description, schema), 304: ResponseSpec("as the ETag in If-None-Match says")}


def _asked(kind: Kind, body: Mapping[str, Any]) -> tuple[str, float | None]:
    """Read a body into the reason and the percentage; raises ProblemError 422 with what to send."""
    known = {"reason", "percent"} if kind in _BODIES else {"reason"}
    strange = sorted(body.keys() - known)
    if strange:
        raise ProblemError(422, f"unknown: {', '.join(strange)}; {kind} takes {', '.join(sorted(known))}")
    reason, percent = _reason(body.get("reason")), body.get("percent")
    if percent is None and kind is not Kind.SET:
        return reason, None
    return reason, _percent(percent)


def _reason(value: Any) -> str:
    if not isinstance(value, str):
        raise ProblemError(422, f"reason must be a text of 1 to {LONGEST_TEXT} characters: why it is done")
    try:
        return read_line(value)
    except ValueError as error:
        raise ProblemError(422, str(error)) from error


def _percent(value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    percent = parse_percent(f"{value:.10f}".rstrip("0").rstrip(".")) if number and 0 <= value <= 100 else None
    if percent is None:
        raise ProblemError(422, "percent must be a number from 0 to 100 with at most three decimals")
    return percent


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", str(_PAGE))
    if not re.fullmatch("[0-9]{1,6}", text) or not 1 <= int(text) <= LARGEST_PAGE:
        raise ProblemError(400, f"limit must be a whole number from 1 to {LARGEST_PAGE}")
    return int(text)


def _before(query: Mapping[str, str]) -> str:
    text = query.get("before")
    if text is None:
        return "+"
    if not is_entry_id(text):
        raise ProblemError(400, "before must be as `next` has it: 1700000000000-0")
    return text


def _truth(query: Mapping[str, str], name: str) -> bool:
    text = query.get(name, "false").lower()
    if text not in {"true", "false"}:
        raise ProblemError(400, f"{name} must be true or false")
    return text == "true"
