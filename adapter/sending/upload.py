"""An upload session: a mail or a file too large for one post, which goes on where its connection broke.

Nothing is sent before the last byte is there, and the server says at any time how far it came. So a break
leaves no doubt: the server is asked, and only one that does not answer leaves the outcome unknown.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from adapter.providers.provider import Reply, Request, Upload
from adapter.providers.retry_after import retry_after_s
from adapter.transport.post import Attempt, NotSentError, OutcomeUnknownError

THROTTLED = 429
OUT_OF_STEP = frozenset({409, 416})
"""What answers a range that the server did not expect."""


class Wait(Protocol):
    """Waits before the try after one of this number, for what was asked for, if anything was."""

    async def __call__(self, number: int, retry_after_s: float | None = None) -> bool:
        """Return whether there is time for another try."""
        ...


@dataclass(slots=True)
class UploadSession:
    """One open session of one mail or file."""

    upload: Upload
    path: str
    attempt: Attempt
    allowed: Callable[[], None]
    """Raises where the gate closed; asked before each request that may send."""
    exchange: Callable[[Request], Awaitable[Reply]]
    """Raises NotSentError or OutcomeUnknownError."""
    wait: Wait
    progress: Callable[[Upload, int], None]
    """Takes how many bytes the server has."""

    async def finish(self) -> Reply:
        """Upload what is missing until a reply is about the whole upload, and return that.

        Raises OutcomeUnknownError or NotSentError where time is over, or too many tries brought nothing.
        """
        number, start = 0, 0
        while True:
            number += 1
            reply = await self._carried(number, start)
            received = self.upload.received(reply)
            if received is None and not self._is_throttled(reply):
                return reply
            self.attempt.body_began = False  # the server has not got all of it
            if received is not None:
                self.progress(self.upload, received)
                number = 0 if received > start and not self.upload.sends else number
                start = received
            if number and not await self.wait(number, _retry_after_s(reply)):
                raise NotSentError("the upload did not end in time")

    async def _carried(self, number: int, start: int) -> Reply:
        """Carry what follows a byte; return the reply to it, or to the question how far the upload came."""
        self.allowed()
        broken: NotSentError | OutcomeUnknownError | None = None
        try:
            reply = await self.exchange(self.upload.rest(self.path, start))
        except (NotSentError, OutcomeUnknownError) as error:
            broken, reply = error, None
        if reply is None or reply.status >= 500 or reply.status in OUT_OF_STEP:
            return await self._asked(number, reply, broken)
        return reply

    def _is_throttled(self, reply: Reply) -> bool:
        """Whether the server asks to wait with a range that cannot have sent anything."""
        return reply.status == THROTTLED and not self.upload.sends

    async def _asked(
        self, number: int, last: Reply | None, broken: NotSentError | OutcomeUnknownError | None
    ) -> Reply:
        """Ask how far the mail came, as often as there is time; then the first failure is the answer."""
        while await self.wait(number):
            number += 1
            try:
                reply = await self.exchange(self.upload.question(self.path))
            except (NotSentError, OutcomeUnknownError):
                continue
            if reply.status < 500 and reply.status != THROTTLED:
                return reply
        if last is not None:
            return last
        if self.attempt.body_began:
            raise OutcomeUnknownError(str(broken))
        raise NotSentError(str(broken))


def _retry_after_s(reply: Reply) -> float | None:
    asked, replied = reply.headers.get("retry-after"), reply.headers.get("date", "")
    return retry_after_s(asked, time.time(), replied) if reply.status == THROTTLED else None
