"""Notes of open drafts in Redis: what a process that dies leaves behind, for the next one to clear away.

A note is written before its draft can be there, and goes when it is certain what became of the mail.
"""

import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, cast

import redis.asyncio as aioredis

from adapter.providers.provider import DraftPlace
from adapter.sending.redis_client import REDIS_ERRORS
from controller.shared.redis_pool import key_prefix

KEEP = """
local now = tonumber(redis.call('TIME')[1])
local note = {due = now + tonumber(ARGV[3]), at = now, note = ARGV[2]}
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(note))
"""
"""KEYS: the notes. ARGV: mark, the note, seconds until it is due."""

TAKE = """
local now = tonumber(redis.call('TIME')[1])
local taken = {}
local all = redis.call('HGETALL', KEYS[1])
for place = 1, #all, 2 do
  local read, note = pcall(cjson.decode, all[place + 1])
  local known = read and type(note) == 'table' and note.note and tonumber(note.at) and tonumber(note.due)
  if not known or now - note.at > tonumber(ARGV[3]) then
    redis.call('HDEL', KEYS[1], all[place])
  elseif note.due <= now and #taken < tonumber(ARGV[2]) then
    note.due = now + tonumber(ARGV[1])
    redis.call('HSET', KEYS[1], all[place], cjson.encode(note))
    table.insert(taken, note.note)
  end
end
return taken
"""
"""KEYS: the notes. ARGV: seconds until those that are taken are due again, how many at most, and the age in
seconds at which a note is dropped. What cannot be read is dropped."""

MARGIN_S = 5.0
"""Beyond the deadline of a send: nothing of it is under way any more."""
RETRY_S = 300
"""Before a note that could not be settled is taken again."""
FORGET_AGAIN_S = 0.5
MOST_AT_ONCE = 20
FORGOTTEN_AFTER_S = 7 * 86_400
"""A mailbox that cannot be asked for a week is left alone."""


class Phase(StrEnum):
    """How far a mail came that goes by a draft."""

    UPLOADING = "uploading"
    """Nothing was asked to send it."""
    SENDING = "sending"
    """It may have been sent."""
    REMOVING = "removing"
    """It was still a draft, and was to be removed: that it is gone says nothing."""


@dataclass(frozen=True, slots=True)
class Note:
    """One open draft."""

    user_id: str
    mailbox: str
    mark: str
    message_id: str
    """The Message-ID of the mail."""
    draft_id: str = ""
    phase: Phase = Phase.UPLOADING
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

    async def keep(self, note: Note, left_s: float) -> None:
        """Write a note that is due when its send is over; raises one of REDIS_ERRORS."""
        arguments: list[Any] = [note.mark, json.dumps(asdict(note)), left_s + MARGIN_S]
        await self._keep(keys=[self._key], args=arguments)

    async def forget(self, note: Note) -> None:
        """Remove a note. While Redis does not answer that is tried on aside: a mail that waits for its time
        would be taken for one that was never sent.
        """
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

    async def take_due(self) -> Sequence[Note]:
        """Return notes whose sends are over; nobody else gets them for RETRY_S. Raises REDIS_ERRORS."""
        taken = await self._take(keys=[self._key], args=[RETRY_S, MOST_AT_ONCE, FORGOTTEN_AFTER_S])
        return [note for text in cast("list[str]", taken) if (note := _parse(text))]


def _parse(text: str) -> Note | None:
    """Parse a note; None where another program wrote it."""
    try:
        values = json.loads(text)
        return Note(**{**values, "phase": Phase(values["phase"])})
    except (ValueError, TypeError, KeyError):
        return None
