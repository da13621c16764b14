"""A second provider in one file; it speaks the sandbox's language, so that its sends are real."""

import json
from collections.abc import Mapping

from adapter.errors import Code, Source, code_table
from adapter.message import Limits, OutgoingMessage, SendIds
from adapter.providers.body import Body
from adapter.providers.provider import Accepted, Refused, Reply, Request, RetryAction


class Example:
    """The provider `example`."""

    name = "example"
    base_url = "https://mail.example/v1"
    unknown_code = "EXAMPLE_UNKNOWN"
    unreachable_code = "EXAMPLE_UNREACHABLE"
    auth_code = "EXAMPLE_AUTH"
    max_body_bytes = 1_000_000
    drafts = None
    codes: Mapping[str, Code] = code_table(
        Code(unknown_code, Source.PROVIDER, 504, "Nobody can say."),
        Code(unreachable_code, Source.PROVIDER, 502, "Nobody was there."),
        Code(auth_code, Source.AUTH, 401, "No token."),
        Code("EXAMPLE_REFUSED", Source.PROVIDER, 502, "It said no."),
    )

    def prepare(self, message: OutgoingMessage, ids: SendIds, limits: Limits) -> Request:
        fields = {
            "subject": message.subject,
            "body": {"contentType": "Text", "content": message.body_text or message.body_html},
            "toRecipients": [{"emailAddress": {"address": a.address}} for a in message.recipients],
            "internetMessageId": ids.internet_message_id,
        }
        body = json.dumps({"message": fields}).encode() + b" " * sum(len(f.content) for f in message.files)
        limits.check_size(len(body), self.max_body_bytes)
        return Request("/me/sendMail", {"Content-Type": "application/json"}, Body.of(body))

    def interpret(self, reply: Reply, now: float) -> Accepted | Refused:
        if reply.status == 202:
            return Accepted(reply.headers.get("request-id", ""))
        if reply.status in {401, 403, 413, 422}:  # its closed list of "not sent"
            return Refused("EXAMPLE_REFUSED", RetryAction.FAIL, f"It said {reply.status}.")
        return Refused(self.unknown_code, RetryAction.UNKNOWN, "Nobody can say.")
