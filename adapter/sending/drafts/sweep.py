"""Settles what processes that died have left: a draft is removed, a mail that was sent is known as sent."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from adapter.errors import StructuredError
from adapter.message import SendResult
from adapter.providers.provider import Drafts
from adapter.sending.delivery import Delivery
from adapter.sending.drafts.flow import remove_drafts
from adapter.sending.drafts.notes import Note, OpenDrafts, Phase
from adapter.sending.idempotency import IdempotencyKeys, KeyClaim, KeyOutcome
from adapter.sending.redis_client import REDIS_ERRORS

log = logging.getLogger("rollout.send")

SWEEP_S = 15.0


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Settles the notes of one provider."""

    drafts: Drafts
    notes: OpenDrafts
    keys: IdempotencyKeys
    delivery: Callable[[str], Delivery]
    """By the user; it sends nothing, so no gate is asked."""

    async def run(self) -> None:
        """Sweep now and again until cancelled; the Redis client may turn that into an error of its own."""
        while not _is_cancelled():
            with contextlib.suppress(*REDIS_ERRORS):
                await self.sweep()
            await asyncio.sleep(0 if _is_cancelled() else SWEEP_S)

    async def sweep(self) -> int:
        """Settle what is due, and return how much of it is settled; raises one of REDIS_ERRORS."""
        notes = await self.notes.take_due()
        return sum([await self._settled(note) for note in notes])

    async def _settled(self, note: Note) -> bool:
        try:
            outcome = await self._outcome(note, self.delivery(note.user_id))
        except StructuredError as error:
            log.warning("an open draft of %s is not settled yet: %s", note.user_id, error.code)
            return False
        if note.key and outcome is not KeyOutcome.UNKNOWN:
            result = SendResult("", note.mark, note.message_id) if outcome is KeyOutcome.SENT else None
            await self.keys.finish(KeyClaim(note.key, note.mark), outcome, result)
        await self.notes.forget(note)
        return True

    async def _outcome(self, note: Note, delivery: Delivery) -> KeyOutcome:
        """Say what became of a mail, its draft removed if it is one still."""
        if note.phase is Phase.UPLOADING:
            await remove_drafts(delivery, self.drafts, note.place, find=True)
            return KeyOutcome.NOT_SENT
        if note.phase is Phase.SENDING:
            if not await delivery.achieved(self.drafts.look(note.place), self.drafts.is_there):
                return KeyOutcome.SENT
            await self.notes.keep(replace(note, phase=Phase.REMOVING), delivery.deadline.left_s())
        removed = await delivery.achieved(self.drafts.remove(note.place), self.drafts.is_removed)
        return KeyOutcome.NOT_SENT if removed else KeyOutcome.UNKNOWN


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
