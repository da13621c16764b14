"""OFREP: the gate's answers for other languages, as OpenFeature's remote evaluation protocol has them.

A closed gate is an answer (200, false) and never an error: on an error a client takes its caller's default,
and that may be true. So stale flags, a lost Redis and an unreadable flag all answer false.
"""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from controller.features import no_feature
from controller.shared.openapi import Operation, ResponseSpec, listed, record_like, ref
from controller.web.context import EvaluatedGate, EvaluatesGate, ServerContext
from controller.web.json_io import answer, read_object
from controller.web.problems import ProblemError
from controller.web.schemas import OFREP_REQUEST

_REASONS = {
    "in_rollout": "SPLIT",
    "not_in_rollout": "SPLIT",
    "external_recipient": "TARGETING_MATCH",
    "stale": "STALE",
}
"""What OpenFeature calls the gate's reasons; every other one closes the gate for everybody: DISABLED."""

_MOST_RECIPIENTS = 1000


class EvaluationError(Exception):
    """An evaluation that cannot be done, as the protocol tells it."""

    def __init__(self, status: int, code: str, details: str) -> None:
        super().__init__(details)
        self.status = status
        self.code = code


class Ofrep:
    """Evaluates flags; the key is the feature's name, the targeting key the user's id."""

    def __init__(self, context: ServerContext, gate: EvaluatesGate) -> None:
        self._context = context
        self._gate = gate

    async def one(self, request: Request) -> Response:
        """Evaluate one flag for a user."""
        key = request.path_params["key"]
        try:
            user_id, recipients = await _context(request)
            evaluated = self._evaluated(key, user_id, recipients)
        except EvaluationError as error:
            return _error(error, {"key": key})
        return JSONResponse(evaluated)

    async def every(self, request: Request) -> Response:
        """Evaluate all flags for a user."""
        try:
            user_id, recipients = await _context(request)
            flags = [self._evaluated(key, user_id, recipients) for key in sorted(self._context.features)]
        except EvaluationError as error:
            return _error(error, {})
        return answer(request, {"flags": flags})

    def _evaluated(self, key: str, user_id: str, recipients: tuple[str, ...]) -> dict[str, Any]:
        if key not in self._context.features:
            raise EvaluationError(404, "FLAG_NOT_FOUND", no_feature(key, self._context.features))
        gate_answer = self._gate.check(key, user_id, recipients)
        if gate_answer.reason == "unusable_user_id":
            raise EvaluationError(400, "INVALID_CONTEXT", "targetingKey is a text that cannot be hashed")
        return _evaluation(key, gate_answer, self._gate.revision(key))

    @property
    def operations(self) -> list[Operation]:
        """Return what is served here, each with its description."""
        base = "/ofrep/v1/evaluate/flags"
        wrong = {400: ResponseSpec("the body or the context cannot be used", ref("FlagError"))}
        unknown = {404: ResponseSpec("no such feature", ref("FlagError"))}
        every = record_like({"flags": listed(ref("FlagAnswer"))})
        return [
            Operation(
                "POST",
                f"{base}/{{key}}",
                self.one,
                "Whether a user is in one feature.",
                "openfeature",
                {
                    200: ResponseSpec("the evaluation; a closed gate is false", ref("FlagAnswer")),
                    **wrong,
                    **unknown,
                },
                body=OFREP_REQUEST,
            ),
            Operation(
                "POST",
                base,
                self.every,
                "Which features a user is in.",
                "openfeature",
                {
                    200: ResponseSpec("all evaluations", every),
                    304: ResponseSpec("as the ETag in If-None-Match says"),
                    **wrong,
                },
                body=OFREP_REQUEST,
            ),
        ]


def _evaluation(key: str, gate_answer: EvaluatedGate, revision: int) -> dict[str, Any]:
    return {
        "key": key,
        "value": gate_answer.open,
        "reason": _REASONS.get(str(gate_answer.reason), "DISABLED"),
        "variant": "on" if gate_answer.open else "off",
        "metadata": {
            "gate": str(gate_answer.reason),
            "bucket": gate_answer.bucket,
            "revision": revision,
        },
    }


async def _context(request: Request) -> tuple[str, tuple[str, ...]]:
    """Read the user's id and the recipients; raises EvaluationError with the protocol's code."""
    try:
        body = await read_object(request)
    except ProblemError as problem:
        raise EvaluationError(problem.status, "PARSE_ERROR", problem.detail) from problem
    context = body.get("context")
    if not isinstance(context, Mapping):
        raise EvaluationError(400, "INVALID_CONTEXT", "context must be an object with a targetingKey")
    user_id = context.get("targetingKey")
    if user_id is None or user_id == "":
        raise EvaluationError(400, "TARGETING_KEY_MISSING", "context.targetingKey must be the user's id")
    if not isinstance(user_id, str):
        raise EvaluationError(400, "INVALID_CONTEXT", "context.targetingKey must be a text")
    return user_id, _recipients(context.get("recipients", []))


def _recipients(value: Any) -> tuple[str, ...]:
    texts = isinstance(value, list) and all(isinstance(one, str) for one in value)
    if not texts or len(value) > _MOST_RECIPIENTS:
        raise EvaluationError(
            400, "INVALID_CONTEXT", f"context.recipients must be at most {_MOST_RECIPIENTS} addresses"
        )
    return tuple(value)


def _error(error: EvaluationError, named: Mapping[str, str]) -> Response:
    body = {**named, "errorCode": error.code, "errorDetails": str(error)}
    return JSONResponse(body, error.status)
