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

    async def run(self, request: Request) -> Accepted:
        """Send; raises as Delivery.run does, and leaves no draft behind, or a note of it."""
        await self._keep_note()
        try:
            await self._create(request)
            await self._timed_uploads()
            accepted = await self._send()
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(self._clear_away()))
            raise
        if self._may_be_there:
            await self._clear_second_away()
        await self.notes.forget(self.note)
        return accepted

    async def _keep_note(self, **changed: Any) -> None:
        """Write down how far the mail is, before it is there; raises StructuredError without Redis."""
        self.note = replace(self.note, **changed)
        try:
            with contextlib.suppress(*REDIS_ERRORS):
                return await self.notes.keep(self.note, self.delivery.deadline.left_s())
            await self.notes.keep(self.note, self.delivery.deadline.left_s())
        except REDIS_ERRORS as error:
            raise self.unavailable(error) from error

    async def _create(self, request: Request) -> None:
        self._may_be_there = True
        in_doubt = False

        async def find() -> str | None:
            nonlocal in_doubt
            in_doubt = True
            found = await self._quiet().achieved(self.drafts.find(self.note.place), self.drafts.found)
            return next(iter(found), None)

        try:
            draft_id = await self.delivery.achieved(request, self.draft.created, find)
        except SendError as error:
            self._may_be_there = in_doubt or error.status not in STATUSES
            raise
        await self._keep_note(draft_id=draft_id)
        self._may_be_there = in_doubt

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
        await self._keep_note(phase=Phase.SENDING)
        request = self.draft.send(self.note.draft_id)
        for number in range(1, MOST_SENDS + 1):
            try:
                return self._named(await self.delivery.run(request))
            except SendUnknownError as unknown:
                if number == 1 and unknown.status == GONE:  # somebody else took it away, or sent it
                    raise
                if not await self._is_still_there(unknown):
                    return Accepted(unknown.request_id)
                if self.draft.is_deferred or number == MOST_SENDS:
                    raise await self._taken_back(unknown) from None
                self.delivery.attempt.body_began = False
        raise AssertionError

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

    async def _taken_back(self, unknown: SendUnknownError) -> SendError:
        """Remove a draft that may wait to be sent, and return the error for that: removed, it never is."""
        await self._keep_note(phase=Phase.REMOVING)
        try:
            removed = await self._quiet().achieved(
                self.drafts.remove(self.note.place), self.drafts.is_removed
            )
        except StructuredError:
            removed = False
        if not removed:
            raise unknown
        self.delivery.attempt.body_began = False
        code = self.delivery.provider.codes[self.delivery.provider.unreachable_code]
        return SendError(
            code.name,
            "sending the draft was not answered, so it was removed: the mail was not sent",
            source=code.source,
            provider=self.delivery.provider.name,
            status=unknown.status,
            client_request_id=unknown.client_request_id,
        )

    async def _clear_away(self) -> None:
        """Remove the draft of a mail that was not sent; where that fails, its note stays for the next sweep.

        One that may have been sent stays too: whoever settles its note looks for it.
        """
        if self.delivery.attempt.body_began:
            return
        quiet = replace(self._quiet(), deadline=Deadline(CLEAN_UP_S))
        with contextlib.suppress(StructuredError, *REDIS_ERRORS):
            found = await remove_drafts(quiet, self.drafts, self.note.place, find=self._may_be_there)
            if found or not self._may_be_there:
                await self.notes.forget(self.note)

    async def _clear_second_away(self) -> None:
        """Remove a second draft of a mail that was sent: the one whose creation was not answered."""
        quiet, place = self._quiet(), self.note.place
        with contextlib.suppress(StructuredError):
            for draft_id in set(await quiet.achieved(self.drafts.find(place), self.drafts.found)) - {
                place.draft_id
            }:
                second = replace(place, draft_id=draft_id)
                await quiet.achieved(self.drafts.remove(second), self.drafts.is_removed)

    def _quiet(self) -> Delivery:
        """Return the means to look and to clear away, which sends nothing, so nobody has to allow it."""
        return replace(self.delivery, attempt=Attempt(), gate=lambda: None)


async def remove_drafts(delivery: Delivery, drafts: Drafts, place: DraftPlace, *, find: bool) -> bool:
    """Remove the draft of a mail, where `find` says so also those that only its mark tells.

    Says whether there was any of those. Raises SendError.
    """
    ids = {place.draft_id} - {""}
    found = await delivery.achieved(drafts.find(place), drafts.found) if find else ()
    for draft_id in ids | set(found):
        await delivery.achieved(drafts.remove(replace(place, draft_id=draft_id)), drafts.is_removed)
    return bool(found)


def _by_name(files: Iterable[File]) -> Sequence[Sequence[File]]:
    """Put files of one name together: one after the other, each is known to be there by counting names."""
    named: dict[str, list[File]] = {}
    for file in files:
        named.setdefault(file.name, []).append(file)
    return list(named.values())
