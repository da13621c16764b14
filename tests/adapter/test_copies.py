"""Whatever a server answers, whether it delivered or not: two calls with one key never make two copies."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis
from kit.sending import Sender, open_flags, open_sender
from kit.servers import RedisServer

from adapter.errors import SendUnknownError, StructuredError
from adapter.providers.outlook_codes import CLOSED_LIST, MS_CODES
from adapter.sandbox.faults import Faults
from adapter.sandbox.graph import Sandbox

STATUSES = [*range(200, 600), 600, 799, 999]
UNKNOWN = "MS_SEND_UNKNOWN"
GATE_OPEN = "rollout_gate_total{feature=microsoft,outcome=open,reason=in_rollout}"


def expected_code(status: int) -> str:
    if status == 202:
        return ""
    sure = CLOSED_LIST.by_status
    return sure[status].code if status in sure else UNKNOWN


def expected_metrics(code: str) -> dict[str, float]:
    status = "error" if code else "ok"
    metrics = {
        GATE_OPEN: 1.0,
        f"action_exec_total{{status={status}}}": 1.0,
        f"action_latency_seconds_count{{status={status}}}": 1.0,
    }
    if code:
        metrics[f"structured_error_total{{code={code},source={MS_CODES[code].source}}}"] = 1.0
        if MS_CODES[code].source != "caller":
            metrics["action_error_total{}"] = 1.0
    return metrics


async def call(sender: Sender, key: str) -> str:
    try:
        await sender.send(idempotency_key=key, subject=key)
    except StructuredError as error:
        return error.code
    return ""


async def two_calls(sender: Sender, faults: Faults, key: str) -> tuple[str, str, int]:
    """Return the codes of two calls with one key, and how many copies they made."""
    graph = sender.graph
    graph.faults = faults
    graph.copies.clear()
    first = await call(sender, key)
    posts = graph.posts
    second = await call(sender, key)
    assert graph.posts == posts or first not in {"", UNKNOWN}
    return first, second, sum(graph.copies.values())


async def test_every_status_gives_at_most_one_copy(sender: Sender) -> None:
    """A server that delivers and answers one of the closed list would make the list a lie: it has no line."""
    expected: Counter[str] = Counter()
    for status in STATUSES:
        code = expected_code(status)
        for share in (0.0,) if status in CLOSED_LIST.by_status else (0.0, 1.0):
            faults = Faults(status=status, error_code="New", delivered_share=share, retry_after=0)
            first, second, copies = await two_calls(sender, faults, f"{status} {share}")
            assert (first, second) == (code, code)
            assert copies == (1 if status == 202 else share), status
            expected.update(expected_metrics(code))
            expected.update(of_second_call(code))
    assert {name: value for name, value in sender.metrics().items() if value} == expected


def of_second_call(code: str) -> dict[str, float]:
    """Return what moves: a replay nothing, an unknown key its code alone, everything else is a send again."""
    if code == "":
        return {}
    if code == UNKNOWN:
        return {f"structured_error_total{{code={UNKNOWN},source=provider}}": 1.0}
    return expected_metrics(code)


async def test_a_429_that_delivers_gives_one_copy_where_it_is_not_believed(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client)
    doubting = {"ROLLOUT_THROTTLED_IS_UNKNOWN": "true"}
    async with open_sender(redis_server.url, graph, environment=doubting) as sender:
        faults = Faults(status=429, delivered_share=1.0, retry_after=0)
        assert await two_calls(sender, faults, "429") == (UNKNOWN, UNKNOWN, 1)


HEAD = b"HTTP/1.1 "
EMPTY = b"\r\ncontent-length: 0\r\n\r\n"
RAW = [
    (b"", UNKNOWN),
    (b"\0" * 100, UNKNOWN),
    (b"202\r\n\r\n", UNKNOWN),
    (b"HTTP/2 202 Accepted" + EMPTY, UNKNOWN),
    (HEAD + b"2020 Accepted" + EMPTY, UNKNOWN),
    (HEAD + b"20 Accepted" + EMPTY, UNKNOWN),
    (HEAD + b"-202 Accepted" + EMPTY, UNKNOWN),
    (HEAD + b"100 Continue\r\n\r\n", UNKNOWN),
    (HEAD + b"101 Switching Protocols\r\nupgrade: mail\r\n\r\n", UNKNOWN),
    (HEAD + b"103 Early Hints\r\n\r\n" + HEAD + b"503 No" + EMPTY, UNKNOWN),
    (HEAD + b"503 No" + EMPTY + HEAD + b"202 Accepted" + EMPTY, UNKNOWN),
    (HEAD + b"202 Accepted", UNKNOWN),
    (HEAD + b"202 Accepted\r\nx: " + b"y" * 300_000, UNKNOWN),
    (HEAD + b"400 No\r\ncontent-length: 90\r\n\r\n" + b'{"error":{"code":"ErrorInvalidRecipients"', UNKNOWN),
    (HEAD + b"202 Accepted" + EMPTY, ""),
    (HEAD + b"100 Continue\r\n\r\n" + HEAD + b"202 Accepted" + EMPTY, ""),
    (HEAD + b"202 Accepted\r\ncontent-length: 90\r\n\r\ncut", ""),
    (HEAD + b"202 Accepted\r\ntransfer-encoding: chunked\r\n\r\nffff\r\n{", ""),
    (HEAD + b"202 Accepted\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello", ""),
]


@asynccontextmanager
async def answering(raw: bytes) -> AsyncIterator[str]:
    """Read a request, say this and hang up; gives the base URL."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        writer.write(raw)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1.0"


@pytest.mark.parametrize(("raw", "code"), RAW, ids=[repr(raw[:40]) for raw, _ in RAW])
async def test_only_a_whole_head_with_202_is_a_success(
    raw: bytes, code: str, redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client)
    async with (
        answering(raw) as url,
        open_sender(redis_server.url, graph, environment={"MS_GRAPH_URL": url}) as sender,
    ):
        first = await sender.outcome(idempotency_key="k")
        second = await sender.outcome(idempotency_key="k")
    assert (first.code, second.code) == (code, code)
    assert first.moved == expected_metrics(code)
    assert isinstance(first.error, SendUnknownError) == bool(code)
