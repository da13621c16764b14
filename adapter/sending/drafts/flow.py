"""One mail that goes by a draft, from its creation to what became of it.

Nothing is sent before the last request, and that one can send a draft once: so every other step is made again
as often as there is time, and where the last one's answer is lost, the draft is looked for.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from adapter.errors import MessageRefusedError, SendError, SendUnknownError, StructuredError
from adapter.message import Attachment, InlineImage
from adapter.providers.closed_list import STATUSES
from adapter.providers.provider import Accepted, Draft, DraftPlace, Drafts, Request, Upload
from adapter.sending.delivery import Deadline, Delivery, wait_s
from adapter.sending.drafts.notes import Note, OpenDrafts, Phase
from adapter.sending.redis_client import REDIS_ERRORS
from adapter.transport.post import Attempt

AT_ONCE = 3
"""Files of one mail side by side, each beyond the first on a place of the mailbox of its own."""
MOST_SENDS = 3
LOOKS = 2
"""That show a draft, before what was not answered counts as not carried out."""
CLEAN_UP_S = 10.0
NOTE_AGAIN_S = 0.5
GONE = 404

File = Attachment | InlineImage


@dataclass(slots=True)
class DraftSending:
    """The sending of one mail by a draft."""

    delivery: Delivery
    draft: Draft
    drafts: Drafts
    notes: OpenDrafts
    note: Note
    unavailable: Callable[[Exception], StructuredError]
    """Names a Redis that does not answer."""
    place: Callable[[], AbstractAsyncContextManager[None]]
    """Holds one more place of the mailbox; raises MessageRefusedError where none is free in time."""
    progress: Callable[[int, int], None] | None = None
    """Takes how many bytes of the files are uploaded, and how many there are."""
    upload_s: float = 0.0
    """How long the files took."""
    _uploaded: dict[int, int] = field(default_factory=dict)
    _may_be_there: bool = False
    """Whether a draft may be there whose id is not known."""
    _doubt: SendUnknownError | None = None
    """Where sending was not answered: that, though the draft was seen to be one afterwards."""

    async def run(self, request: Request) -> Accepted:
        """Send; raises as Delivery.run does, and leaves no draft behind, or a note of it."""
        await self._keep_note()
        try:
            await self._create(request)
            await self._timed_uploads()
            accepted = await self._send()
            await self._end(accepted)
        except BaseException as error:
            known = await asyncio.shield(asyncio.ensure_future(self._cleared(error)))
            if known is error:
                raise
            raise known from error
        return accepted

    async def _keep_note(self, after: Phase | None = None, **changed: Any) -> None:
        """Write down how far the mail is, before it is there.

        Raises StructuredError without Redis, and SendError where the note is not in the phase that it had:
        its time was over, and a sweep has settled it, or Redis has lost it.
        """
        self.note = replace(self.note, **changed)
        keep = partial(self.notes.keep, self.note, self.delivery.deadline.left_s(), after)
        try:
            is_kept = False
            with contextlib.suppress(*REDIS_ERRORS):
                is_kept = await keep()
            is_kept = is_kept or await keep()
        except REDIS_ERRORS as error:
            raise self.unavailable(error) from error
        if not is_kept:
            raise self._not_sent("its note is gone from Redis: its time was over, or Redis was emptied")

    async def _create(self, request: Request) -> None:
        self._may_be_there = True
        in_doubt, is_found = 0, False

        async def find() -> str | None:
            nonlocal in_doubt, is_found
            in_doubt += 1
            found = await self._quiet().achieved(self.drafts.find(self.note.place), self.drafts.found)
            is_found = bool(found)
            return next(iter(found), None)

        try:
            draft_id = await self.delivery.achieved(request, self.draft.created, find)
        except SendError as error:
            self._may_be_there = in_doubt > 0 or error.status not in STATUSES
            raise
        await self._keep_note(Phase.UNSENT, draft_id=draft_id)
        self._may_be_there = in_doubt > is_found

    async def _timed_uploads(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await self._attach_all()
        finally:
            self.upload_s = loop.time() - began

    async def _attach_all(self) -> None:
        """Attach every file, several side by side; raises what the first that fails raises."""
        left = iter(_by_name(self.draft.files))
        work = partial(self._attach, left)
        idle: set[asyncio.Task[None]] = set()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(AT_ONCE, len(self.draft.files)) - 1):
                    idle.add(group.create_task(self._help(work, idle)))
                await work()
                for helper in idle:
                    helper.cancel()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _help(self, work: Callable[[], Awaitable[None]], idle: "set[asyncio.Task[None]]") -> None:
        """Work too, once there is a place; where none comes free, the first one does it all."""
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self.place())
            except MessageRefusedError:
                return
            idle.difference_update({asyncio.current_task()})
            await work()

    async def _attach(self, left: Iterable[Sequence[File]]) -> None:
        for files in left:
            for before, file in enumerate(files):
                request = self.draft.attach(self.note.draft_id, file)
                told = replace(self.delivery, progress=partial(self._tell, file))
                check = partial(self._is_attached, file.name, before)
                await told.achieved(request, lambda reply: self.draft.is_attached(reply) or None, check)
                self._tell(file, None, len(file.content))

    def _tell(self, file: File, _: Upload | None, received: int) -> None:
        if self.progress:
            self._uploaded[id(file)] = received
            total = sum(len(one.content) for one in self.draft.files)
            self.progress(sum(self._uploaded.values()), total)

    async def _is_attached(self, name: str, before: int) -> bool | None:
        """Whether a file is attached whose request was not answered: its name is there once more."""
        names = await self._quiet().achieved(self.draft.names(self.note.draft_id), self.draft.named)
        return names.count(name) > before or None

    async def _send(self) -> Accepted:
        """Send the draft, and once more only where it is seen to be one still."""
        await self._keep_note(Phase.UNSENT, phase=Phase.SENDING)
        request = self.draft.send(self.note.draft_id)
        for number in range(1, MOST_SENDS + 1):
            try:
                return self._named(await self.delivery.run(request))
            except SendUnknownError as unknown:
                if number == 1 and unknown.status == GONE:  # somebody else took it away, or sent it
                    with contextlib.suppress(StructuredError):
                        await self._keep_note(Phase.SENDING, phase=Phase.REMOVING)
                    raise
                if not await self._is_still_there(unknown):
                    return Accepted(unknown.request_id)
                self._doubt = unknown
                self.delivery.attempt.body_began = False
                if self.draft.is_deferred or number == MOST_SENDS:
                    raise
        raise AssertionError

    async def _end(self, accepted: Accepted) -> None:
        """Forget a mail that was sent; raises SendUnknownError where one that waits would be taken back."""
        is_clean = not self._may_be_there or await self._is_second_removed()
        if self.draft.is_deferred:
            await self._keep_note_of_waiting(accepted)
        if is_clean:
            await self.notes.forget(self.note)

    async def _keep_note_of_waiting(self, accepted: Accepted) -> None:
        """Write down that it waits: whoever finds the draft without that removes it."""
        while True:
            try:
                return await self._keep_note(Phase.SENDING, phase=Phase.SENT)
            except StructuredError as error:
                is_over = isinstance(error, SendError)
                if is_over or not await self.delivery.deadline.sleep(NOTE_AGAIN_S):
                    code = self.delivery.provider.codes[self.delivery.provider.unknown_code]
                    raise SendUnknownError(
                        code.name,
                        "the mail waits for its time, but no note of that could be kept in Redis: "
                        "its draft may be removed",
                        source=code.source,
                        provider=self.delivery.provider.name,
                        request_id=accepted.request_id,
                        client_request_id=self.delivery.ids.client_request_id,
                    ) from error

    def _named(self, accepted: Accepted) -> Accepted:
        """Name a draft that waits for its time; the id of one that was sent is gone."""
        return replace(accepted, message_id=self.note.draft_id) if self.draft.is_deferred else accepted

    async def _is_still_there(self, unknown: SendUnknownError) -> bool:
        """Whether the draft was not sent, as looks in a row show; raises `unknown` where none says it."""
        for number in range(1, LOOKS + 1):
            if not await self.delivery.deadline.sleep(wait_s(None, number)):
                raise unknown
            try:
                there = await self._quiet().achieved(self.drafts.look(self.note.place), self.drafts.is_there)
            except StructuredError:
                raise unknown from None
            if not there:
                return False
        return True

    async def _cleared(self, error: BaseException) -> BaseException:
        """Remove the draft of a mail that failed, and return what ends the call, by what is known then.

        One that may just have been sent stays: whoever settles its note looks for it.
        """
        attempt = self.delivery.attempt
        if attempt.body_began:
            return error
        if self._doubt:
            attempt.body_began = True  # for whoever does not wait for the answer to the removal
            if not await self._is_taken_back():
                return self._doubt if isinstance(error, StructuredError) else error
            attempt.body_began = False
            if error is self._doubt:
                why = "sending the draft was not answered, so it was removed: the mail was not sent"
                error = self._not_sent(why, self._doubt.status)
        await self._clear_unsent()
        return error

    async def _is_taken_back(self) -> bool:
        """Whether the draft was removed while it was one: then it is never sent."""
        with contextlib.suppress(StructuredError):
            await self._keep_note(Phase.SENDING, phase=Phase.REMOVING)
            return await self._cleaner().achieved(self.drafts.remove(self.note.place), self.drafts.is_removed)
        return False

    async def _clear_unsent(self) -> None:
        """Remove the draft of a mail that is not sent; where that fails, its note stays for a sweep."""
        with contextlib.suppress(StructuredError):
            if self.note.phase is not Phase.UNSENT:  # that its draft is gone must not be taken for sent
                with contextlib.suppress(SendError):
                    await self._keep_note(self.note.phase, phase=Phase.UNSENT)
            cleaner, place = self._cleaner(), self.note.place
            if place.draft_id:
                await cleaner.achieved(self.drafts.remove(place), self.drafts.is_removed)
            if not self._may_be_there or await remove_others(cleaner, self.drafts, place):
                await self.notes.forget(self.note)

    async def _is_second_removed(self) -> bool:
        """Whether no draft stays but the one that was sent: none whose creation was not answered."""
        with contextlib.suppress(StructuredError):
            await remove_others(self._quiet(), self.drafts, self.note.place)
            return True
        return False

    def _not_sent(self, why: str, status: int | None = None) -> SendError:
        code = self.delivery.provider.codes[self.delivery.provider.unreachable_code]
        return SendError(
            code.name,
            why,
            source=code.source,
            provider=self.delivery.provider.name,
            status=status,
            client_request_id=self.delivery.ids.client_request_id,
        )

    def _cleaner(self) -> Delivery:
        return replace(self._quiet(), deadline=Deadline(CLEAN_UP_S))

    def _quiet(self) -> Delivery:
        """Return the means to look and to clear away, which sends nothing, so nobody has to allow it."""
        return replace(self.delivery, attempt=Attempt(), gate=lambda: None)


async def remove_others(delivery: Delivery, drafts: Drafts, place: DraftPlace) -> int:
    """Remove the drafts that bear the mark of a place beside its own; returns how many. Raises SendError.

    They were created without an answer, and never asked to be sent.
    """
    others = set(await delivery.achieved(drafts.find(place), drafts.found)) - {place.draft_id}
    for draft_id in others:
        await delivery.achieved(drafts.remove(replace(place, draft_id=draft_id)), drafts.is_removed)
    return len(others)


def _by_name(files: Iterable[File]) -> Sequence[Sequence[File]]:
    """Put files of one name together: one after the other, each is known to be there by counting names."""
    named: dict[str, list[File]] = {}
    for file in files:
        named.setdefault(file.name, []).append(file)
    return list(named.values())
