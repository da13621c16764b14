"""Whatever arrives is answered, soon and never with a 5xx: a course of Schemathesis, and malformed requests.

`make soak` makes more of them: SOAK_REQUESTS and SOAK_EXAMPLES.
"""

import asyncio
import json
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fuzz.mutations import Mutator
from kit.examples import amount
from kit.signin import environment
from worlds.live import Daemon, World

from adapter.sandbox.signin import SandboxSignIn

REQUESTS = amount("REQUESTS", soak=50_000, usually=3000)
EXAMPLES = amount("EXAMPLES", soak=40, usually=4)
SEED = amount("SEED", soak=17, usually=17)
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,missing_required_header,unsupported_method,"
    "allow_header_conformance,ignored_auth"
)
TOKEN = "0123456789-of-the-tests"
UNFIT = "/api/v1/events"
"""It has no end."""


@pytest.fixture
async def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Daemon]:
    """Run the whole daemon with the adapter beside it; afterwards nothing in it may have failed."""
    monkeypatch.setenv("ROLLOUT_API_TOKEN", f"ann:{TOKEN}")
    monkeypatch.setenv("ROLLOUT_REQUESTS_PER_S", "1000000")
    async with SandboxSignIn(tmp_path / "certificates") as sandbox:
        with World(tmp_path, senders=0) as world:
            daemon = world.daemons["a"]
            for name, value in environment(sandbox, world.redis.url).items():
                monkeypatch.setenv(name, value)
            await asyncio.to_thread(daemon.start("--json").wait_ready)
            yield daemon
            assert await asyncio.to_thread(daemon.ready)
            log = daemon.log.read_text()
            assert "Traceback" not in log
            assert TOKEN not in log


async def test_schemathesis_finds_nothing_that_the_document_does_not_say(
    daemon: Daemon, tmp_path: Path
) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{daemon.url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {TOKEN}", "--checks", CHECKS]
    command += ["--phases", "coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", "1"]
    command += ["--request-timeout", "5", "--no-shrink", "--continue-on-failure", "--no-color"]
    command += ["--exclude-path", UNFIT]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"(\d+) generated", done.stdout)[0]) > 300


METHODS = (
    "GET",
    "GET",
    "GET",
    "POST",
    "POST",
    "POST",
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "HEAD",
    "OPTIONS",
    "BREW",
)
SCRAPS: tuple[bytes, ...] = (
    b"",
    b"{}",
    b"[]",
    b"null",
    b"{",
    b'{"reason": "x", "percent": 1e999}',
    b'{"reason": "\\ud800"}',
    b'{"reason": "\x00"}',
    b'{"context": {"targetingKey": "\\ud800"}}',
    b'{"context": {"targetingKey": "a", "recipients": [1]}}',
    b'{"user_id": "u", "to": [{"address": "\\ud800@x"}], "subject": "a\\r\\nBcc: b"}',
    b'{"alerts": [{"labels": {"severity": "critical", "feature": []}, "status": "firing"}]}',
    b"[" * 5000,
    b"\xff\xfe\x00",
    b"a=1&a=2",
    b"code=%00&state=%ff",
)
SOUND: tuple[dict[str, Any], ...] = (
    {"reason": "x", "percent": 5, "context": {"targetingKey": "u"}, "alerts": []},
    {"context": {"targetingKey": "u", "recipients": ["ann@corp.example"]}},
    {
        "alerts": [
            {
                "status": "firing",
                "startsAt": "2026-01-01T00:00:00Z",
                "fingerprint": "ab",
                "labels": {"alertname": "A", "severity": "critical", "feature": "microsoft"},
                "annotations": {"summary": "it burns"},
            }
        ]
    },
    {
        "user_id": "user-1",
        "to": [{"address": "ann@corp.example", "name": "Ann"}],
        "cc": [],
        "subject": "Hello",
        "body_html": "<p>x</p>",
        "body_text": "x",
        "attachments": [{"name": "a.txt", "content_type": "text/plain", "content_base64": "eA=="}],
        "inline_images": [],
        "reply_to": [],
        "idempotency_key": "k",
    },
    {"user_id": "user-1", "login_hint": "ann@corp.example"},
)
"""What each route takes; a part of it is damaged."""
PIECES = (
    "%1b%5b2J",
    "%ed%a0%bd",
    "%e2%80%ae",
    "%0d%0aX:1",
    "",
    "microsoft",
    "google",
    "..",
    "%00",
    "%ff",
    "%2e%2e",
    "ünknown",
    "a" * 3000,
    "0-0",
    "{name}",
)
HEADERS: tuple[tuple[str, str], ...] = (
    ("Authorization", f"Bearer {TOKEN}"),
    ("Authorization", f"Bearer {TOKEN}"),
    ("Authorization", f"Bearer {TOKEN}"),
    ("Authorization", "Bearer \xff"),
    ("Authorization", "Basic Og=="),
    ("Content-Type", "application/json"),
    ("Content-Type", "application/x-www-form-urlencoded"),
    ("Content-Type", "multipart/form-data; boundary="),
    ("Idempotency-Key", "k" * 300),
    ("Idempotency-Key", "k"),
    ("If-None-Match", '"'),
    ("Last-Event-ID", f"{2**64}-0"),
    ("Cookie", "a=\xff; ="),
    ("Accept", "\xff"),
    ("Host", "[::1"),
    ("X-Forwarded-For", "not, an, address"),
    ("Expect", "100-continue"),
    ("Range", "bytes=9-1"),
)


class Malformed:
    """Requests that nobody sends who means well; the seed names them."""

    def __init__(self, document: dict[str, Any], seed: int) -> None:
        self._random = Mutator(seed)
        pages = ["/", "/features/{name}", "/page/features/{name}/course", "/page/{file}", "/favicon.ico"]
        self._paths = [*document["paths"], *pages]
        self._paths.remove(UNFIT)

    def request(self) -> bytes:
        """Write one request as it goes over the wire; now and then not even HTTP."""
        chance = self._random.random()
        if chance < 0.03:
            return self._random.randbytes(self._random.randrange(1, 300)) + b"\r\n\r\n"
        body = self._body()
        claimed = self._random.choice((len(body),) * 8 + (len(body) + 5, -1))
        lines = [f"{self._random.choice(METHODS)} {self._target()} HTTP/1.1", "Host: x", "Connection: close"]
        lines += [
            f"{name}: {value}" for name, value in self._random.sample(HEADERS, self._random.randrange(4))
        ]
        lines += ["Transfer-Encoding: chunked"] if chance < 0.06 else [f"Content-Length: {claimed}"]
        return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body

    def _target(self) -> str:
        path = re.sub(r"{\w+}", lambda _: self._random.choice(PIECES), self._random.choice(self._paths))
        names = ("limit", "before", "changes", "link", "state", "code", "user_id", "feature")
        query = [
            f"{self._random.choice(names)}={self._random.choice(PIECES)}"
            for _ in range(self._random.randrange(4))
        ]
        return f"{path}?{'&'.join(query)}" if query else path

    def _body(self) -> bytes:
        scrap = self._random.choice(SCRAPS)
        if self._random.random() < 0.3:
            return scrap
        sound = self._random.choice(SOUND)
        if self._random.random() < 0.3:
            return self._random.bytes_of(json.dumps(sound).encode())
        return self._random.text_of(sound).encode()


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return bytes(answer.read())


def answer_to(address: tuple[str, int], request: bytes) -> bytes:
    """Send it, say that no more comes, and give the status line; raises TimeoutError where nothing comes."""
    with socket.create_connection(address, timeout=10) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while part := connection.recv(65_536):
                answer += part
        except ConnectionError:
            return b""
    return answer.partition(b"\r\n")[0]


async def test_no_malformed_request_hangs_or_is_answered_with_a_server_error(daemon: Daemon) -> None:
    document: dict[str, Any] = json.loads(await asyncio.to_thread(read, f"{daemon.url}/openapi.json"))
    assert "/actions/outlook.send" in document["paths"]
    malformed = Malformed(document, SEED)
    statuses: dict[bytes, int] = {}
    for _ in range(REQUESTS):
        request = malformed.request()
        line = await asyncio.to_thread(answer_to, ("127.0.0.1", daemon.port), request)
        status = line[9:12]
        assert not status.startswith(b"5"), request
        statuses[status] = statuses.get(status, 0) + 1
    assert {b"200", b"400", b"401", b"403", b"404", b"405", b"422"} <= set(statuses), statuses
