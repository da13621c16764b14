"""Fixtures that many tests share: a real redis-server, and a proxy before it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import structlog
from kit.examples import load_profile
from kit.redis_cluster import RedisCluster, running_cluster, told
from kit.servers import Proxy, RedisServer

pytest_plugins = ["kit.secret_search", "kit.tiers"]

load_profile()

# In a shell's background interrupts are ignored, and every process that a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def environment_as_it_was() -> Iterator[None]:
    """Undo what a command that ran in this process put into the environment, where the adapter reads it."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(autouse=True)
def log_as_it_comes() -> Iterator[None]:
    """Undo what a test, or a command that it ran in this process, set up for the log."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Run an empty redis-server for this test alone."""
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def redis_client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Yield a client of `redis_server` that answers with text."""
    with redis_server.client() as client:
        yield client


@pytest.fixture(scope="session")
def running_redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def redis_cluster(running_redis_cluster: RedisCluster) -> RedisCluster:
    """Return an empty cluster, for tests that leave its nodes and slots as they are."""
    for node in running_redis_cluster.masters:
        told(node, "FLUSHALL")
    return running_redis_cluster


@pytest.fixture
def redis_proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    """Run a proxy before `redis_server`."""
    with Proxy(redis_server.port) as proxy:
        yield proxy
