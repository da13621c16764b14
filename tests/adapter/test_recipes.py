"""The example of docs/embedding.md that needs nothing but what is installed; tests/install has the others."""

import sys
from pathlib import Path

import pytest
import redis
from kit.hosts import examine, running
from kit.sending import open_flags
from kit.servers import RedisServer

from controller.contract import revision_key


def test_workers_of_uvicorn_are_two_targets_and_two_gates(
    tmp_path: Path, redis_server: RedisServer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_flags(redis_client)
    redis_client.set(revision_key("microsoft"), 1)
    monkeypatch.setenv("ROLLOUT_API_TOKEN", "ann:try-me")
    with running("Workers of uvicorn", tmp_path, Path(sys.executable).parent, redis_server) as host:
        examine(host, host.post_all)
