"""A controller in this process on a real Redis of its own."""

from pathlib import Path

import pytest
import redis
from kit.servers import RedisServer
from worlds.fault_rig import Rig


@pytest.fixture
def rig(redis_server: RedisServer, redis_client: redis.Redis, tmp_path: Path) -> Rig:
    return Rig(redis_server.url, redis_client, tmp_path / "decisions.jsonl")
