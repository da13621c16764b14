"""A client of the daemon's API: what the command line uses with `--server`, and anybody's program may."""

import uuid
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Self, cast
from urllib.parse import quote

import httpx

from controller.config.settings import shown
from controller.decision.model import Kind
from controller.decision.record_shape import is_record

PATIENCE_S = 10.0


class ClientError(Exception):
    """The API refused, with the HTTP status and its sentence; status 0 where nobody answered."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Client:
    """One daemon; `with` closes the connection. Every method raises ClientError."""

    def __init__(self, url: str, token: str = "", *, timeout_s: float = PATIENCE_S) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._shown = shown(url)
        self._http = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def overview(self) -> dict[str, Any]:
        """Return where every feature stands (`features`), and who leads (`leader`)."""
        return self._ask("GET", "/api/v1/features")

    def features(self) -> list[dict[str, Any]]:
        """Return where every feature stands."""
        return cast("list[dict[str, Any]]", self.overview()["features"])

    def feature(self, name: str) -> dict[str, Any]:
        """Return one feature as the API has it; raises ClientError."""
        return self._ask("GET", _path(name))

    def decisions(self, name: str, *, since: float = 0.0, changes: bool = False) -> Iterator[dict[str, Any]]:
        """Yield the records of a feature, newest first, page by page, down to `since` (unix seconds)."""
        path: str | None = f"{_path(name)}/decisions?limit=500&changes={str(changes).lower()}"
        while path:
            page = self._ask("GET", path)
            for record in _records(page.get("decisions")):
                if record["at"] < since:
                    return
                yield record
            path = _next_page(page.get("next"))

    def decision(self, name: str, decision_id: str) -> dict[str, Any]:
        """Return one decision's record; raises ClientError."""
        return self._ask("GET", f"{_path(name)}/decisions/{quote(decision_id, safe='')}")

    def act(self, kind: Kind, name: str, reason: str, percent: float | None = None) -> dict[str, Any]:
        """Do what a person asks for and give its record; the daemon takes the actor from the token."""
        body = {"reason": reason} | ({} if percent is None else {"percent": percent})
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        [record] = _records([self._ask("POST", f"{_path(name)}/{kind}", json=body, headers=headers)])
        return record

    def ready(self) -> dict[str, Any]:
        """Return what /readyz tells, ready or not."""
        return _object(self._send("GET", "/readyz"))

    def _ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        answer = self._send(method, path, **more)
        told = _object(answer)
        if answer.is_success:
            return told
        raise ClientError(answer.status_code, str(told.get("detail", "")) or f"HTTP {answer.status_code}")

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **more)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ClientError(0, f"{self._shown} does not answer ({type(error).__name__})") from error


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        told = answer.json()
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise _not_ours(answer.status_code)
    return told


def _records(found: Any) -> list[dict[str, Any]]:
    """Read the records of an answer; raises ClientError where it holds something else."""
    if not isinstance(found, list) or not all(map(is_record, found)):
        raise _not_ours(HTTPStatus.OK)
    return [record | {name: record.get(name, "") for name in ("detail", "note")} for record in found]


def _next_page(found: Any) -> str | None:
    """Read where the next page is; only a path, because the token goes there too."""
    if found is not None and not (isinstance(found, str) and found.startswith("/api/")):
        raise _not_ours(HTTPStatus.OK)
    return found


def _not_ours(status: int) -> ClientError:
    return ClientError(status, f"HTTP {status:d}, and not from this API; check the URL")


def _path(name: str) -> str:
    return f"/api/v1/features/{quote(name, safe='')}"
