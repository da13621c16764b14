"""One send from its key to its result: gate, check, prepare, place in the mailbox, deliver, measure."""

import asyncio
import hashlib
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from adapter.checks.app_mailboxes import placed
from adapter.checks.message_checks import check, check_user_id
from adapter.errors import (
    ADAPTER_FAILED,
    CANCELLED,
    FAILURES,
    ActionDeniedError,
    ActionDisabledError,
    ActionGatedError,
    Code,
    MessageRefusedError,
    NotLinkedError,
    SendError,
    SendUnknownError,
    StructuredError,
)
from adapter.gate.rule import GATE_REASONS, GateReason
from adapter.message import OutgoingMessage, SendIds, SendResult, StoredContent
from adapter.providers.provider import Accepted, Draft, Drafts, Provider, Request
from adapter.sending.delivery import Deadline, Delivery
from adapter.sending.drafts.flow import DraftSending
from adapter.sending.drafts.notes import Note
from adapter.sending.idempotency import (
    ExistingKey,
    KeyClaim,
    KeyOutcome,
    Wanted,
    check_key,
    fingerprint,
    redis_key,
    unavailable,
)
from adapter.sending.metrics import CLOSED, OPEN, PROVIDER_DISABLED
from adapter.sending.runtime import Runtime
from adapter.transport.post import Attempt

SWITCHED_OFF = frozenset({GateReason.DISABLED, GateReason.EXTERNAL_RECIPIENT})
"""A person switched the feature off or keeps it inside; every other closed gate is the rollout's doing."""


@dataclass(slots=True)
class Sending:
    """One call of an action."""

    action: str
    provider: Provider
    runtime: Runtime
    user_id: str
    recipients: tuple[str, ...]
    progress: Callable[[int, int], None] | None = None
    """Takes how many bytes of the files are uploaded, and how many there are."""
    deadline: Deadline = field(init=False)
    _mailbox: str = ""
    """Whose place is taken: that of the mailbox that sends."""
    _attempt: Attempt = field(default_factory=Attempt)
    _sent: SendResult | None = None
    _key: str = ""
    """The Redis key that was claimed."""
    _draft: DraftSending | None = None

    def __post_init__(self) -> None:
        self.deadline = Deadline(self.runtime.settings.send_deadline_s)

    async def perform(
        self, message: OutgoingMessage, key: str | None, *, resend_unknown: bool = False
    ) -> SendResult:
        """Ask the key, then the gate; check, prepare and deliver. Raises StructuredError."""
        try:
            return await self._perform(message, key, resend_unknown=resend_unknown)
        except StructuredError as error:
            self._count(error)
            raise

    async def _perform(
        self, message: OutgoingMessage, key: str | None, *, resend_unknown: bool
    ) -> SendResult:
        ids = new_ids(self.action, self.user_id, None if key is None else check_key(key))
        prepared = self._prepared(message, ids)
        if isinstance(prepared, Request) and prepared.draft:
            self.deadline.extend(prepared.draft.more_s)
        claimed = None
        if key is not None:
            wanted = _wanted(prepared, resend_unknown=resend_unknown)
            claimed = await self.runtime.keys.claim(
                redis_key(self.action, check_user_id(self.user_id), key),
                await _fingerprint(message),
                ids.client_request_id,
                wanted,
                pending_s=self.deadline.left_s(),
            )
        if isinstance(claimed, ExistingKey):
            return self._held(claimed, prepared)
        request = self._admitted(prepared)
        if claimed is None:
            return await self._in_turn(request, ids)
        return await self._under_key(claimed, request, ids)

    def _prepared(self, message: OutgoingMessage, ids: SendIds) -> Request | StructuredError:
        """Return what would be sent now, or why nothing would: the gate's answer first, then the checks'.

        Neither is raised here: a mail that was sent before must not be called refused.
        """
        settings = self.runtime.settings
        denied = self._denied()
        if denied:
            return denied
        try:
            check_user_id(self.user_id)
            mail = self._placed(message)
            checked = check(mail, settings.limits, now=time.time(), allow_local=settings.allow_local_domains)
            return self.provider.prepare(checked, ids, settings.limits)
        except MessageRefusedError as refused:
            return refused

    def _placed(self, message: OutgoingMessage) -> OutgoingMessage:
        """Return the message with the mailbox that sends it, where the app signs in and not a person."""
        mail = placed(message, self.user_id, self.runtime.settings.mailboxes_of(self.provider.name))
        self._mailbox = mail.sender if isinstance(mail.sender, str) else self.user_id
        return mail

    def _token_user(self) -> str:
        return self.runtime.settings.token_user(self.provider.name, self.user_id, self._mailbox)

    def _admitted(self, prepared: Request | StructuredError) -> Request:
        """Count the gate's answer and return the request; raises what stands against it."""
        if not isinstance(prepared, ActionDeniedError):
            self.runtime.telemetry.count_gate(self._feature, OPEN, GateReason.IN_ROLLOUT)
        if isinstance(prepared, StructuredError):
            raise prepared
        return prepared

    def _held(self, held: ExistingKey, prepared: Request | StructuredError) -> SendResult:
        """Return the first result, or say why there is none."""
        if held.result:
            return held.result
        if held.state == "reused":
            raise MessageRefusedError(
                "IDEMPOTENCY_KEY_REUSED",
                "this key belongs to another mail; use a new key for each mail",
                "idempotency_key",
            )
        if held.state == "pending":
            raise MessageRefusedError(
                "MS_SEND_PENDING",
                "a send with this key is under way; call again later",
                "idempotency_key",
                retry_after_s=held.retry_after_s,
            )
        code = self.provider.codes[self.provider.unknown_code]
        raise SendUnknownError(
            code.name,
            "the mail of this key may have been sent; look in the sender's Sent Items, "
            "and call with resend_unknown=True only if it is not there",
            source=code.source,
            provider=self.provider.name,
            field="idempotency_key",
            reason=prepared.reason if isinstance(prepared, ActionDeniedError) else "",
        )

    async def _under_key(self, claim: KeyClaim, request: Request, ids: SendIds) -> SendResult:
        """Send, and keep how it ended; what was not sent for certain gives the key back."""
        self._key = claim.key
        failure: BaseException | None = None
        try:
            return await self._in_turn(request, ids)
        except BaseException as error:
            failure = error
            if isinstance(error, StructuredError) and claim.was_unknown:
                error.not_sent = False
            raise
        finally:
            await self.runtime.keys.finish(claim, self._key_outcome(failure), self._sent)

    def _key_outcome(self, failure: BaseException | None) -> KeyOutcome:
        """Say what is known at the end, whatever ended it."""
        if self._sent:
            return KeyOutcome.SENT
        if isinstance(failure, StructuredError):
            return KeyOutcome.UNKNOWN if isinstance(failure, SendUnknownError) else KeyOutcome.NOT_SENT
        return KeyOutcome.UNKNOWN if self._attempt.body_began else KeyOutcome.NOT_SENT

    async def _in_turn(self, request: Request, ids: SendIds) -> SendResult:
        """Wait for a place in the mailbox, then send; the wait is the caller's, and is not timed."""
        async with self.runtime.mailboxes(self.provider).place(self._mailbox, self.deadline):
            return await self._execute(request, ids)

    async def _execute(self, request: Request, ids: SendIds) -> SendResult:
        """Deliver, timed and counted: from here on the send is an execution, however it ends.

        Two ends are none: the gate closed, or there is nobody to send for.
        """
        meters = self.runtime.telemetry.meters(self.action, self.provider)
        started = time.perf_counter()
        try:
            accepted = await self._delivered(request, ids)
        except (ActionDeniedError, NotLinkedError):
            raise
        except BaseException as raised:
            error = self._named(raised, ids)
            seconds = time.perf_counter() - started - self._upload_s()
            meters.failed(seconds, counts=error.counts_against_slo)
            self._count_live(seconds, ok=not error.counts_against_slo)
            if isinstance(raised, asyncio.CancelledError):
                self._count(error)
                raise
            raise error from (None if error is raised else raised)
        seconds = time.perf_counter() - started - self._upload_s()
        meters.succeeded(seconds)
        self._count_live(seconds, ok=True)
        self._sent = SendResult(
            request_id=accepted.request_id,
            client_request_id=ids.client_request_id,
            internet_message_id=ids.internet_message_id,
            form=request.form,
            provider_message_id=accepted.message_id,
            thread_id=accepted.thread_id,
        )
        return self._sent

    def _count_live(self, seconds: float, *, ok: bool) -> None:
        self.runtime.gate.count(self._feature, ok, seconds, self._mailbox)

    async def _delivered(self, request: Request, ids: SendIds) -> Accepted:
        delivery = replace(
            self.runtime.delivery(self.provider, self._token_user(), ids, self.deadline),
            attempt=self._attempt,
            gate=self._denied,
        )
        if request.draft is None or self.provider.drafts is None:
            return await delivery.run(request)
        self._draft = self._draft_sending(delivery, request.draft, self.provider.drafts)
        return await self._draft.run(request)

    def _draft_sending(self, delivery: Delivery, draft: Draft, drafts: Drafts) -> DraftSending:
        place, mailboxes = draft.place, self.runtime.mailboxes(self.provider)
        return DraftSending(
            delivery=delivery,
            draft=draft,
            drafts=drafts,
            notes=self.runtime.drafts(self.provider),
            note=Note(delivery.user_id, place.mailbox, place.mark, draft.internet_message_id, key=self._key),
            unavailable=unavailable,
            place=partial(mailboxes.place, self._mailbox, self.deadline),
            progress=self.progress,
        )

    def _upload_s(self) -> float:
        """Return how long the files of a draft took: that says how large they are, not how Graph is."""
        return self._draft.upload_s if self._draft else 0.0

    def _named(self, raised: BaseException, ids: SendIds) -> StructuredError:
        """Name what was raised; once the mail began to leave, even a fault of ours leaves it unknown."""
        if isinstance(raised, StructuredError):
            return raised
        code = self._code_of(raised)
        return (SendUnknownError if self._attempt.body_began else SendError)(
            code.name,
            f"{code.sentence} ({type(raised).__name__})",
            source=code.source,
            provider=self.provider.name,
            client_request_id=ids.client_request_id,
        )

    def _code_of(self, raised: BaseException) -> Code:
        if self._attempt.body_began:
            return self.provider.codes[self.provider.unknown_code]
        return FAILURES[CANCELLED if isinstance(raised, asyncio.CancelledError) else ADAPTER_FAILED]

    @property
    def _feature(self) -> str:
        return self.runtime.feature_of(self.provider.name, self.action)

    def _denied(self) -> ActionDeniedError | None:
        name = self.provider.name
        if name not in self.runtime.settings.providers_enabled:
            return ActionDisabledError(
                f"the provider {name} is off; set PROVIDER_{name.upper()}_ENABLED=true to use it",
                reason=PROVIDER_DISABLED,
                provider=name,
            )
        answer = self.runtime.gate.check(self._feature, self.user_id, self.recipients)
        if answer.open:
            return None
        kind = ActionDisabledError if answer.reason in SWITCHED_OFF else ActionGatedError
        return kind(
            f"{self._feature}: {GATE_REASONS[answer.reason]}", reason=str(answer.reason), provider=name
        )

    def _count(self, error: StructuredError) -> None:
        """Count a code, and a denial as the gate's answer too: each exactly once."""
        if isinstance(error, ActionDeniedError):
            self.runtime.telemetry.count_gate(self._feature, CLOSED, error.reason)
        self.runtime.telemetry.count_code(self.action, self.provider, error.code, str(error.source))


def _wanted(prepared: Request | StructuredError, *, resend_unknown: bool) -> Wanted:
    if isinstance(prepared, StructuredError):
        return Wanted.LOOK
    return Wanted.RESEND if resend_unknown else Wanted.CLAIM


def new_ids(action: str, user_id: str, key: str | None) -> SendIds:
    """Name a send. With a key the Message-ID follows from it: Exchange drops a second copy by that."""
    request = uuid.uuid4()
    named = f"{action}\0{user_id}\0{key}".encode("utf-8", "replace")
    unique = request.hex if key is None else hashlib.sha256(named).hexdigest()[:32]
    return SendIds(str(request), f"<{unique}@{action}.rollout-controller>")


async def _fingerprint(message: OutgoingMessage) -> str:
    """Name a mail by what it says; files on disk are read aside."""
    if any(isinstance(getattr(file, "content", None), StoredContent) for file in message.files):
        return await asyncio.to_thread(fingerprint, message)
    return fingerprint(message)
