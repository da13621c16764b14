"""A local Microsoft Graph that takes sendMail over real HTTP, checks it, keeps it, and fails when told to.

`python -m adapter.sandbox.graph --port 8090` serves it; `async with Sandbox() as graph` does so in process.
"""

from adapter.sandbox.answers import error, fault, names, retry_after
from adapter.sandbox.faults import Faults
from adapter.sandbox.http import Body, Head, SandboxReply
from adapter.sandbox.mail_server import MailSandbox, serve
from adapter.sandbox.rules import MAX_BODY_BYTES, BrokenRule, Mail, read_mail


class Sandbox(MailSandbox):
    """Graph on loopback; `url` is what MS_GRAPH_URL takes."""

    @property
    def url(self) -> str:
        """What MS_GRAPH_URL is set to."""
        return f"{self.base}/v1.0"

    async def _served(self, head: Head, path: str, body: Body) -> SandboxReply:
        if head.method == "POST" and path.endswith("/sendMail"):
            return await self._send(head, path, body)
        await body(head.length)
        return error(Head("", "", {}), 404, "ResourceNotFound", "Resource not found for the segment.")

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


if __name__ == "__main__":
    serve(Sandbox, 8090)
