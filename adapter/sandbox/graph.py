"""A local Microsoft Graph over real HTTP: sendMail and drafts. It checks mails, keeps them, and can fail.

`python -m adapter.sandbox.graph --port 8090` serves it; `async with Sandbox() as graph` does so in process.
"""

import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from adapter.sandbox.answers import error, fault, names, retry_after
from adapter.sandbox.faults import Faults
from adapter.sandbox.graph_drafts import Draft, DraftStore, Session
from adapter.sandbox.http import Body, Head, Reset, SandboxReply
from adapter.sandbox.mail_server import MailSandbox, hang_if, reset_early, serve
from adapter.sandbox.rules import MAX_BODY_BYTES, BrokenRule, Mail, read_mail

READ_WRITE, SEND = "Mail.ReadWrite", "Mail.Send"
BLOCK_BYTES = 64 * 1024
_DRAFT_PATH = re.compile(r"/v1\.0/(?:me|users/[^/]+)/(.+)").fullmatch
_SESSION_PATH = re.compile(r"/upload/AttachmentSessions\('(\w+)'\)").fullmatch

Act = Callable[[], SandboxReply]


class Sandbox(MailSandbox):
    """Graph on loopback; `url` is what MS_GRAPH_URL takes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.rights = {SEND, READ_WRITE}
        """What the administrator allowed."""
        self.steps: Counter[str] = Counter()
        """How often each step of a mail that goes by a draft was asked for."""
        self.tokens_at_uploads = 0
        """Requests to an upload URL that bore a token, which may not leave for there."""
        self.drafts = DraftStore(self._deliver)

    @property
    def url(self) -> str:
        """What MS_GRAPH_URL is set to."""
        return f"{self.base}/v1.0"

    def end_sessions(self) -> None:
        """Forget every upload session, as Graph does with those that are over."""
        self.drafts.sessions.clear()

    async def _served(self, head: Head, path: str, body: Body) -> SandboxReply:
        self.drafts.deliver_due(time.time())
        if head.method == "POST" and path.endswith("/sendMail"):
            return await self._send(head, path, body)
        if session := _SESSION_PATH(unquote(path)):
            return await self._session(head, session[1], body)
        found = _DRAFT_PATH(path)
        if found and (step := _step_of(head.method, found[1])):
            return await self._draft_step(step, head, path, found[1], body)
        await body(head.length)
        return error(head, 404, "ResourceNotFound", "Resource not found for the segment.")

    async def _draft_step(self, step: str, head: Head, path: str, rest: str, body: Body) -> SandboxReply:
        """Answer a request about drafts, with the faults of its step."""
        faults = self._faults_of(step)
        await reset_early(faults, head, body)
        content = await body(head.length)
        mailbox = self._mailbox(head, path)
        act = partial(self._answered, step, head, rest, content, mailbox)
        if step == "send":
            self.posts += 1
            self.arrived.set()
        answer = await self._counted(head, mailbox, faults, act, act)
        if step == "send":
            self.statuses[str(answer.status)] += 1
        return answer

    def _faults_of(self, step: str) -> Faults:
        self.steps[step] += 1
        if self.faults.step == step or (step == "send" and not self.faults.step):
            return self.dice.throw()
        return Faults(per_mailbox=self.faults.per_mailbox, retry_after=self.faults.retry_after)

    def _answered(self, step: str, head: Head, rest: str, content: bytes, mailbox: str) -> SandboxReply:
        if not mailbox:
            return error(head, 401, "InvalidAuthenticationToken", "Access token is missing or not known.")
        if (SEND if step == "send" else READ_WRITE) not in self.rights:
            return error(head, 403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")
        if len(content) > MAX_BODY_BYTES:
            return error(head, 413, "RequestEntityTooLarge", "The request is larger than 4 MB.")
        try:
            return self._carried_out(step, head, rest, content, mailbox)
        except BrokenRule as broken:
            return error(head, 400, broken.code, str(broken))

    def _carried_out(self, step: str, head: Head, rest: str, content: bytes, mailbox: str) -> SandboxReply:
        store = self.drafts
        if step == "create":
            return store.create(head, mailbox, content)
        if step == "find":
            return store.find(head, mailbox, parse_qs(urlsplit(head.path).query).get("$filter", [""])[0])
        draft = store.drafts.get(unquote(rest.split("/")[1]))
        if draft is None or draft.mailbox != mailbox:
            return _not_found(head)
        acts: dict[str, Act] = {
            "look": partial(store.look, head, draft),
            "remove": partial(store.remove, head, draft),
            "names": partial(store.names, head, draft),
            "attach": partial(store.attach, head, draft, content),
            "open": partial(store.open, head, draft, content, self.base),
            "send": partial(store.send, head, draft),
        }
        return acts[step]()

    async def _session(self, head: Head, session_id: str, body: Body) -> SandboxReply:
        """Answer a request to an upload URL, which bears its own right; bytes that came stay."""
        self.tokens_at_uploads += "authorization" in head.headers
        step = "range" if head.method == "PUT" else "expected"
        faults = self._faults_of(step)
        session = self.drafts.sessions.get(session_id)
        if session is None or step == "expected":
            await reset_early(faults, head, body)
            await body(head.length)
            act = partial(self.drafts.expected, head, session) if session else partial(_not_found, head)
            return await self._judge(head, "", faults, act, act)
        return await self._range(head, session_id, session, body, faults)

    async def _range(
        self, head: Head, session_id: str, session: Session, body: Body, faults: Faults
    ) -> SandboxReply:
        if faults.reset == "before":
            raise Reset
        refusal = self._fault(head, faults) if faults.status else self.drafts.check_range(head, session)
        if refusal or (faults.hang and not faults.delivered_share):
            await body(head.length)
            await hang_if(faults)
            return refusal or _not_found(head)
        left = head.length // 2 if faults.reset == "in" else head.length
        while left:
            part = await body(min(left, BLOCK_BYTES))
            session.add(part)
            left -= len(part)
        if faults.reset == "in":
            raise Reset
        reply = self.drafts.added(head, session_id, session)
        if faults.reset:
            raise Reset
        await hang_if(faults)
        return reply

    def _deliver(self, head: Head, draft: Draft) -> str:
        mail = replace(draft.mail, attachments=tuple(draft.files))
        return self._kept(head, mail, b"", draft.mailbox).request_id

    def _fault(self, head: Head, faults: Faults) -> SandboxReply:
        return fault(head, faults)

    def _read(self, head: Head, content: bytes) -> Mail:
        return read_mail(head.headers.get("content-type", ""), content)

    def _take(self, head: Head, content: bytes, mailbox: str, faults: Faults) -> SandboxReply:
        if not mailbox:
            return error(head, 401, "InvalidAuthenticationToken", "Access token is missing or not known.")
        if len(content) > MAX_BODY_BYTES:
            return error(head, 413, "RequestEntityTooLarge", "The request is larger than 4 MB.")
        try:
            received = self._keep(head, content, mailbox)
        except BrokenRule as broken:
            return error(head, 400, broken.code, str(broken))
        return SandboxReply(202, {**names(head, received.request_id), **retry_after(faults)})

    def stats(self) -> dict[str, Any]:
        """Return counts of what arrived and was answered."""
        return {
            **super().stats(),
            "drafts": len(self.drafts.drafts),
            "steps": dict(self.steps),
            "digests": self.drafts.digests,
            "tokens_at_uploads": self.tokens_at_uploads,
        }


_STEPS = {
    ("POST", "messages"): "create",
    ("GET", "mailFolders/drafts/messages"): "find",
    ("GET", "messages/ID"): "look",
    ("DELETE", "messages/ID"): "remove",
    ("GET", "messages/ID/attachments"): "names",
    ("POST", "messages/ID/attachments"): "attach",
    ("POST", "messages/ID/attachments/createUploadSession"): "open",
    ("POST", "messages/ID/send"): "send",
}


def _step_of(method: str, rest: str) -> str:
    return _STEPS.get((method, re.sub(r"^messages/[^/]+", "messages/ID", rest)), "")


def _not_found(head: Head) -> SandboxReply:
    return error(head, 404, "ErrorItemNotFound", "The specified object was not found in the store.")


if __name__ == "__main__":
    serve(Sandbox, 8090)
