"""One send on its way: token, post, interpret, and again only where the mail cannot have left."""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from adapter.errors import (
    NOT_LINKED,
    ActionDeniedError,
    AuthError,
    NotLinkedError,
    SendError,
    SendUnknownError,
    Source,
)
from adapter.message import SendIds
from adapter.providers.closed_list import STATUSES
from adapter.providers.provider import (
    Accepted,
    MaySend,
    Provider,
    Refused,
    Reply,
    Request,
    RetryAction,
    Upload,
)
from adapter.sending.access_tokens import TokenSource
from adapter.sending.upload import UploadSession
from adapter.signin.errors import SignInError
from adapter.transport.post import Attempt, NotSentError, OutcomeUnknownError, Transport

T = TypeVar("T")
FORBIDDEN = 403
SESSION_OVER = frozenset({401, 403, 404, 410})
"""What answers an upload of a file whose session is over: another one is opened."""
STALLED_S = 60.0
"""The most that one request may take which sends nothing: the next one may find a better connection."""
FIRST_WAIT_S = 0.5
"""Before the second try where the provider names no time; doubled each time, a quarter more or less."""


class Deadline:
    """The time that one send has, waits and retries included."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._least_s = seconds / 20

    def extend(self, seconds: float) -> None:
        """Allow more time, for what is known to take longer."""
        self._end += seconds

    def is_near(self) -> bool:
        """Whether what is left is too little to begin anything: a twentieth."""
        return self.left_s() < self._least_s

    def left_s(self) -> float:
        """Return the seconds that are left, at least a millisecond."""
        return max(0.001, self._end - time.monotonic())

    async def sleep(self, seconds: float) -> bool:
        """Sleep, if that leaves time for something; says whether it did."""
        if self.left_s() - seconds < self._least_s:
            return False
        await asyncio.sleep(seconds)
        return not self.is_near()


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one send needs to be delivered."""

    provider: Provider
    transport: Callable[[str], Transport]
    """By the server of a request; empty is the provider's own."""
    tokens: TokenSource
    user_id: str
    ids: SendIds
    deadline: Deadline
    max_posts: int
    trusts_throttling: bool
    """Whether a server that asks to wait is believed not to have sent the mail."""
    attempt: Attempt = field(default_factory=Attempt)
    gate: Callable[[], ActionDeniedError | None] = lambda: None
    """Asked before each post."""
    progress: Callable[[Upload, int], None] = lambda _, __: None
    """Takes how far an upload came."""

    async def run(self, request: Request) -> Accepted:
        """Deliver; raises SendError and its kinds, or ActionDeniedError where the gate closed meanwhile."""
        return await self.achieved(request, self._accepted)

    async def achieved(
        self,
        request: Request,
        reached: Callable[[Reply], T | None],
        check: Callable[[], Awaitable[T | None]] | None = None,
    ) -> T:
        """Make a request until a reply says that it was carried out, and return what `reached` makes of that.

        Before it is made again after an answer that leaves doubt, `check` asks whether it was carried out.
        Raises as `run` does.
        """
        token = await self._token(self.tokens.get_access_token(self.user_id))
        refreshed = False
        number = 0
        while True:
            number += 1
            outcome, status = await self._post(request, token, reached)
            if not isinstance(outcome, Refused):
                return outcome
            if outcome.then is RetryAction.REFRESH and not refreshed and number < self.max_posts:
                refreshed = True
                renewed = self.tokens.refresh_access_token(self.user_id, claims=outcome.claims)
                token = await self._token(renewed)
            elif not await self._wait(outcome, number):
                raise self._error(outcome, status, request.right)
            elif check and status not in STATUSES - {404} and (found := await check()) is not None:
                return found

    async def _wait(self, refused: Refused, number: int) -> bool:
        """Wait where another try is safe and there is time for it; says whether that is so."""
        if refused.then is not RetryAction.WAIT or number >= self.max_posts:
            return False
        return await self.deadline.sleep(wait_s(refused.retry_after_s, number))

    async def _post(
        self, request: Request, token: str, reached: Callable[[Reply], T | None]
    ) -> tuple[T | Refused, int | None]:
        """Send the request, and the whole of its upload where it opens one."""
        try:
            reply = await self._exchange(request, token)
        except NotSentError as error:
            return Refused(self.provider.unreachable_code, RetryAction.WAIT, str(error)), None
        except OutcomeUnknownError as error:
            return Refused(self.provider.unknown_code, RetryAction.UNKNOWN, str(error)), None
        result = reached(reply)
        if result is not None:
            return result, reply.status
        return self._refused(reply), reply.status

    def _refused(self, reply: Reply) -> Refused:
        outcome = self._interpreted(reply)
        if isinstance(outcome, Accepted):  # an answer that has another meaning for this request
            outcome = Refused(self.provider.unknown_code, RetryAction.UNKNOWN)
        if outcome.then is RetryAction.UNKNOWN:
            return self._unless_sure(outcome, reply.status)
        self.attempt.body_began = False  # it was refused for certain, so giving up now leaves no doubt
        return outcome

    def _accepted(self, reply: Reply) -> Accepted | None:
        outcome = self._interpreted(reply)
        return outcome if isinstance(outcome, Accepted) else None

    def _unless_sure(self, unknown: Refused, status: int) -> Refused:
        """Take the doubt away where the mail had not left: its session did not open, or ended early."""
        if self.attempt.body_began:
            return unknown
        detail = f"the upload was answered with {status} before the mail had left"
        return replace(unknown, code=self.provider.unreachable_code, then=RetryAction.WAIT, detail=detail)

    async def _exchange(self, request: Request, token: str) -> Reply:
        """Return the reply that is about the mail. Raises NotSentError, OutcomeUnknownError, or as the gate
        says.
        """
        self._allowed()
        exchange = partial(self._request, token)
        reply = await exchange(request)
        upload = request.upload
        if upload is None or reply.status >= 300:
            return reply
        path = upload.opened(reply)
        if path is None:
            raise NotSentError("no upload session was opened")
        session = UploadSession(
            upload, path, self.attempt, self._allowed, exchange, self._again, self.progress
        )
        reply = await session.finish()
        if reply.status in SESSION_OVER and not upload.sends:
            raise NotSentError(f"the upload session ended with {reply.status}")
        return reply

    async def _request(self, token: str, request: Request) -> Reply:
        """Make one request; a path at another server bears its own right, and the token stays here."""
        headers = {} if request.server else {"Authorization": f"Bearer {token}"}
        left_s = self.deadline.left_s()
        if request.may_send is MaySend.NEVER:
            left_s = min(left_s, STALLED_S)
        return await self.transport(request.server).post(request, headers, left_s, self.attempt)

    def _allowed(self) -> None:
        """Ask the gate; whatever it said before, there was time for somebody to press pause."""
        denied = self.gate()
        if denied:
            raise denied

    async def _again(self, number: int, retry_after_s: float | None = None) -> bool:
        return number < self.max_posts and await self.deadline.sleep(wait_s(retry_after_s, number))

    def _interpreted(self, reply: Reply) -> Accepted | Refused:
        outcome = self.provider.interpret(reply, time.time())
        if self.trusts_throttling or isinstance(outcome, Accepted) or outcome.then is not RetryAction.WAIT:
            return outcome
        code = self.provider.codes[self.provider.unknown_code]
        return replace(outcome, code=code.name, then=RetryAction.UNKNOWN, detail=code.sentence)

    async def _token(self, asked: Awaitable[str]) -> str:
        try:
            async with asyncio.timeout(self.deadline.left_s()):
                token = await asked
        except TimeoutError as error:
            raise self._late() from error
        except Exception as error:
            raise self._without_token(error) from error
        if self.deadline.is_near():
            raise self._late()
        return token

    def _late(self) -> AuthError:
        return self._auth_error(AuthError, self.provider.auth_code, "no access token in time", Source.AUTH)

    def _without_token(self, error: Exception) -> AuthError:
        code = str(getattr(error, "code", None) or self.provider.auth_code)
        if getattr(error, "source", None) == Source.CALLER:
            return self._auth_error(NotLinkedError, code, NOT_LINKED, Source.CALLER)
        facts = (error.provider_code, error.request_id) if isinstance(error, SignInError) else ("", "")
        return self._auth_error(AuthError, code, _words(error, code, self.provider), Source.AUTH, *facts)

    def _auth_error(
        self,
        kind: type[AuthError],
        code: str,
        message: str,
        source: Source,
        provider_code: str = "",
        request_id: str = "",
    ) -> AuthError:
        return kind(
            code,
            message,
            source=source,
            provider=self.provider.name,
            client_request_id=self.ids.client_request_id,
            provider_code=provider_code,
            request_id=request_id,
        )

    def _error(self, refused: Refused, status: int | None, right: str) -> SendError:
        known = self.provider.codes.get(refused.code)
        source = known.source if known else Source.PROVIDER
        needed = f" It needs {right}: an administrator allows it." if right and status == FORBIDDEN else ""
        return _error_class(refused.then, source)(
            refused.code,
            refused.detail + needed,
            source=source,
            provider=self.provider.name,
            status=status,
            request_id=refused.request_id,
            client_request_id=self.ids.client_request_id,
            retry_after_s=refused.retry_after_s,
            provider_code=refused.provider_code,
        )


def wait_s(retry_after_s: float | None, number: int) -> float:
    """Return the wait after the try of this number (from 1); never shorter than what was asked for."""
    if retry_after_s is not None:
        return retry_after_s
    spread = random.uniform(0.75, 1.25)  # noqa: S311 (spreads load, no secret)
    return math.ldexp(FIRST_WAIT_S, number - 1) * spread


def _error_class(then: RetryAction, source: Source) -> type[SendError]:
    if then is RetryAction.UNKNOWN:
        return SendUnknownError
    return AuthError if source is Source.AUTH else SendError


def _words(error: Exception, code: str, provider: Provider) -> str:
    """Say what signing in says; a foreign error's text may hold what must not be shown."""
    if isinstance(error, SignInError):
        return error.message
    if code in provider.codes:
        return provider.codes[code].sentence
    return f"no access token ({type(error).__name__})"
