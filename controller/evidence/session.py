"""Requests to Prometheus that end: each answer bounded in time and size, with errors of requests alone."""

import math
import os
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, cast

import orjson
import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from controller.config.settings import PrometheusAccess

LARGEST_ANSWER_BYTES = 256 * 2**20
_WORTH_A_RETRY = frozenset({429, 500, 502, 503, 504})
_NO_WARNING = "PromQL info"
"""What a query could do better; Prometheus 2.48 to 2.52 lists it among the warnings."""


class AnswerError(Exception):
    """An answer that cannot be used; the message says why in a few words."""


class BoundedSession(requests.Session):
    """A session whose every answer ends by a deadline and below a size, however it drips.

    The time-outs of requests count from byte to byte; a body that drips would hold a tick forever.
    """

    def __init__(self, access: PrometheusAccess | None = None) -> None:
        super().__init__()
        access = access or PrometheusAccess()
        self.trust_env = False
        self.verify = str(access.ca_file or os.environ.get("SSL_CERT_FILE") or "") or True
        if access.cert_file:
            self.cert = (str(access.cert_file), str(access.key_file or access.cert_file))
        self.partial = ""
        """Why an answer since this was emptied is not a whole one, in the server's own words."""
        self.deadline = math.inf
        self.request_timeout_s = 5.0
        # To pack an answer takes Prometheus longer than to send it through a near network.
        self.headers["Accept-Encoding"] = "identity"
        self.headers.update(access.headers)

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Ask, and once more where that fails: of two servers behind one address one may be down."""
        try:
            response = self._request_once(*args, **kwargs)
        except requests.RequestException:
            if time.monotonic() >= self.deadline:
                raise
        else:
            if response.status_code not in _WORTH_A_RETRY:
                return response
        return self._request_once(*args, **kwargs)

    def _request_once(self, *args: Any, **kwargs: Any) -> requests.Response:
        left_s = self.deadline - time.monotonic()
        if left_s <= 0:
            raise requests.Timeout("the tick's deadline is over")
        timeout_s = min(self.request_timeout_s, left_s)
        kwargs |= {"timeout": timeout_s, "stream": True, "allow_redirects": False}
        response = super().request(*args, **kwargs)
        try:
            content = b"".join(_chunks(response, time.monotonic() + timeout_s))
        except BaseException:
            response.close()
            raise
        response._content = content  # noqa: SLF001
        response.json = partial(self._read, content)  # type: ignore[method-assign]
        return response

    def _read(self, content: bytes) -> Any:
        answer = orjson.loads(content)
        if isinstance(answer, dict):
            self.partial = self.partial or _why_partial(answer)
        return answer


def _why_partial(answer: Mapping[str, Any]) -> str:
    """Return what the server says of an answer from which something is missing; nothing of a whole one."""
    warnings = answer.get("warnings") or []
    if answer.get("isPartial"):
        return "isPartial"
    serious = (str(one) for one in warnings if not str(one).startswith(_NO_WARNING))
    return " ".join(next(serious, "").split())[:200]


def _chunks(response: requests.Response, deadline: float) -> Iterator[bytes]:
    size = 0
    while chunk := _chunk(response):
        size += len(chunk)
        if size > LARGEST_ANSWER_BYTES:
            raise AnswerError(f"the answer is larger than {LARGEST_ANSWER_BYTES >> 20} MiB")
        if time.monotonic() > deadline:
            raise requests.Timeout("the answer came too slowly")
        yield chunk


def _chunk(response: requests.Response) -> bytes:
    """Read some of a body; urllib3's errors become requests's, as they do where requests reads it."""
    try:
        return cast(bytes, response.raw.read1(2**20, decode_content=True))
    except ReadTimeoutError as error:
        raise requests.Timeout(error) from error
    except HTTPError as error:
        raise requests.RequestException(error) from error
