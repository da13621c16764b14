"""The adapter's own Redis client: short time-outs, and no command is sent twice without our knowing."""

import asyncio

import redis
import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

TIMEOUT_S = 0.5
"""To connect and for one answer. The library's own is 5 s with ten hidden repeats."""
MAX_CONNECTIONS = 50
QUEUE_S = 2.0
"""The longest wait for a free connection."""

REDIS_ERRORS = (redis.RedisError, OSError, asyncio.TimeoutError)


def open_redis(url: str) -> "aioredis.Redis":
    pool = aioredis.BlockingConnectionPool.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=QUEUE_S,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )
    return aioredis.Redis.from_pool(pool)
