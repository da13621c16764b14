"""Errors over HTTP as RFC 9457 has them: application/problem+json, with the status and one sentence."""

from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route

from controller.shared.plain_text import clean

MEDIA_TYPE = "application/problem+json"


class ProblemError(Exception):
    """Ends a request with a problem; `extra` is sent beside the standard members."""

    def __init__(self, status: int, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.extra = extra


def problem(status: int, detail: str, **extra: Any) -> Response:
    """Return the answer to a request that cannot be fulfilled."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    body["detail"] = clean(detail)
    headers = {"Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="rollout-controller"'
    return JSONResponse(body | extra, status, headers, media_type=MEDIA_TYPE)


async def on_problem(_: Request, error: Exception) -> Response:
    """Handle a ProblemError that a route raised."""
    if not isinstance(error, ProblemError):
        raise error
    return problem(error.status, error.detail, **error.extra)


async def on_store_error(_: Request, error: Exception) -> Response:
    """Handle a Redis that does not answer; whether a change was written is then not known."""
    return problem(503, f"{error}; ask again in a moment")


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Handle what Starlette itself refuses: an unknown path, a method that a path does not have."""
    if not isinstance(error, HTTPException):
        raise error
    known = {
        404: f"nothing is served at {request.url.path}; /openapi.json lists what is",
        405: f"{request.method} is not served at {request.url.path}",
    }
    answer = problem_at(request.url.path, error.status_code, known.get(error.status_code, error.detail))
    answer.headers.update(error.headers or {})
    if error.status_code == 405:
        answer.headers["Allow"] = ", ".join(sorted(_methods_at(request)))
    return answer


def _methods_at(request: Request) -> set[str]:
    """Return what is served at the request's path; each method there may be a route of its own."""
    routes = (one for one in request.app.routes if isinstance(one, Route))
    return {
        method
        for one in routes
        if one.matches(request.scope)[0] is not Match.NONE
        for method in one.methods or ()
    }


async def on_crash(request: Request, _: Exception) -> Response:
    """Handle what nobody foresaw; the log has the traceback."""
    path = request.url.path
    return problem_at(path, 500, f"{request.method} {path} failed here; the daemon's log says why")


def problem_at(path: str, status: int, detail: str) -> Response:
    """Return a problem; below /ofrep with the members that OpenFeature's clients read."""
    of_protocol = {"errorCode": "GENERAL", "errorDetails": detail}
    return problem(status, detail, **(of_protocol if path.startswith("/ofrep/") else {}))
