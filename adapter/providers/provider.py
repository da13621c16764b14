"""What a provider is: two pure functions around one HTTP request, its codes, and the registry.

A provider never touches a socket. `prepare` turns a checked mail into a request, `interpret` turns a reply
into what it means; everything between them is the same for every provider.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from adapter.errors import Code
from adapter.message import Attachment, Form, InlineImage, Limits, OutgoingMessage, SendIds
from adapter.providers.body import Body

MAX_REPLY_BYTES = 64 * 1024
"""Error bodies are small."""


class MaySend(StrEnum):
    """From when on a request may have sent the mail, whatever comes of it."""

    AT_FIRST_BYTE = "at_first_byte"
    AT_LAST_BYTE = "at_last_byte"
    """The provider acts only on a body that is whole."""
    NEVER = "never"


class Upload(Protocol):
    """A mail, or a file of one, that is uploaded in a session, which goes on where a connection broke."""

    @property
    def body(self) -> Body:
        """What is uploaded."""

    @property
    def sends(self) -> bool:
        """Whether the end of the upload sends the mail; where it does not, any request may be made again."""

    def opened(self, reply: "Reply") -> str | None:
        """Return where the session is that a reply opened; None where it opened none."""

    def rest(self, path: str, start: int) -> "Request":
        """Return the request that carries what is uploaded from a byte on, or a range of it."""

    def question(self, path: str) -> "Request":
        """Return the request that asks how far the upload came."""

    def received(self, reply: "Reply") -> int | None:
        """Return how many bytes the server has; None where the reply is about the upload as a whole."""


@dataclass(frozen=True, slots=True)
class DraftPlace:
    """Where a draft is."""

    mailbox: str
    """As a path below the provider's base URL."""
    mark: str
    """What it is found by while its id is not known."""
    draft_id: str = ""


class Drafts(Protocol):
    """How drafts are found, looked at and removed, whoever wrote them."""

    @property
    def upload_hosts(self) -> Sequence[str]:
        """The ends of the names of servers that take their files, such as `.example.com`, besides its own."""

    def mailbox(self, sender: str | None) -> str:
        """Return the path of the mailbox of a sender, or of the user's own."""

    def find(self, place: DraftPlace) -> "Request":
        """Return the request for the drafts that bear the mark."""

    def found(self, reply: "Reply") -> Sequence[str] | None:
        """Return their ids; None where the reply does not say."""

    def look(self, place: DraftPlace) -> "Request":
        """Return the request that asks for a draft."""

    def is_there(self, reply: "Reply") -> bool | None:
        """Whether it is a draft still: one that was sent is none; None where the reply does not say."""

    def is_deferred(self, reply: "Reply") -> bool:
        """Whether the draft of a reply waits for its time."""

    def remove(self, place: DraftPlace) -> "Request":
        """Return the request that removes a draft."""

    def is_removed(self, reply: "Reply") -> bool | None:
        """Whether it was removed, False where it was not there; None where the reply does not say."""


class Draft(Protocol):
    """A mail that is written into the mailbox first, gets its files there, and is sent then."""

    @property
    def place(self) -> DraftPlace:
        """Where it will be; without its id."""

    @property
    def internet_message_id(self) -> str:
        """The Message-ID of the mail."""

    @property
    def files(self) -> Sequence[Attachment | InlineImage]:
        """Its files."""

    @property
    def is_deferred(self) -> bool:
        """Whether it stays a draft until its time, once it is sent."""

    @property
    def more_s(self) -> float:
        """The seconds that it may take beyond a mail of one post."""

    def created(self, reply: "Reply") -> str | None:
        """Return the id of the draft that the reply to the first request created."""

    def attach(self, draft_id: str, file: Attachment | InlineImage) -> "Request":
        """Return the request that attaches a file, or opens the session that does."""

    def is_attached(self, reply: "Reply") -> bool:
        """Whether the reply says that the file is attached."""

    def names(self, draft_id: str) -> "Request":
        """Return the request for the names of what is attached."""

    def named(self, reply: "Reply") -> Sequence[str] | None:
        """Return those names; None where the reply does not say."""

    def send(self, draft_id: str) -> "Request":
        """Return the request that sends the draft; made again, it sends nothing twice."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, without its token; the path is below the provider's base URL."""

    path: str
    headers: Mapping[str, str]
    body: Body = field(repr=False)
    form: Form = Form.JSON
    method: str = "POST"
    may_send: MaySend = MaySend.AT_FIRST_BYTE
    upload: Upload | None = None
    """What follows where this request only opens a session."""
    draft: Draft | None = None
    """What follows where this request only creates a draft."""
    server: str = ""
    """Another server than the provider's; its paths bear their own right, so no token goes there."""
    max_reply_bytes: int = MAX_REPLY_BYTES
    """More of its reply is not read."""
    right: str = ""
    """What an administrator has to allow for it; empty where the sign-in says it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False, default=b"")


class RetryAction(StrEnum):
    """What may follow a refusal, by what it says about the mail."""

    FAIL = "fail"
    """Not sent, and another try would fare the same."""
    REFRESH = "refresh"
    """Not sent; once more with a new token."""
    WAIT = "wait"
    """Not sent; once more when the provider says so."""
    UNKNOWN = "unknown"
    """It may have been sent: never again without being told to."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider took the mail."""

    request_id: str = ""
    message_id: str = ""
    """The provider's own id of the message, and of its thread; empty where it gives none."""
    thread_id: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider did not say that it took the mail."""

    code: str
    then: RetryAction
    detail: str = ""
    request_id: str = ""
    retry_after_s: float | None = None
    claims: str | None = None
    """The claims challenge of a 401, for the token source."""
    provider_code: str = ""


class Provider(Protocol):
    """One mail provider. Everything here is pure."""

    @property
    def name(self) -> str:
        """The provider's name, as features and metrics have it."""

    @property
    def base_url(self) -> str:
        """Where requests go unless the settings say otherwise."""

    @property
    def codes(self) -> Mapping[str, Code]:
        """Every code that `interpret` gives, and UNKNOWN, UNREACHABLE and AUTH codes of this provider."""

    @property
    def unknown_code(self) -> str:
        """The code of a send that may have happened."""

    @property
    def unreachable_code(self) -> str:
        """The code of a send that never left."""

    @property
    def auth_code(self) -> str:
        """The code for a token source that gave no code of its own."""

    @property
    def max_body_bytes(self) -> int:
        """The provider's own cap on a request's body, where the settings give none."""

    @property
    def drafts(self) -> Drafts | None:
        """The provider's drafts; None where mails never go by one."""

    def prepare(self, message: OutgoingMessage, ids: SendIds, limits: Limits) -> Request:
        """Write the request; raises MessageRefusedError where it would be larger than the cap."""

    def interpret(self, reply: Reply, now: float) -> Accepted | Refused:
        """Say what a reply means; `now` in unix seconds is used where a reply carries dates alone."""
