"""What a provider is: two pure functions around one HTTP request, its codes, and the registry.

A provider never touches a socket. `prepare` turns a checked mail into a request, `interpret` turns a reply
into what it means; everything between them is the same for every provider.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from adapter.errors import Code
from adapter.message import Form, Limits, OutgoingMessage, SendIds
from adapter.providers.body import Body


class MaySend(StrEnum):
    """From when on a request may have sent the mail, whatever comes of it."""

    AT_FIRST_BYTE = "at_first_byte"
    AT_LAST_BYTE = "at_last_byte"
    """The provider acts only on a body that is whole."""
    NEVER = "never"


class Upload(Protocol):
    """A mail that is uploaded in a session, which goes on where a connection broke."""

    @property
    def body(self) -> Body:
        """The mail."""

    def opened(self, reply: "Reply") -> str | None:
        """Return the path of the session that a reply opened; None where it opened none."""

    def rest(self, path: str, start: int) -> "Request":
        """Return the request that carries the mail from a byte on."""

    def question(self, path: str) -> "Request":
        """Return the request that asks how far the mail came."""

    def received(self, reply: "Reply") -> int | None:
        """Return how many bytes the server has; None where the reply is about the mail as a whole."""


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

    def prepare(self, message: OutgoingMessage, ids: SendIds, limits: Limits) -> Request:
        """Write the request; raises MessageRefusedError where it would be larger than the cap."""

    def interpret(self, reply: Reply, now: float) -> Accepted | Refused:
        """Say what a reply means; `now` in unix seconds is used where a reply carries dates alone."""
