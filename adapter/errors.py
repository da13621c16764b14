"""What can go wrong with a send: errors with a code, whose fault it is, and no secret in them.

Whose fault it is decides what counts: every source but `caller` moves `action_error_total`,
so that a bad recipient can never pause a rollout.
"""

import copyreg
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class Source(StrEnum):
    """Whose fault an error is."""

    CALLER = "caller"
    ADAPTER = "adapter"
    PROVIDER = "provider"
    AUTH = "auth"


@dataclass(frozen=True, slots=True)
class Code:
    """A kind of error: its source, the status that our own HTTP face answers, and what it means."""

    name: str
    source: Source
    http: int
    sentence: str


def code_table(*codes: Code) -> dict[str, Code]:
    """Return codes by their names."""
    return {code.name: code for code in codes}


DISABLED = "ACTION_DISABLED"
GATED = "ACTION_GATED"

REFUSALS: dict[str, Code] = code_table(
    Code(DISABLED, Source.ADAPTER, 403, "The provider or the feature is off, or is internal-only."),
    Code(GATED, Source.ADAPTER, 403, "The rollout does not let this user in now; the reason says why."),
    Code("INVALID_RECIPIENT", Source.CALLER, 422, "An address is missing, or is none that can be sent to."),
    Code("TOO_MANY_RECIPIENTS", Source.CALLER, 422, "More recipients than the policy allows."),
    Code("TOO_MANY_ATTACHMENTS", Source.CALLER, 422, "More attachments than the policy allows."),
    Code("ATTACHMENT_TOO_LARGE", Source.CALLER, 413, "The whole request would be larger than is accepted."),
    Code(
        "INVALID_HEADER", Source.CALLER, 422, "A header text holds a line break, NUL or a control character."
    ),
    Code(
        "ORPHAN_CID", Source.CALLER, 422, "The HTML and the inline images do not name the same content ids."
    ),
    Code("EMPTY_MESSAGE", Source.CALLER, 422, "The mail has no body."),
    Code("INVALID_REQUEST", Source.CALLER, 422, "The JSON of the request is not as documented."),
    Code("IDEMPOTENCY_KEY_REUSED", Source.CALLER, 422, "The idempotency key was used for another mail."),
    Code("IDEMPOTENCY_UNAVAILABLE", Source.ADAPTER, 503, "The key cannot be kept now, so nothing was sent."),
    Code("MAILBOX_BUSY", Source.CALLER, 429, "Too many sends at once for this mailbox; none was made."),
    Code("MAILBOX_NOT_ALLOWED", Source.CALLER, 403, "The user may not send from this mailbox."),
    Code("MS_SEND_PENDING", Source.CALLER, 409, "A send with this idempotency key is under way."),
)
"""Refused before anything is sent, whatever the provider: not executions."""

NOT_LINKED = "The user never linked a mailbox: there is nobody to send for."


def not_linked_codes(codes: Iterable[Code]) -> list[Code]:
    """Return the refusals of a user who never signed in: a provider's codes that ask for the person."""
    asking = (code for code in codes if code.source is Source.AUTH and code.http == 409)
    return [replace(code, source=Source.CALLER, sentence=NOT_LINKED) for code in asking]


MAY_HAVE_BEEN_SENT = frozenset({"IDEMPOTENCY_KEY_REUSED", "IDEMPOTENCY_UNAVAILABLE", "MS_SEND_PENDING"})
"""Refusals of a call that sent nothing, while another call with its key may have."""

CANCELLED = "SEND_CANCELLED"
ADAPTER_FAILED = "ADAPTER_FAILED"

FAILURES: dict[str, Code] = code_table(
    Code(CANCELLED, Source.CALLER, 499, "The caller gave up before the mail began to leave."),
    Code(ADAPTER_FAILED, Source.ADAPTER, 502, "A fault of the adapter; the mail did not leave."),
)
"""What a tried send can end with besides its provider's codes."""


class StructuredError(Exception):
    """An error of a send. It never carries a token, an address or a body."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        source: Source,
        provider: str = "",
        status: int | None = None,
        request_id: str = "",
        client_request_id: str = "",
        retry_after_s: float | None = None,
        field: str = "",
        reason: str = "",
        provider_code: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.source = source
        self.provider = provider
        self.status = status
        self.request_id = request_id
        self.client_request_id = client_request_id
        self.retry_after_s = retry_after_s
        self.field = field
        """The argument that is at fault, such as `cc[1]`."""
        self.reason = reason
        self.provider_code = provider_code
        """The provider's own word for it."""
        self.not_sent = code not in MAY_HAVE_BEEN_SENT
        """Whether the mail was not sent for certain, by this call or by an earlier one with its key.

        Only then may another way send it; otherwise call again with the key, or ask a person.
        """

    def __reduce__(self) -> tuple[object, ...]:
        """Let another process, such as a task queue's, have the error as it is."""
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]

    def __str__(self) -> str:
        facts = [
            self.provider,
            self.field,
            f"HTTP {self.status}" if self.status else "",
            self.provider_code,
            f"request-id {self.request_id}" if self.request_id else "",
        ]
        told = ", ".join(fact for fact in facts if fact)
        return f"{self.code}: {self.message}" + (f" ({told})" if told else "")

    @property
    def counts_against_slo(self) -> bool:
        """Whether the failure counts for the error rate; a caller's own fault does not."""
        return self.source != Source.CALLER


class ActionDeniedError(StructuredError):
    """The send was not allowed; nothing was sent. `reason` says why."""


class ActionDisabledError(ActionDeniedError):
    """The provider is off, the feature is off, or it is internal-only and a recipient is not."""

    def __init__(self, message: str, *, reason: str, provider: str = "") -> None:
        super().__init__(DISABLED, message, source=Source.ADAPTER, reason=reason, provider=provider)


class ActionGatedError(ActionDeniedError):
    """The rollout does not let this user in now."""

    def __init__(self, message: str, *, reason: str, provider: str = "") -> None:
        super().__init__(GATED, message, source=Source.ADAPTER, reason=reason, provider=provider)


class MessageRefusedError(StructuredError):
    """The mail was refused here; nothing was sent. `field` says which argument is at fault."""

    def __init__(
        self, code: str, message: str, field: str = "", *, retry_after_s: float | None = None
    ) -> None:
        super().__init__(
            code, message, source=REFUSALS[code].source, field=field, retry_after_s=retry_after_s
        )


class SendError(StructuredError):
    """The send was tried and the provider did not take the mail."""


class AuthError(SendError):
    """No usable access token for this user.

    A token source that raises one whose source is `caller` says that this user never signed in.
    """


class NotLinkedError(AuthError):
    """The user never linked a mailbox; refused before anything was tried."""


class SendUnknownError(SendError):
    """The mail may or may not have been sent: nothing says which, so it was not sent again."""

    def __init__(self, code: str, message: str, **facts: Any) -> None:
        super().__init__(code, message, **facts)
        self.not_sent = False
