"""A mail as the caller gives it, and what comes back when it was accepted. Nothing here is checked yet."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from adapter.errors import MessageRefusedError

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class EmailAddress:
    """One mailbox and the name to show beside it."""

    address: str
    name: str | None = None


class StoredContent(ABC):
    """The content of a file that is read in parts, so that it never lies in memory as a whole."""

    __slots__ = ()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, part: slice) -> bytes: ...


Content = bytes | StoredContent


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file to send along; `content` is the file itself, not base64. `attach_file` names one on disk."""

    name: str
    content_type: str
    content: Content


@dataclass(frozen=True, slots=True)
class InlineImage:
    """A picture that the HTML shows as `cid:<content_id>`; the id is given without angle brackets."""

    name: str
    content_type: str
    content: Content
    content_id: str


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """One mail, the same for every provider."""

    to: tuple[EmailAddress, ...] = ()
    subject: str = ""
    body_html: str | None = None
    body_text: str | None = None
    cc: tuple[EmailAddress, ...] = ()
    bcc: tuple[EmailAddress, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    inline_images: tuple[InlineImage, ...] = ()
    reply_to: tuple[EmailAddress, ...] = ()
    sender: str | None = None
    """The mailbox that sends, by its address or its id, where it is not the user's own."""
    from_address: EmailAddress | None = None
    """Whom the recipients see: needs the right to send as, or on behalf of, this address."""
    importance: str = "normal"
    """`low`, `normal` or `high`."""
    categories: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    """Headers of the caller's own: (name, value)."""
    read_receipt: bool = False
    delivery_receipt: bool = False
    save_to_sent_items: bool = True
    send_at: str | None = None
    """When the provider delivers it, as in `2026-12-24T09:00:00Z`; at once without it."""

    @property
    def files(self) -> "tuple[Attachment | InlineImage, ...]":
        """Return the attachments, then the inline images."""
        return (*self.attachments, *self.inline_images)

    @property
    def recipients(self) -> tuple[EmailAddress, ...]:
        """Everybody who gets the mail: to, cc and bcc."""
        return (*self.to, *self.cc, *self.bcc)

    @property
    def receipt_address(self) -> str | None:
        """Return where receipts go; None where the sender's address is not known here."""
        if self.from_address:
            return self.from_address.address
        return self.sender if self.sender and "@" in self.sender else None

    def named_addresses(self) -> Iterator[tuple[str, EmailAddress]]:
        """Yield every address with the name of its place, such as `cc[1]`."""
        for field in ("to", "cc", "bcc", "reply_to"):
            for number, address in enumerate(getattr(self, field)):
                yield f"{field}[{number}]", address


class Form(StrEnum):
    """How the mail was written for the provider."""

    JSON = "json"
    MIME = "mime"


@dataclass(frozen=True, slots=True)
class SendIds:
    """The names of one send; they stay the same over its retries."""

    client_request_id: str
    internet_message_id: str


@dataclass(frozen=True, slots=True)
class SendResult:
    """The provider took the mail. Delivery comes later, and a bounce arrives as a mail to the sender."""

    request_id: str
    """The provider's own name for the request; its support asks for it."""
    client_request_id: str
    internet_message_id: str
    """The Message-ID that we asked for; Graph gives none back, and Gmail mostly writes its own."""
    form: Form = Form.JSON
    """`json` with both bodies given means: only the HTML was sent, the MIME form did not fit."""
    replayed: bool = False
    """Nothing was sent now: an earlier call with this idempotency key had sent it."""
    provider_message_id: str = ""
    """The provider's own id of the message, and of its thread; Gmail gives both, Graph one for a mail that
    waits for its `send_at`: `rollout send --cancel` takes it."""
    thread_id: str = ""

    @property
    def success(self) -> bool:
        """True: a send that failed raises."""
        return True

    @property
    def message_id(self) -> str:
        """The provider's id of the message; on Graph the internet message id that we asked for."""
        return self.provider_message_id or self.internet_message_id


@dataclass(frozen=True, slots=True)
class Limits:
    """Our own policy and the provider's hard cap."""

    max_recipients: int = 150
    """To, cc and bcc together. Exchange allows 500 by default; fewer is our policy."""
    max_attachments: int = 20
    """Attachments and inline images together. Exchange allows 250; fewer is our policy."""
    max_body_bytes: int = 0
    """Of the whole HTTP request body, base64 and JSON included; 0 leaves it at the provider's own cap."""
    large_attachments: bool = False
    """Whether a mail over the cap may go by a draft, where the provider has them."""

    def check_size(self, size: int, cap: int, way_out: str = "") -> None:
        """Raise MessageRefusedError for a body over the limit, which is `cap` unless one is given."""
        limit = self.max_body_bytes or cap
        if size > limit:
            raise MessageRefusedError(
                "ATTACHMENT_TOO_LARGE",
                f"the whole request has {size} bytes and the cap is {limit}; "
                f"files grow by a third on the way{way_out}",
                field="attachments",
            )
