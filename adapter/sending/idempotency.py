"""Idempotency keys in Redis: a call that is made again with its key never sends the mail again.

A key is `pending` while its send is under way, `sent` once the provider took the mail, `unknown` when nobody
can say. A send that surely failed gives its key back. A process that dies leaves `pending`, which becomes
`unknown` when the send's time is over: whether it had sent is not known either.
"""

import asyncio
import contextlib
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from typing import Any, cast

import redis.asyncio as aioredis

from adapter.errors import REFUSALS, MessageRefusedError, StructuredError
from adapter.message import Form, OutgoingMessage, SendResult, StoredContent
from adapter.providers.body import blocks_of
from adapter.sending.redis_client import REDIS_ERRORS
from controller.shared.redis_pool import key_prefix

HASHED_BYTES = 1024 * 1024
MAX_KEY_CHARACTERS = 256
PENDING_MARGIN_S = 5.0
"""Beyond the deadline of a send: nothing of it is under way any more."""

CLAIM = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and (kind ~= 'hash' or redis.call('HEXISTS', KEYS[1], 'state') == 0) then
  return {'unknown', '', 0}
end
local now = redis.call('TIME')
now = tonumber(now[1]) + tonumber(now[2]) / 1e6
local held = redis.call('HMGET', KEYS[1], 'state', 'print', 'owner', 'until', 'result')
local state = held[1]
if state and held[2] ~= ARGV[1] then return {'reused', '', 0} end
if state == 'sent' then return {'sent', held[5], 0} end
local ours = state == 'pending' and held[3] == ARGV[2]
if state == 'pending' and not ours then
  local left = math.min((tonumber(held[4]) or 0) - now, 3600)
  if left > 0 then return {'pending', '', math.ceil(left * 1000)} end
end
if state and not ours and ARGV[5] ~= 'resend' then
  redis.call('HSET', KEYS[1], 'state', 'unknown')
  return {'unknown', '', 0}
end
if ARGV[5] == 'look' then return {'free', '', 0} end
if not ours then redis.call('HSET', KEYS[1], 'before', state and 'unknown' or '') end
redis.call('HSET', KEYS[1], 'state', 'pending', 'print', ARGV[1], 'owner', ARGV[2],
           'until', string.format('%.3f', now + tonumber(ARGV[3])))
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {'claimed', redis.call('HGET', KEYS[1], 'before'), 0}
"""
"""KEYS: the key. ARGV: fingerprint, owner, seconds pending, seconds to live; `look` claims nothing, `claim`
takes a free key, `resend` an unknown one too. Harmless when it is sent twice: the owner finds its claim.
A key that another program wrote is unknown."""

FINISH = """
local held = redis.call('HMGET', KEYS[1], 'owner', 'state')
if held[1] ~= ARGV[1] or held[2] == 'sent' then return 0 end
local state = ARGV[2]
if state == '' then
  if redis.call('HGET', KEYS[1], 'before') ~= 'unknown' then return redis.call('DEL', KEYS[1]) end
  state = 'unknown'
end
redis.call('HSET', KEYS[1], 'state', state, 'result', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""
"""KEYS: the key. ARGV: owner, new state (empty gives the key back as it was), result, seconds to live.
A key that is sent stays so."""


class KeyOutcome(StrEnum):
    """How a send with a key ended."""

    SENT = "sent"
    UNKNOWN = "unknown"
    NOT_SENT = ""


class Wanted(StrEnum):
    """What a call may do with its key."""

    LOOK = "look"
    """See whether it was used; nothing would be sent now."""
    CLAIM = "claim"
    RESEND = "resend"
    """Claim it even where the mail may have been sent."""


@dataclass(frozen=True, slots=True)
class KeyClaim:
    """The right to send under a key, held by one call."""

    key: str
    owner: str
    was_unknown: bool = False
    """An earlier send with this key may have sent the mail."""


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
        self, key: str, fingerprint: str, owner: str, wanted: Wanted, *, pending_s: float
    ) -> KeyClaim | ExistingKey | None:
        """Claim a key; raises StructuredError where Redis cannot be asked: without it nothing is safe.

        A claim is pending for longer than its send may take, and is remembered after that as long as any.
        Returns None where a look found the key free.
        """
        pending_until_s = pending_s + PENDING_MARGIN_S
        kept_s = math.ceil(pending_until_s) + self._ttl_s
        arguments = [fingerprint, owner, pending_until_s, kept_s, wanted.value]
        try:
            state, text, left_ms = await self._ask(key, arguments, pending_s)
        except BaseException:  # nobody waits for the answer any more, and the claim may have been made
            if wanted is not Wanted.LOOK:
                await self.finish(KeyClaim(key, owner), KeyOutcome.NOT_SENT)
            raise
        if state == "claimed":
            return KeyClaim(key, owner, was_unknown=bool(text))
        if state == "free":
            return None
        result = parse_result(text) if state == "sent" else None
        return ExistingKey(state, result, left_ms / 1000 if left_ms else None)

    async def _ask(self, key: str, arguments: list[Any], within_s: float) -> tuple[str, str, int]:
        keys = [self._prefix + key]
        try:
            async with asyncio.timeout(within_s):
                with contextlib.suppress(*REDIS_ERRORS):
                    return cast("tuple[str, str, int]", await self._claim(keys=keys, args=arguments))
                return cast("tuple[str, str, int]", await self._claim(keys=keys, args=arguments))
        except REDIS_ERRORS as error:
            raise unavailable(error) from error

    async def finish(self, claim: KeyClaim, end: KeyOutcome, result: SendResult | None = None) -> None:
        """Write how the send ended, even where its caller gives up meanwhile.

        Where that cannot be written, the key turns to unknown by itself.
        """
        text = format_result(result) if result else ""
        arguments = [claim.owner, end.value, text, self._ttl_s]
        await asyncio.shield(asyncio.ensure_future(self._written(self._prefix + claim.key, arguments)))

    async def _written(self, key: str, arguments: list[Any]) -> None:
        for _ in range(2):
            with contextlib.suppress(*REDIS_ERRORS):
                await self._finish(keys=[key], args=arguments)
                return


def redis_key(action: str, user_id: str, key: str) -> str:
    """Name the Redis key; hashed, so that it has one length and tells nobody what it stands for."""
    named = f"{user_id}\0{key}".encode("utf-8", "surrogatepass")
    return f"rollout:idempotency:{action}:{hashlib.sha256(named).hexdigest()}"


def fingerprint(message: OutgoingMessage) -> str:
    """Name a mail by all that it says, as it was given: what is checked later may depend on the settings."""
    values = ((field, getattr(message, field.name)) for field in fields(message))
    said = [(field.name, value) for field, value in values if value not in (field.default, "")]
    return hashlib.sha256(json.dumps(said, default=_plain).encode()).hexdigest()


def _plain(value: object) -> object:
    """Return what stands for a value that JSON does not know, whatever a caller gave."""
    if isinstance(value, bytes | bytearray | memoryview):
        return hashlib.sha256(bytes(value)).hexdigest()
    if isinstance(value, StoredContent):
        digest = hashlib.sha256()
        for block in blocks_of(value, HASHED_BYTES):
            digest.update(block)
        return digest.hexdigest()
    if is_dataclass(value):
        return [getattr(value, field.name) or "" for field in fields(value)]
    return repr(value)


def check_key(key: object) -> str:
    """Return the key; raises MessageRefusedError where it is none."""
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY_CHARACTERS:
        raise MessageRefusedError(
            "INVALID_HEADER", f"a key is text of 1 to {MAX_KEY_CHARACTERS} characters", "idempotency_key"
        )
    return key


def unavailable(error: Exception) -> StructuredError:
    """Return the error for a Redis that cannot be asked about a key."""
    code = REFUSALS["IDEMPOTENCY_UNAVAILABLE"]
    return StructuredError(
        code.name,
        f"{code.sentence} ({type(error).__name__}); call again when Redis answers",
        source=code.source,
        field="idempotency_key",
    )


def format_result(result: SendResult) -> str:
    """Return a result as it is kept under a key."""
    return json.dumps(
        {
            "request_id": result.request_id,
            "client_request_id": result.client_request_id,
            "internet_message_id": result.internet_message_id,
            "form": result.form.value,
            "provider_message_id": result.provider_message_id,
            "thread_id": result.thread_id,
        }
    )


def parse_result(text: str) -> SendResult:
    """Parse the result of a key that is `sent`; raises StructuredError where it cannot be read."""
    try:
        values: Mapping[str, str] = json.loads(text)
        return SendResult(
            request_id=values["request_id"],
            client_request_id=values["client_request_id"],
            internet_message_id=values["internet_message_id"],
            form=Form(values["form"]),
            replayed=True,
            provider_message_id=values.get("provider_message_id", ""),
            thread_id=values.get("thread_id", ""),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise unavailable(error) from error
