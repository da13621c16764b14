"""What a host sees of a send in its log: never what would let somebody else write into a mailbox."""

import logging
from pathlib import Path

import pytest
import redis
from kit.sending import open_flags, open_sender
from kit.servers import RedisServer

from adapter import attach_file
from adapter.sandbox.graph import Sandbox


async def test_the_log_of_a_host_shows_no_address_of_an_upload(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    graph: Sandbox,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "film.mp4").write_bytes(bytes(5_000_000))
    open_flags(redis_client)
    large = {"MS_LARGE_ATTACHMENTS": "true"}
    with caplog.at_level(logging.DEBUG):
        async with open_sender(redis_server.url, graph, environment=large) as sender:
            outcome = await sender.outcome(attachments=[attach_file(tmp_path / "film.mp4")])
    assert (outcome.code, graph.steps["range"]) == ("", 2)
    told = [f"{record.getMessage()} {record.args!r}" for record in caplog.records]
    assert any(record.name.startswith("httpcore") for record in caplog.records)
    assert [line for line in told if "authtoken" in line or "Bearer" in line] == []
