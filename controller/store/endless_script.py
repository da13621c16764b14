"""Ends a script that keeps everybody from Redis: senders may run scripts, and one of them may never end."""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from redis.exceptions import RedisError, ResponseError

if TYPE_CHECKING:
    import redis

T = TypeVar("T")


def despite_a_script(client: "redis.Redis", ask: Callable[[], T]) -> T:
    """Return what `ask` returns; where a script runs longer than Redis suffers, end it and ask once more.

    Redis answers BUSY only after its `busy-reply-threshold`, and ends no script that has written.
    """
    try:
        return ask()
    except ResponseError as error:
        if not str(error).startswith("BUSY"):
            raise
        with suppress(RedisError):
            client.script_kill()
        return ask()
