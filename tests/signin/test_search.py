"""The search for secrets that follows every test here finds one, wherever it stands."""

import logging

import structlog
from redis import Redis
from servers import RedisServer
from signinkit import Monitor, Notes, leaks, until

SECRET = "a-secret-that-must-be-found"


async def test_a_secret_in_a_log_an_argument_a_traceback_or_redis_is_found(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    notes, monitor = Notes(), Monitor(redis_server.port)
    logger = logging.getLogger("tests.search")
    logger.addHandler(notes)
    for text, argument, error in (("%s", SECRET, None), ("failed %s", "", ValueError(SECRET))):
        notes.lines.clear()
        logger.error(text, argument, exc_info=error)
        assert leaks({SECRET}, {"the logs": lambda: "\n".join(notes.lines)})
    logger.removeHandler(notes)
    redis_client.set("key", SECRET)
    redis_client.delete("key")
    await until(lambda: leaks({SECRET}, {"Redis": monitor.seen.decode}))
    monitor.close()


def test_structlog_events_are_searched_too(nothing_leaks: None) -> None:
    with structlog.testing.capture_logs() as events:
        structlog.get_logger("tests").info("event", token=SECRET)
    assert leaks({SECRET}, {"the events": lambda: repr(events)})
