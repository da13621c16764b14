"""An action: gate, check, prepare, deliver, measure, in that order, the same for every provider.

    outlook_send = action("outlook.send", Outlook())

is all that a provider needs to be gated, counted and timed, and to fail with the same errors.
"""

import asyncio
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from adapter.checks import check
from adapter.delivery import Deadline, Delivery
from adapter.errors import (
    ADAPTER_FAILED,
    CANCELLED,
    FAILURES,
    ActionDeniedError,
    ActionDisabledError,
    ActionGatedError,
    SendError,
    SendUnknownError,
    StructuredError,
)
from adapter.gate import GATE_REASONS, GateReason
from adapter.message import Attachment, EmailAddress, InlineImage, OutgoingMessage, SendIds, SendResult
from adapter.providers.provider import Accepted, Provider, Request
from adapter.runtime import Runtime, default_runtime
from adapter.telemetry import CLOSED, OPEN, PROVIDER_DISABLED
from adapter.transport import Attempt


class MailSend(Protocol):
    """The signature that every mail action has."""

    async def __call__(
        self,
        to: Sequence[EmailAddress],
        subject: str,
        body_html: str | None = None,
        body_text: str | None = None,
        cc: Sequence[EmailAddress] | None = None,
        bcc: Sequence[EmailAddress] | None = None,
        attachments: Sequence[Attachment] | None = None,
        inline_images: Sequence[InlineImage] | None = None,
        reply_to: Sequence[EmailAddress] | None = None,
        *,
        user_id: str,
        runtime: Runtime | None = None,
    ) -> SendResult: ...


@dataclass(frozen=True, slots=True)
class Action:
    """One action of one provider."""

    name: str
    provider: Provider

    def admit(self, runtime: Runtime, user_id: str, recipients: Iterable[str]) -> None:
        """Ask the gate, once, and count its answer; raises ActionDisabledError or ActionGatedError."""
        feature = runtime.feature_of(self.provider.name, self.name)
        denied = _denied(runtime, self.provider.name, feature, user_id, recipients)
        if denied is None:
            runtime.telemetry.count_gate(feature, OPEN, GateReason.IN_ROLLOUT)
            return
        runtime.telemetry.count_gate(feature, CLOSED, denied.reason)
        self._count_code(runtime, denied)
        raise denied

    async def perform(self, runtime: Runtime, message: OutgoingMessage, user_id: str) -> SendResult:
        """Check, prepare and deliver a mail that the gate let in; raises StructuredError."""
        deadline = Deadline(runtime.settings.send_deadline_s)
        ids = new_ids(self.name)
        try:
            checked = check(message, runtime.settings.limits)
            request = self.provider.prepare(checked, ids, runtime.settings.limits)
        except StructuredError as refused:
            self._count_code(runtime, refused)
            raise
        accepted = await self._execute(runtime, request, ids, user_id, deadline)
        return SendResult(
            request_id=accepted.request_id,
            client_request_id=ids.client_request_id,
            internet_message_id=ids.internet_message_id,
            form=request.form,
        )

    async def _execute(
        self, runtime: Runtime, request: Request, ids: SendIds, user_id: str, deadline: Deadline
    ) -> Accepted:
        """Deliver, timed and counted: from here on the send is an execution, however it ends."""
        meters = runtime.telemetry.meters(self.name, self.provider)
        attempt = Attempt()
        started = time.perf_counter()
        try:
            accepted = await Delivery(
                provider=self.provider,
                transport=runtime.transport(self.provider),
                tokens=runtime.token_source(self.provider),
                user_id=user_id,
                ids=ids,
                deadline=deadline,
                max_posts=runtime.settings.max_posts,
                attempt=attempt,
            ).run(request)
        except BaseException as raised:
            error = self._structured(raised, attempt, ids)
            meters.failed(time.perf_counter() - started, counts=error.counts_against_slo)
            self._count_code(runtime, error)
            if error is raised or isinstance(raised, asyncio.CancelledError):
                raise
            raise error from raised
        meters.succeeded(time.perf_counter() - started)
        return accepted

    def _structured(self, raised: BaseException, attempt: Attempt, ids: SendIds) -> StructuredError:
        """Name what was raised; once the mail began to leave, even a fault of ours leaves it unknown."""
        if isinstance(raised, StructuredError):
            return raised
        if attempt.body_began:
            code = self.provider.codes[self.provider.unknown_code]
        else:
            code = FAILURES[CANCELLED if isinstance(raised, asyncio.CancelledError) else ADAPTER_FAILED]
        return (SendUnknownError if attempt.body_began else SendError)(
            code.name,
            f"{code.sentence} ({type(raised).__name__})",
            source=code.source,
            provider=self.provider.name,
            client_request_id=ids.client_request_id,
        )

    def _count_code(self, runtime: Runtime, error: StructuredError) -> None:
        runtime.telemetry.count_code(self.name, self.provider, error.code, str(error.source))


ACTIONS: dict[str, Action] = {}
"""Every action by its name."""


def action(name: str, provider: Provider) -> MailSend:
    """Register a provider's action and give the function that sends through it."""
    registered = ACTIONS[name] = Action(name, provider)

    async def send(
        to: Sequence[EmailAddress],
        subject: str,
        body_html: str | None = None,
        body_text: str | None = None,
        cc: Sequence[EmailAddress] | None = None,
        bcc: Sequence[EmailAddress] | None = None,
        attachments: Sequence[Attachment] | None = None,
        inline_images: Sequence[InlineImage] | None = None,
        reply_to: Sequence[EmailAddress] | None = None,
        *,
        user_id: str,
        runtime: Runtime | None = None,
    ) -> SendResult:
        """Send one mail; raises StructuredError. Without a runtime, the environment gives one."""
        runtime = runtime or await default_runtime()
        recipients = tuple(a.address for a in (*to, *(cc or ()), *(bcc or ())))
        registered.admit(runtime, user_id, recipients)
        message = OutgoingMessage(
            to=tuple(to),
            subject=subject,
            body_html=body_html,
            body_text=body_text,
            cc=tuple(cc or ()),
            bcc=tuple(bcc or ()),
            attachments=tuple(attachments or ()),
            inline_images=tuple(inline_images or ()),
            reply_to=tuple(reply_to or ()),
        )
        return await registered.perform(runtime, message, user_id)

    send.__name__ = send.__qualname__ = name.replace(".", "_")
    return send


def new_ids(name: str) -> SendIds:
    unique = uuid.uuid4()
    return SendIds(str(unique), f"<{unique.hex}@{name}.rollout-controller>")


_DISABLED = frozenset({GateReason.DISABLED, GateReason.EXTERNAL_RECIPIENT})
"""A person switched it off or keeps it inside; every other closed gate is the rollout's doing."""


def _denied(
    runtime: Runtime, provider: str, feature: str, user_id: str, recipients: Iterable[str]
) -> ActionDeniedError | None:
    if provider not in runtime.settings.providers_enabled:
        return ActionDisabledError(
            f"the provider {provider} is off; set PROVIDER_{provider.upper()}_ENABLED=true to use it",
            reason=PROVIDER_DISABLED,
            provider=provider,
        )
    given = runtime.gate.check(feature, user_id, tuple(recipients))
    if given.open:
        return None
    kind = ActionDisabledError if given.reason in _DISABLED else ActionGatedError
    return kind(f"{feature}: {GATE_REASONS[given.reason]}", reason=str(given.reason), provider=provider)
