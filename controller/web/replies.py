"""What was answered to a call with an Idempotency-Key, kept in Redis: the same call changes nothing twice."""

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, cast

import redis
import redis.asyncio as aioredis

from controller.contract import reply_key
from controller.shared.redis_pool import key_prefix
from controller.store.flag_store import StoreError
from controller.web.problems import ProblemError

KEPT_S = 86_400
_UNDER_WAY_S = 30
LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class Call:
    """One call that carries a key: the key's home, and what was asked for."""

    key: str
    request: str

    @classmethod
    def of(cls, idempotency_key: str, actor: str, path: str, body: dict[str, Any]) -> "Call":
        """Name the call; keys of two actors never meet. Raises ProblemError for an unusable key."""
        if not 0 < len(idempotency_key) <= LONGEST_KEY:
            raise ProblemError(400, f"an Idempotency-Key has 1 to {LONGEST_KEY} characters")
        asked = json.dumps([path, body], sort_keys=True)
        return cls(reply_key(_digest(f"{actor}\n{idempotency_key}")), _digest(asked))


class Replies:
    """Keeps replies for a day; a call under way holds its key for half a minute."""

    def __init__(self, client: "aioredis.Redis") -> None:
        self._redis = client
        self._prefix = key_prefix(client)

    async def begin(self, call: Call) -> dict[str, Any] | None:
        """Take the key, or give the reply of the call that had it before.

        What is kept under a key and cannot be read counts as nothing: each act here leaves the same when it
        is done twice, and a pause must not wait for it. Raises ProblemError when that call is under way (409)
        or asked for something else (422).
        """
        under_way = json.dumps({"request": call.request})
        key = self._prefix + call.key
        try:
            taken = await self._redis.set(key, under_way, nx=True, ex=_UNDER_WAY_S)
            kept = {} if taken else _kept((await self._redis.mget([key]))[0])
            if not taken and not kept:
                await self._redis.set(key, under_way, ex=_UNDER_WAY_S)
        except (redis.RedisError, OSError) as error:
            raise StoreError.of(error) from error
        if not kept:
            return None
        if kept["request"] != call.request:
            raise ProblemError(422, "this Idempotency-Key was used for another request; take a new one")
        if "reply" not in kept:
            raise ProblemError(409, "the first call with this Idempotency-Key is still under way")
        return cast("dict[str, Any]", kept["reply"])

    async def end(self, call: Call, reply: dict[str, Any] | None) -> None:
        """Keep the reply; without one the call did not succeed, and its key is free again."""
        key = self._prefix + call.key
        try:
            if reply is None:
                await self._redis.delete(key)
            else:
                kept = json.dumps({"request": call.request, "reply": reply})
                await self._redis.set(key, kept, ex=KEPT_S)
        except (redis.RedisError, OSError):
            return  # The change itself is written; its key ends by itself.


def _kept(text: str | bytes | None) -> dict[str, Any]:
    """Read what is kept under a key; empty for what no call has written."""
    try:
        found = json.loads(text or "")
    except (ValueError, RecursionError):
        return {}
    whole = isinstance(found, dict) and "request" in found and isinstance(found.get("reply", {}), dict)
    return found if whole else {}


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
