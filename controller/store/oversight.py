"""What a controller looks at beside its features: what is open and unwatched, and who decides otherwise."""

from collections.abc import Collection
from typing import cast

import redis

from controller.contract import CONFIG_HASH_KEY, enabled_feature, flag_key
from controller.shared.redis_pool import key_prefix
from controller.store.flag_store import StoreError

_KEYS_A_CALL = 1000
_CALLS = 20
"""One look asks Redis for at most so many pieces of its keys; the next look goes on where it ended."""
_MOST_NAMES = 10_000


class Oversight:
    """Looks at one Redis. Every method raises StoreError.

    Keys are found with SCAN, some at each look: a Redis with millions of other keys is never held up, and a
    feature that was found is asked about at every look from then on.
    """

    def __init__(self, client: "redis.Redis", *, calls: int = _CALLS) -> None:
        self._redis = client
        self._prefix = key_prefix(client)
        self._calls = calls
        self._cursor = 0
        self._found: set[str] = set()
        self._before: set[str] = set()
        self.whole = False
        """Whether every key was looked at."""

    def unwatched(self, watched: Collection[str]) -> tuple[str, ...]:
        """Return the features that are enabled and are not among `watched`."""
        try:
            self._look()
            names = sorted((self._found | self._before) - set(watched))[:_MOST_NAMES]
            keys = [self._prefix + flag_key(name, "enabled") for name in names]
            texts = cast("list[str | None]", self._redis.mget(keys)) if keys else []
        except (redis.RedisError, OSError) as error:
            raise StoreError.of(error) from error
        return tuple(name for name, text in zip(names, texts, strict=True) if text == "true")

    def agrees(self, config_hash: str, *, leads: bool) -> bool:
        """Whether this controller decides by what the leader decides by; the leader says what that is."""
        key = self._prefix + CONFIG_HASH_KEY
        try:
            told = cast("str | None", self._redis.get(key))
            if leads and told != config_hash:
                self._redis.set(key, config_hash)
        except (redis.RedisError, OSError) as error:
            raise StoreError.of(error) from error
        return leads or told in (None, config_hash)

    def _look(self) -> None:
        """Go on through the keys; a way through them all replaces what the one before had found."""
        pattern = _escaped(self._prefix) + flag_key("*", "enabled")
        for _ in range(self._calls):
            cursor, keys = cast(
                "tuple[int, list[str]]", self._redis.scan(self._cursor, match=pattern, count=_KEYS_A_CALL)
            )
            names = (enabled_feature(key.removeprefix(self._prefix)) for key in keys)
            self._found |= {name for name in names if name}
            self._cursor = int(cursor)
            if self._cursor == 0:
                self._before, self._found, self.whole = self._found, set(), True
                return


def _escaped(prefix: str) -> str:
    """Write a prefix so that SCAN's pattern means just that."""
    return "".join(f"\\{char}" if char in "*?[]\\^-" else char for char in prefix)
