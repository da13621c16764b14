"""Notes of open drafts in Redis: what a process that dies leaves behind, for the next one to clear away.

A note is written before its draft can be there, and goes when it is certain what became of the mail.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, cast

import redis.asyncio as aioredis

from adapter.providers.provider import DraftPlace
from adapter.sending.redis_client import REDIS_ERRORS
from controller.shared.redis_pool import key_prefix

KEEP = """
local now = tonumber(redis.call('TIME')[1])
if ARGV[4] ~= '' then
  local held = redis.call('HGET', KEYS[1], ARGV[1])
  local read, phase = pcall(function() return cjson.decode(cjson.decode(held).note).phase end)
  if not read or (phase ~= ARGV[4] and phase ~= ARGV[5]) then return 0 end
end
local note = {due = now + tonumber(ARGV[3]), at = now, note = ARGV[2]}
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(note))
return 1
"""
"""KEYS: the notes. ARGV: mark, the note, seconds until it is due, the phase that it has to be in (empty for
any, and none), and its new one, so that it is harmless when it is sent twice."""

TAKE = """
local now = tonumber(redis.call('TIME')[1])
local all = redis.call('HGETALL', KEYS[1])
for place = 1, #all, 2 do
  local read, note = pcall(cjson.decode, all[place + 1])
  local known = read and type(note) == 'table' and note.note and tonumber(note.at) and tonumber(note.due)
  if not known or now - note.at > tonumber(ARGV[2]) then
    redis.call('HDEL', KEYS[1], all[place])
  elseif note.due <= now then
    note.due = now + tonumber(ARGV[1])
    redis.call('HSET', KEYS[1], all[place], cjson.encode(note))
    return note.note
  end
end
return false
"""
"""KEYS: the notes. ARGV: seconds until the one that is taken is due again, and the age in seconds at which a
note is dropped. What cannot be read is dropped."""

MARGIN_S = 5.0
"""Beyond the deadline of a send: nothing of it is under way any more."""
SETTLE_S = 60.0
"""The time that settling one note has."""
RETRY_S = 300
"""Before a note that could not be settled is taken again: longer than SETTLE_S, so that one settles it."""
FORGET_AGAIN_S = 0.5
FORGOTTEN_AFTER_S = 7 * 86_400
"""A mailbox that cannot be asked for a week is left alone."""


class Phase(StrEnum):
    """What is known of a mail that goes by a draft. Each phase is written before what it allows is done."""

    UNSENT = "unsent"
    """It is not sent, whatever became of the draft."""
    SENDING = "sending"
    """It may be sent, and only that takes the draft away."""
    REMOVING = "removing"
    """It may be sent, or removed: that the draft is gone says nothing."""
    SENT = "sent"
    """It is sent, though its draft may be there until its time."""


@dataclass(frozen=True, slots=True)
class Note:
    """One open draft."""

    user_id: str
    mailbox: str
    mark: str
    message_id: str
    """The Message-ID of the mail."""
    draft_id: str = ""
    phase: Phase = Phase.UNSENT
    key: str = ""
    """The Redis key of its idempotency key, owned by the mark; empty without one."""

    @property
    def place(self) -> DraftPlace:
        """Where the draft is."""
        return DraftPlace(self.mailbox, self.mark, self.draft_id)


class OpenDrafts:
    """The notes of one provider's drafts."""

    def __init__(self, client: "aioredis.Redis", provider: str) -> None:
        self._client = client
        self._key = f"{key_prefix(client)}rollout:drafts:{provider}"
        self._keep = client.register_script(KEEP)
        self._take = client.register_script(TAKE)
        self._removing: set[asyncio.Task[None]] = set()

    async def keep(self, note: Note, left_s: float, after: Phase | None = None) -> bool:
        """Write a note that is due when its send is over; raises one of REDIS_ERRORS.

        Says whether it is written: not where it should follow a phase that the note is in no more.
        """
        arguments: list[Any] = [note.mark, json.dumps(asdict(note)), left_s + MARGIN_S]
        return bool(await self._keep(keys=[self._key], args=[*arguments, after or "", note.phase.value]))

    async def forget(self, note: Note) -> None:
        """Remove a note; while Redis does not answer that is tried on aside."""
        try:
            await self._removed(note)
        except REDIS_ERRORS:
            task = asyncio.create_task(self._removed_later(note))
            self._removing.add(task)
            task.add_done_callback(self._removing.discard)

    async def _removed(self, note: Note) -> None:
        await cast("Any", self._client.hdel(self._key, note.mark))

    async def _removed_later(self, note: Note) -> None:
        while True:
            await asyncio.sleep(FORGET_AGAIN_S)
            with contextlib.suppress(*REDIS_ERRORS):
                return await self._removed(note)

    def close(self) -> None:
        """Stop trying."""
        for task in self._removing:
            task.cancel()

    async def due(self) -> AsyncIterator[Note]:
        """Yield notes whose sends are over; nobody else gets one for RETRY_S. Raises REDIS_ERRORS."""
        while taken := await self._take(keys=[self._key], args=[RETRY_S, FORGOTTEN_AFTER_S]):
            if note := _parse(cast("str", taken)):
                yield note


def _parse(text: str) -> Note | None:
    """Parse a note; None where another program wrote it."""
    try:
        values = json.loads(text)
        return Note(**{**values, "phase": Phase(values["phase"])})
    except (ValueError, TypeError, KeyError):
        return None
