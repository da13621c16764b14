"""Idempotency keys in Redis: a call that is made again with its key never sends the mail again.

A key is `pending` while its send is under way, `sent` once the provider took the mail, `unknown` when nobody
can say. A send that surely failed gives its key back. A process that dies leaves `pending`, which becomes
`unknown` when the send's time is over: whether it had sent is not known either.
"""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

import redis.asyncio as aioredis

from adapter.errors import REFUSALS, MessageRefusedError, StructuredError
from adapter.message import Form, OutgoingMessage, SendResult
from adapter.sending.redis_client import REDIS_ERRORS
from controller.shared.redis_pool import key_prefix

MAX_KEY_CHARACTERS = 256
PENDING_MARGIN_S = 5.0
"""Beyond the deadline of a send: nothing of it is under way any more."""

CLAIM = """
local now = redis.call('TIME')
now = tonumber(now[1]) + tonumber(now[2]) / 1e6
local held = redis.call('HMGET', KEYS[1], 'state', 'print', 'owner', 'until', 'result')
local state = held[1]
if state and held[2] ~= ARGV[1] then return {'reused', '', 0} end
if state == 'sent' then return {'sent', held[5], 0} end
if state == 'pending' and held[3] ~= ARGV[2] then
  local left = tonumber(held[4]) - now
  if left > 0 then return {'pending', '', math.ceil(left * 1000)} end
  state = 'unknown'
end
if state == 'unknown' and ARGV[5] ~= '1' then
  redis.call('HSET', KEYS[1], 'state', 'unknown')
  return {'unknown', '', 0}
end
if state ~= 'pending' then redis.call('HSET', KEYS[1], 'before', state or '') end
redis.call('HSET', KEYS[1], 'state', 'pending', 'print', ARGV[1], 'owner', ARGV[2],
           'until', string.format('%.3f', now + tonumber(ARGV[3])))
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {'claimed', '', 0}
"""
"""KEYS: the key. ARGV: fingerprint, owner, seconds pending, seconds to live, 1 to send an unknown one again.
Harmless when it is sent twice: the owner finds its own claim."""

FINISH = """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
local state = ARGV[2]
if state == '' then
  if redis.call('HGET', KEYS[1], 'before') ~= 'unknown' then return redis.call('DEL', KEYS[1]) end
  state = 'unknown'
end
redis.call('HSET', KEYS[1], 'state', state, 'result', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""
"""KEYS: the key. ARGV: owner, new state (empty gives the key back as it was), result, seconds to live."""


class KeyOutcome(StrEnum):
    """How a send with a key ended."""

    SENT = "sent"
    UNKNOWN = "unknown"
    NOT_SENT = ""


@dataclass(frozen=True, slots=True)
class KeyClaim:
    """The right to send under a key, held by one call."""

    key: str
    owner: str


@dataclass(frozen=True, slots=True)
class ExistingKey:
    """A key that was used before: `state` is sent, pending, unknown or reused."""

    state: str
    result: SendResult | None = None
    retry_after_s: float | None = None


class IdempotencyKeys:
    """The keys of one Redis."""

    def __init__(self, client: "aioredis.Redis", ttl_s: int) -> None:
        self._prefix = key_prefix(client)
        self._ttl_s = ttl_s
        self._claim = client.register_script(CLAIM)
        self._finish = client.register_script(FINISH)

    async def claim(
        self, key: str, fingerprint: str, owner: str, *, pending_s: float, resend_unknown: bool
    ) -> KeyClaim | ExistingKey:
        """Claim a key; raises MessageRefusedError where Redis cannot be asked: without it nothing is safe."""
        arguments = [fingerprint, owner, pending_s + PENDING_MARGIN_S, self._ttl_s, int(resend_unknown)]
        try:
            state, result, left_ms = await self._ask(key, arguments, pending_s)
        except BaseException:  # nobody waits for the answer any more, and the claim may have been made
            await self.finish(KeyClaim(key, owner), KeyOutcome.NOT_SENT)
            raise
        if state == "claimed":
            return KeyClaim(key, owner)
        return ExistingKey(state, parse_result(result), left_ms / 1000 if left_ms else None)

    async def _ask(self, key: str, arguments: list[Any], within_s: float) -> tuple[str, str, int]:
        keys = [self._prefix + key]
        try:
            async with asyncio.timeout(within_s):
                with contextlib.suppress(*REDIS_ERRORS):
                    return cast("tuple[str, str, int]", await self._claim(keys=keys, args=arguments))
                return cast("tuple[str, str, int]", await self._claim(keys=keys, args=arguments))
        except REDIS_ERRORS as error:
            raise unavailable(error) from error

    async def finish(self, claim: KeyClaim, end: KeyOutcome, result: SendResult | None = None) -> bool:
        """Say how the send ended; where that cannot be kept, the key turns to unknown by itself."""
        text = format_result(result) if result else ""
        arguments = [claim.owner, end.value, text, self._ttl_s]
        try:
            await self._finish(keys=[self._prefix + claim.key], args=arguments)
        except REDIS_ERRORS:
            return False
        return True


def redis_key(action: str, key: str) -> str:
    """Name the Redis key; hashed, so that it has one length and tells nobody what it stands for."""
    return f"rollout:idempotency:{action}:{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()}"


def fingerprint(message: OutgoingMessage, user_id: str) -> str:
    """Name a mail by all that it says and who sends it."""
    hasher = hashlib.sha256()
    for part in _parts(message, user_id):
        hasher.update(len(part).to_bytes(8, "big"))
        hasher.update(part)
    return hasher.hexdigest()


def _parts(message: OutgoingMessage, user_id: str) -> list[bytes]:
    addresses = [(field, a.address, a.name) for field, a in message.named_addresses()]
    texts = (user_id, message.subject, message.body_html, message.body_text, addresses)
    files = [
        part
        for file in message.files
        for part in (
            repr((file.name, file.content_type, getattr(file, "content_id", None))).encode(),
            file.content,
        )
    ]
    return [json.dumps(texts).encode(), *files]


def check_key(key: object) -> str:
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY_CHARACTERS:
        raise MessageRefusedError(
            "INVALID_HEADER", f"a key is text of 1 to {MAX_KEY_CHARACTERS} characters", "idempotency_key"
        )
    return key


def unavailable(error: Exception) -> StructuredError:
    code = REFUSALS["IDEMPOTENCY_UNAVAILABLE"]
    return StructuredError(
        code.name,
        f"{code.sentence} ({type(error).__name__}); call again when Redis answers",
        source=code.source,
        field="idempotency_key",
    )


def format_result(result: SendResult) -> str:
    return json.dumps(
        {
            "request_id": result.request_id,
            "client_request_id": result.client_request_id,
            "internet_message_id": result.internet_message_id,
            "form": result.form.value,
        }
    )


def parse_result(text: str) -> SendResult | None:
    if not text:
        return None
    values: Mapping[str, str] = json.loads(text)
    return SendResult(
        request_id=values["request_id"],
        client_request_id=values["client_request_id"],
        internet_message_id=values["internet_message_id"],
        form=Form(values["form"]),
        replayed=True,
    )
