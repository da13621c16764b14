"""A controller in this process on a real Redis of its own."""

from pathlib import Path

import pytest
import redis
from faultrig import Rig
from servers import RedisServer


@pytest.fixture
def rig(redis_server: RedisServer, redis_client: redis.Redis, tmp_path: Path) -> Rig:
    return Rig(redis_server.url, redis_client, tmp_path / "decisions.jsonl")
