"""The JSON Schemas of what the adapter takes and answers over HTTP."""

from collections import defaultdict
from collections.abc import Mapping

from adapter.errors import Code
from controller.shared.openapi import TEXT, ResponseSpec, Schema, listed, record_like


def record(properties: Mapping[str, Schema], *needed: str) -> Schema:
    """Return the schema of an object of just these properties; all are needed unless some are named."""
    return record_like(properties, needed or None, additionalProperties=False)


def failures(codes: Mapping[str, Code], more: Mapping[int, str]) -> dict[int, ResponseSpec]:
    """Return an answer for each status that these error codes have, with their names; `more` adds some."""
    named = defaultdict(list, {status: [name] for status, name in more.items()})
    for name, code in codes.items():
        named[code.http].append(name)
    return {status: ResponseSpec(", ".join(sorted(names)), ERROR) for status, names in named.items()}


DENIED = {401: "UNAUTHORIZED", 403: "FORBIDDEN"}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
ERROR = record(
    {
        "error": record(
            {
                "code": TEXT,
                "message": TEXT,
                "source": TEXT,
                "retry_after_s": {"type": ["number", "null"]},
                "request_id": _MAYBE_TEXT,
            }
        )
    }
)
_BOOLEAN: Schema = {"type": "boolean"}
_PERSON = record({"address": TEXT, "name": _MAYBE_TEXT}, "address")
_PEOPLE = listed(_PERSON)
_FILE = {"name": TEXT, "content_type": TEXT, "content_base64": {"type": "string", "format": "byte"}}
SEND = record(
    {
        **dict.fromkeys(("to", "cc", "bcc", "reply_to"), _PEOPLE),
        **dict.fromkeys(("subject", "body_html", "body_text", "user_id", "idempotency_key"), TEXT),
        "attachments": {"type": "array", "items": record(_FILE, "name", "content_base64")},
        "inline_images": {
            "type": "array",
            "items": record({**_FILE, "content_id": TEXT}, "name", "content_base64", "content_id"),
        },
        **dict.fromkeys(
            ("resend_unknown", "read_receipt", "delivery_receipt", "save_to_sent_items"), _BOOLEAN
        ),
        "sender": TEXT,
        "from_address": _PERSON,
        "importance": {"enum": ["low", "normal", "high"]},
        "categories": listed(TEXT),
        "headers": {"type": "object", "additionalProperties": TEXT},
        "send_at": {"type": "string", "format": "date-time"},
    },
    "to",
    "user_id",
)
"""A send as `payload.parse_send` reads it."""
_ALWAYS_SENT = ("status", "request_id", "client_request_id", "internet_message_id", "replayed")
SENT = record(
    {
        "status": {"const": "sent"},
        **dict.fromkeys(_ALWAYS_SENT[1:4], TEXT),
        "replayed": {"type": "boolean"},
        **dict.fromkeys(("message_id", "thread_id"), TEXT),
    },
    *_ALWAYS_SENT,
)
"""`message_id` and `thread_id` are the provider's own, where it gives them."""
