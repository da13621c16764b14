"""An action: key, gate, check, prepare, deliver, measure, in that order, the same for every provider.

A provider's line in `providers/registry.py` is all that it needs to be gated, counted and timed, and to fail
with the same errors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from adapter.message import Attachment, EmailAddress, InlineImage, OutgoingMessage, SendResult
from adapter.providers.provider import Provider
from adapter.providers.registry import PROVIDERS
from adapter.sending.one_send import Sending
from adapter.sending.runtime import Runtime, default_runtime


@dataclass(frozen=True, slots=True)
class Action:
    """One action of one provider."""

    name: str
    provider: Provider

    async def send(
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
        sender: str | None = None,
        from_address: EmailAddress | None = None,
        importance: str = "normal",
        categories: Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
        read_receipt: bool = False,
        delivery_receipt: bool = False,
        save_to_sent_items: bool = True,
        send_at: datetime | str | None = None,
        user_id: str,
        idempotency_key: str | None = None,
        resend_unknown: bool = False,
        progress: Callable[[int, int], None] | None = None,
        runtime: Runtime | None = None,
    ) -> SendResult:
        """Send one mail; raises StructuredError, whose `code` says what happened.

        A second call of a user with the same `idempotency_key` and mail sends nothing and returns the first
        result, whatever the gate says by then. `resend_unknown` sends again what may have been sent.
        `progress` takes how many bytes of large files are uploaded, and how many there are. Without a runtime
        the environment gives one.
        """
        to, cc, bcc = (tuple(people or ()) for people in (to, cc, bcc))
        recipients = tuple([str(getattr(a, "address", a)) for people in (to, cc, bcc) for a in people])
        runtime = runtime or await default_runtime()
        sending = Sending(self.name, self.provider, runtime, user_id, recipients, progress)
        message = OutgoingMessage(
            to=to,
            subject=subject,
            body_html=body_html,
            body_text=body_text,
            cc=cc,
            bcc=bcc,
            attachments=tuple(attachments or ()),
            inline_images=tuple(inline_images or ()),
            reply_to=tuple(reply_to or ()),
            sender=sender,
            from_address=from_address,
            importance=importance,
            categories=tuple(categories or ()),
            headers=tuple((headers or {}).items()),
            read_receipt=read_receipt,
            delivery_receipt=delivery_receipt,
            save_to_sent_items=save_to_sent_items,
            send_at=send_at.isoformat() if isinstance(send_at, datetime) else send_at,
        )
        return await sending.perform(message, idempotency_key, resend_unknown=resend_unknown)


ACTIONS = {name: Action(name, provider) for name, provider in PROVIDERS.items()}
"""Every action by its name."""

outlook_send = ACTIONS["outlook.send"].send
gmail_send = ACTIONS["gmail.send"].send
