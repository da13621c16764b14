"""A sender on a real Redis and a local Graph, both for one test."""

from collections.abc import AsyncIterator

import pytest
import redis
from kit.sending import Sender, open_flags, open_sender
from kit.servers import RedisServer

from adapter.sandbox.graph import Sandbox


@pytest.fixture
async def graph() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def sender(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> AsyncIterator[Sender]:
    open_flags(redis_client)
    async with open_sender(redis_server.url, graph) as opened:
        yield opened
