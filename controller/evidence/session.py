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

LARGEST_ANSWER_BYTES = 256 * 2**20


class AnswerError(Exception):
    """An answer that cannot be used; the message says why in a few words."""


class BoundedSession(requests.Session):
    """A session whose every answer ends by a deadline and below a size, however it drips.

    The time-outs of requests count from byte to byte; a body that drips would hold a tick forever.
    """

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.trust_env = False
        self.verify = os.environ.get("SSL_CERT_FILE") or True
        self.deadline = math.inf
        self.request_timeout_s = 5.0
        # To pack an answer takes Prometheus longer than to send it through a near network.
        self.headers["Accept-Encoding"] = "identity"
        self.headers.update(headers or {})

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Make a request within the tick's deadline; raises requests.Timeout after it."""
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
        response.json = partial(orjson.loads, content)  # type: ignore[method-assign]
        return response


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
