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
from adapter.sending.drafts.flow import remove_others
from adapter.sending.drafts.notes import RETRY_S, Note, OpenDrafts, Phase
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
        """Settle what is due, one after the other; returns how much is settled. Raises REDIS_ERRORS."""
        return sum([await self._is_settled(note) async for note in self.notes.due()])

    async def _is_settled(self, note: Note) -> bool:
        """Whether a note was settled; what stands against it must not keep the others waiting."""
        try:
            return await self._settled(note, self.delivery(note.user_id))
        except REDIS_ERRORS:
            raise
        except StructuredError as error:
            why = error.code
        except Exception as error:  # noqa: BLE001 (a fault of ours, at one note)
            why = type(error).__name__
        log.warning("an open draft of %s is not settled yet: %s", note.user_id, why)
        return False

    async def _settled(self, note: Note, delivery: Delivery) -> bool:
        """Settle a note, unless another one goes on with it: what was seen counts in the phase it had."""
        if note.phase is Phase.SENDING and await self._is_there(note, delivery):
            before, note = note.phase, replace(note, phase=Phase.REMOVING)
            if not await self.notes.keep(note, RETRY_S, before):
                return False
        outcome = await self._outcome(note, delivery)
        await remove_others(delivery, self.drafts, note.place)
        if not await self.notes.keep(note, RETRY_S, note.phase):
            return False
        if note.key and outcome is not KeyOutcome.UNKNOWN:
            result = _result(note) if outcome is KeyOutcome.SENT else None
            await self.keys.finish(KeyClaim(note.key, note.mark), outcome, result)
        await self.notes.forget(note)
        return True

    async def _is_there(self, note: Note, delivery: Delivery) -> bool:
        return await delivery.achieved(self.drafts.look(note.place), self.drafts.is_there)

    async def _outcome(self, note: Note, delivery: Delivery) -> KeyOutcome:
        """Say what became of a mail, its draft removed if it is one that shall not be sent."""
        if note.phase in {Phase.SENDING, Phase.SENT}:
            return KeyOutcome.SENT
        removed = bool(note.draft_id) and await delivery.achieved(
            self.drafts.remove(note.place), self.drafts.is_removed
        )
        return KeyOutcome.NOT_SENT if removed or note.phase is Phase.UNSENT else KeyOutcome.UNKNOWN


def _result(note: Note) -> SendResult:
    waiting = note.draft_id if note.phase is Phase.SENT else ""
    return SendResult("", note.mark, note.message_id, provider_message_id=waiting)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
