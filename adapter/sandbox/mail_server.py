"""What a local mail provider is besides its own language: it keeps what arrives, and fails when told to.

Faults are set while it runs: `PUT /sandbox/faults`. What arrived is listed by `/sandbox/messages` and
`/sandbox/stats`.
"""

import argparse
import asyncio
import json
import signal
import ssl
import sys
import time
import uuid
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

from adapter.sandbox.answers import json_answer
from adapter.sandbox.certificates import make_certificates
from adapter.sandbox.faults import Dice, Faults, Weather
from adapter.sandbox.http import Body, Head, Reset, SandboxReply, Server
from adapter.sandbox.rules import Mail

KEPT_MESSAGES = 1000
KEPT_BODY_BYTES = 64 * 1024 * 1024
KEPT_IDS = 200_000
HANG_S = 3600.0


@dataclass(frozen=True, slots=True)
class Received:
    """One mail that was taken, and the request that brought it."""

    at: float
    mailbox: str
    client_request_id: str
    request_id: str
    mail: Mail
    size_bytes: int
    content_type: str
    body: bytes

    def summary(self) -> dict[str, Any]:
        """Return what arrived, without its body."""
        values = {name: getattr(self, name) for name in ("at", "mailbox", "client_request_id", "request_id")}
        return {**values, "size_bytes": self.size_bytes, **asdict(self.mail)}


class MailSandbox(ABC):
    """One provider's mail server; a subclass has its paths and its answers."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token_prefix: str = "sandbox-",  # noqa: S107 (the one that everybody may know)
        faults: Faults | None = None,
        tls: ssl.SSLContext | None = None,
        accepts: Callable[[str], bool] | None = None,
    ) -> None:
        self._server = Server(self._answer, host=host, port=port, tls=tls)
        self._scheme, self._host = ("https" if tls else "http"), host
        self._token_prefix = token_prefix
        self._accepts = accepts
        """Asked about each token besides its prefix: the sandbox sign-in server knows its own."""
        self.revoked_tokens: set[str] = set()
        self.faults = faults or Faults()
        self.messages: deque[Received] = deque(maxlen=KEPT_MESSAGES)
        self.statuses: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        """How often each Message-ID was taken."""
        self.subjects: Counter[str] = Counter()
        """How often a mail of each subject was taken."""
        self.posts = 0
        """Sends that arrived, whatever came of them."""
        self.arrived = asyncio.Event()
        """Set once a send is here with its body."""
        self.most_at_once = 0
        self.heads_only = False
        """Whether a mail in RFC 5322 is read no further than its head: a benchmark measures its senders."""
        self._kept_bytes = 0
        self._at_once: Counter[str] = Counter()

    @property
    def faults(self) -> Faults:
        """The faults that are made now."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        self.dice: Weather = Dice(faults)

    @property
    def base(self) -> str:
        """The address of the server."""
        return f"{self._scheme}://{self._host}:{self._server.port}"

    @property
    def url(self) -> str:
        """What the setting of the provider's address is set to."""
        return self.base

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.__aexit__()

    async def _answer(self, head: Head, body: Body) -> SandboxReply:
        path = head.path.partition("?")[0]
        if path.startswith("/sandbox/"):
            return self._inspect(head, path, await body(head.length))
        return await self._served(head, path, body)

    @abstractmethod
    async def _served(self, head: Head, path: str, body: Body) -> SandboxReply:
        """Answer a request that is not about the sandbox itself."""

    @abstractmethod
    def _fault(self, head: Head, faults: Faults) -> SandboxReply:
        """Return the answer of a fault."""

    @abstractmethod
    def _take(self, head: Head, content: bytes, mailbox: str, faults: Faults) -> SandboxReply:
        """Keep a mail and answer for it, or refuse it by the provider's rules."""

    @abstractmethod
    def _read(self, head: Head, content: bytes) -> Mail:
        """Understand a mail; raises BrokenRule."""

    async def _send(self, head: Head, path: str, body: Body) -> SandboxReply:
        self.posts += 1
        faults = self.dice.throw()
        await reset_early(faults, head, body)
        content = await body(head.length)
        self.arrived.set()
        mailbox = self._mailbox(head, path)

        def act() -> SandboxReply:
            return self._take(head, content, mailbox, faults)

        def keep() -> object:
            return mailbox and self._keep(head, content, mailbox)

        answer = await self._counted(head, mailbox, faults, act, keep)
        self.statuses[str(answer.status)] += 1
        return answer

    async def _counted(
        self,
        head: Head,
        mailbox: str,
        faults: Faults,
        act: Callable[[], SandboxReply],
        all_the_same: Callable[[], object],
    ) -> SandboxReply:
        """Answer a request that arrived whole, among those that its mailbox has at once."""
        self._at_once[mailbox] += 1
        self.most_at_once = max(self.most_at_once, self._at_once[mailbox])
        try:
            return await self._judge(head, mailbox, faults, act, all_the_same)
        finally:
            self._at_once[mailbox] -= 1
            if not self._at_once[mailbox]:
                del self._at_once[mailbox]

    async def _judge(
        self,
        head: Head,
        mailbox: str,
        faults: Faults,
        act: Callable[[], SandboxReply],
        all_the_same: Callable[[], object],
    ) -> SandboxReply:
        """Answer a request; faults come before the rules, as a broken front end's would.

        Providers have been seen to answer an error and to carry out what was asked `all_the_same`.
        """
        if faults.latency_s:
            await asyncio.sleep(faults.latency_s)
        fails = (faults.status and faults.status != 202) or faults.hang or faults.reset
        if fails and faults.delivered_share:
            all_the_same()
        if faults.status and faults.status != 202:
            return self._fault(head, faults)
        if faults.reset:
            raise Reset
        await hang_if(faults)
        if faults.per_mailbox and self._at_once[mailbox] > faults.per_mailbox:
            return self._fault(head, Faults(status=429, retry_after=faults.retry_after))
        return act()

    def _keep(self, head: Head, content: bytes, mailbox: str) -> Received:
        return self._kept(head, self._read(head, content), content, mailbox)

    def _kept(self, head: Head, mail: Mail, content: bytes, mailbox: str) -> Received:
        received = Received(
            at=time.time(),
            mailbox=mailbox,
            client_request_id=head.headers.get("client-request-id", ""),
            request_id=str(uuid.uuid4()),
            mail=mail,
            size_bytes=len(content),
            content_type=head.headers.get("content-type", ""),
            body=content,
        )
        self._make_room(len(content))
        self.messages.append(received)
        if len(self.copies) < KEPT_IDS:
            self.copies[mail.internet_message_id] += 1
            self.subjects[mail.subject] += 1
        return received

    def _make_room(self, size: int) -> None:
        """Forget the oldest mails, so that a long run needs no more memory than a short one."""
        self._kept_bytes += size
        while self.messages and (
            self._kept_bytes > KEPT_BODY_BYTES or len(self.messages) == self.messages.maxlen
        ):
            self._kept_bytes -= self.messages.popleft().size_bytes

    def _mailbox(self, head: Head, path: str) -> str:
        """Name the mailbox that the token opens; empty if it opens none."""
        kind, _, token = head.headers.get("authorization", "").partition(" ")
        if kind != "Bearer" or not token.startswith(self._token_prefix) or token in self.revoked_tokens:
            return ""
        if self._accepts and not self._accepts(token):
            return ""
        _, found, rest = path.partition("/users/")
        return unquote(rest.partition("/")[0]) if found else token

    def _inspect(self, head: Head, path: str, body: bytes) -> SandboxReply:
        if path == "/sandbox/faults":
            return self._change_faults(head.method, body)
        if path == "/sandbox/messages":
            return json_answer(200, [received.summary() for received in self.messages])
        if path == "/sandbox/subjects":
            return json_answer(200, self.subjects)
        if path.startswith("/sandbox/subjects/"):
            return json_answer(200, {"copies": self.subjects[unquote(path[18:])]})
        if path == "/sandbox/stats":
            return json_answer(200, self.stats())
        return json_answer(404, {"error": "there are /sandbox/faults, messages, subjects and stats"})

    def _change_faults(self, method: str, body: bytes) -> SandboxReply:
        try:
            if method == "PUT":
                self.faults = Faults.parse(json.loads(body or b"{}"))
            elif method == "DELETE":
                self.faults = Faults()
        except (ValueError, TypeError, AttributeError) as mistake:
            return json_answer(400, {"error": str(mistake)})
        return json_answer(200, asdict(self.faults))

    def stats(self) -> dict[str, Any]:
        """Return counts of what arrived and was answered."""
        return {
            "posts": self.posts,
            "statuses": dict(self.statuses),
            "mails": sum(self.copies.values()),
            "different_mails": len(self.copies),
            "most_at_once": self.most_at_once,
        }


async def hang_if(faults: Faults) -> None:
    """Answer nothing where the faults say so."""
    if faults.hang:
        await asyncio.sleep(HANG_S)


async def reset_early(faults: Faults, head: Head, body: Body) -> None:
    """Raise Reset where the connection ends before a request is here."""
    if faults.reset == "before":
        raise Reset
    if faults.reset == "in":
        await body(head.length // 2)
        raise Reset


def serve(kind: type[MailSandbox], port: int) -> None:
    """Run a sandbox as a command until SIGTERM, with its address on stdout."""
    module = kind.__module__
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=kind.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=port, help="0 takes a free one, which is printed")
    parser.add_argument("--token-prefix", default="sandbox-", help="tokens that begin so are taken")
    parser.add_argument("--cert-dir", type=Path, help="serve TLS, with certificates that are written there")
    parser.add_argument("--heads-only", action="store_true", help="read no mail further than its head")
    parser.add_argument("--faults", default="{}", help='JSON, such as {"latency_s": 0.05}')
    asyncio.run(_serve(kind, parser.parse_args()))


async def _serve(kind: type[MailSandbox], options: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    faults = Faults.parse(json.loads(options.faults))
    tls = make_certificates(options.cert_dir).server_context() if options.cert_dir else None
    async with kind(
        host=options.host,
        port=options.port,
        token_prefix=options.token_prefix,
        faults=faults,
        tls=tls,
    ) as sandbox:
        sandbox.heads_only = options.heads_only
        sys.stdout.write(f"{sandbox.url}\n")
        sys.stdout.flush()
        await stopped.wait()
