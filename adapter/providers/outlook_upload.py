"""Graph's upload session of one large file of a draft: ranges in order, to a URL that bears its own right.

Pure. The URL lies on another server than Graph; what may be believed of it is decided where it is opened.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from adapter.message import Content, StoredContent
from adapter.providers.body import Body, blocks_of
from adapter.providers.provider import MaySend, Reply, Request

RANGE_BYTES = 12 * 320 * 1024
"""Of one request: a multiple of 320 KiB, and less than the 4 MB that Microsoft advises."""
UPLOAD_HOSTS = (".office.com", ".office365.com", ".office365.us", ".outlook.cn", ".apps.mil")
"""The ends of the names of Microsoft's mail servers, national clouds included."""
MAX_URL_CHARACTERS = 8 * 1024
_SERVER = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*(:\d{1,5})?", re.ASCII | re.IGNORECASE).fullmatch
_START = re.compile(r"(\d{1,12})(-\d*)?", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True)
class OutlookUpload:
    """One file. Nothing is sent by its end, so every request of it may be made again."""

    content: Content = field(repr=False)
    sends = False

    @property
    def body(self) -> Body:
        """The file."""
        return Body(len(self.content), lambda: map(bytes, blocks_of(self.content)))

    def opened(self, reply: Reply) -> str | None:
        """Return the URL of the session that a reply opened."""
        url = object_of(reply).get("uploadUrl")
        return url if reply.status in {200, 201} and isinstance(url, str) and _is_usable(url) else None

    def rest(self, path: str, start: int) -> Request:
        """Return the request that carries the range that begins with a byte."""
        size = len(self.content)
        end = min(start + RANGE_BYTES, size)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"bytes {start}-{end - 1}/{size}",
        }
        part = Body(end - start, lambda: map(bytes, blocks_of(_Part(self.content, start, end))))
        return _to(path, "PUT", part, headers)

    def question(self, path: str) -> Request:
        """Return the request that asks how far the upload came."""
        return _to(path, "GET", Body.of(b""), {})

    def received(self, reply: Reply) -> int | None:
        """Return how many bytes the server has; None where the reply is about the upload as a whole."""
        answer = object_of(reply)
        ranges = answer.get("nextExpectedRanges", answer.get("NextExpectedRanges"))
        found = (
            _START(str(ranges[0])) if reply.status == 200 and isinstance(ranges, list) and ranges else None
        )
        return min(int(found[1]), len(self.content)) if found else None


@dataclass(frozen=True, slots=True)
class _Part(StoredContent):
    """A range of a content, itself read in parts."""

    content: Content
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def __getitem__(self, part: slice) -> bytes:
        start, end, _ = part.indices(len(self))
        return self.content[self.start + start : self.start + end]


def _is_usable(url: str) -> bool:
    """Whether it is a URL that means the same to everybody who reads it."""
    try:
        parts = urlsplit(url)
        is_whole = bool(_SERVER(parts.netloc)) and parts.port != 0 and "xn--" not in parts.netloc.lower()
    except ValueError:
        return False
    return (
        is_whole
        and len(url) <= MAX_URL_CHARACTERS
        and parts.scheme in {"http", "https"}
        and url.isascii()
        and url.isprintable()
        and " " not in url
    )


def _to(url: str, method: str, body: Body, headers: Mapping[str, str]) -> Request:
    parts = urlsplit(url)
    path = url[len(f"{parts.scheme}://{parts.netloc}") :]
    return Request(
        path,
        headers,
        body,
        method=method,
        may_send=MaySend.NEVER,
        server=f"{parts.scheme}://{parts.netloc}",
    )


def object_of(reply: Reply) -> Mapping[str, Any]:
    """Return the JSON object of a reply; an empty one where it has none."""
    try:
        answer = json.loads(reply.body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}
