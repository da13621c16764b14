"""Fixtures of the face's tests."""

from collections.abc import Iterator

import pytest
from kit.servers import RedisServer
from kit.serving import Served, serving


@pytest.fixture
def served(redis_server: RedisServer) -> Iterator[Served]:
    """Serve the face with one named token, without a Prometheus."""
    with serving(redis_server.url) as context:
        yield context
