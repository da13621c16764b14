"""An upload session: a mail too large for one post, which goes on where its connection broke.

Nothing is sent before the last byte is there, and the server says at any time how far it came. So a break
leaves no doubt: the server is asked, and only one that does not answer leaves the outcome unknown.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from adapter.providers.provider import Reply, Request, Upload
from adapter.transport.post import Attempt, NotSentError, OutcomeUnknownError


@dataclass(slots=True)
class UploadSession:
    """One open session of one mail."""

    upload: Upload
    path: str
    attempt: Attempt
    allowed: Callable[[], None]
    """Raises where the gate closed; asked before each request that may send."""
    exchange: Callable[[Request], Awaitable[Reply]]
    """Raises NotSentError or OutcomeUnknownError."""
    wait: Callable[[int], Awaitable[bool]]
    """Waits before the try after this one; says whether there is time for it."""

    async def finish(self) -> Reply:
        """Upload what is missing until a reply is about the whole mail, and return that.

        Raises OutcomeUnknownError or NotSentError where time or tries are over.
        """
        number, start = 0, 0
        while True:
            number += 1
            self.allowed()
            broken: NotSentError | OutcomeUnknownError | None = None
            try:
                reply = await self.exchange(self.upload.rest(self.path, start))
            except (NotSentError, OutcomeUnknownError) as error:
                broken, reply = error, None
            if reply is None or reply.status >= 500:
                reply = await self._asked(number, reply, broken)
            if (received := self.upload.received(reply)) is None:
                return reply
            self.attempt.body_began = False  # the server has not got all of it
            start = received
            if not await self.wait(number):
                raise NotSentError("the upload did not end in time")

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
            if reply.status < 500:
                return reply
        if last is not None:
            return last
        if self.attempt.body_began:
            raise OutcomeUnknownError(str(broken))
        raise NotSentError(str(broken))
