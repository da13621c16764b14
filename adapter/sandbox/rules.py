"""Graph's rules for the body of sendMail, as documented and as reported by those who broke them."""

import base64
import binascii
import email.policy
import json
import re
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_OWN_HEADERS = 5

MESSAGE_FIELDS: dict[str, type] = {
    "@odata.type": str,
    "subject": str,
    "body": dict,
    "toRecipients": list,
    "ccRecipients": list,
    "bccRecipients": list,
    "replyTo": list,
    "attachments": list,
    "internetMessageHeaders": list,
    "internetMessageId": str,
    "importance": str,
    "categories": list,
    "from": dict,
    "sender": dict,
    "isReadReceiptRequested": bool,
    "isDeliveryReceiptRequested": bool,
    "flag": dict,
    "singleValueExtendedProperties": list,
    "multiValueExtendedProperties": list,
}
PARAMETERS = {"message": "message", "savetosentitems": "saveToSentItems"}
"""Their names may begin with a capital too: Microsoft's own SDKs write them so."""
FILE_FIELDS: dict[str, type] = {
    "@odata.type": str,
    "name": str,
    "contentType": str,
    "contentBytes": str,
    "contentId": str,
    "isInline": bool,
}


_PROPERTY = re.compile(r"(String|Integer|SystemTime|Boolean) (0x[0-9A-Fa-f]{4}|\{[0-9a-f-]{36}\} Name \w+)")


class BrokenRule(Exception):  # noqa: N818 (it is what Graph answers, not a fault of the sandbox)
    """The body breaks a rule; `code` is Graph's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as the sandbox understood it."""

    subject: str
    recipients: tuple[str, ...]
    internet_message_id: str
    form: str
    attachments: tuple[tuple[str, int, str], ...]
    """Name, size in bytes, content id."""


def read_mail(content_type: str, body: bytes) -> Mail:
    """Understand the body of a send; raises BrokenRule."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json":
        return _read_json(body)
    if kind == "text/plain":
        return _read_mime(body)
    raise BrokenRule("RequestBodyRead", f"The content type {kind!r} is not supported.")


def _read_json(body: bytes) -> Mail:
    try:
        given = json.loads(body)
    except ValueError:
        raise BrokenRule("BadRequest", "Unable to read JSON request payload.") from None
    if isinstance(given, dict):
        given = {PARAMETERS.get(name.lower(), name): value for name, value in given.items()}
    _only(given, {"message": dict, "saveToSentItems": bool}, "request")
    message = given.get("message")
    if message is None:
        raise BrokenRule("ErrorInvalidParameter", "The parameter message is missing.")
    return _mail(message)


def read_message(body: bytes) -> tuple[Mail, dict[str, str]]:
    """Understand the body that creates a draft, and its extended properties; raises BrokenRule."""
    try:
        given = json.loads(body)
    except ValueError:
        raise BrokenRule("BadRequest", "Unable to read JSON request payload.") from None
    mail = _mail(given)
    properties = given.get("singleValueExtendedProperties", [])
    for one in properties:
        _only(one, {"id": str, "value": str}, "property")
        if not _PROPERTY.fullmatch(one.get("id", "")):
            raise BrokenRule("ErrorInvalidProperty", "The id of a property cannot be read.")
    return mail, {one["id"]: one["value"] for one in properties}


def _mail(message: Any) -> Mail:
    _only(message, MESSAGE_FIELDS, "message")
    _check_body(message.get("body"))
    _check_own_headers(message)
    if message.get("importance", "normal") not in {"low", "normal", "high"}:
        raise BrokenRule("RequestBodyRead", "The importance is low, normal or high.")
    if not all(isinstance(category, str) for category in message.get("categories", [])):
        raise BrokenRule("RequestBodyRead", "The categories are texts.")
    for name in ("from", "sender"):
        if name in message:
            _check_address(message[name])
    for address in _addresses(message, ("replyTo",)):
        _check_address(address)
    return Mail(
        subject=message.get("subject", ""),
        recipients=_recipients(_addresses(message, ("toRecipients", "ccRecipients", "bccRecipients"))),
        internet_message_id=message.get("internetMessageId", ""),
        form="json",
        attachments=tuple(read_file(file) for file in message.get("attachments", [])),
    )


def _only(given: Any, known: dict[str, type], place: str) -> None:
    if not isinstance(given, dict):
        raise BrokenRule("UnableToDeserializePostBody", f"The {place} is no object.")
    for name, value in given.items():
        if name not in known:
            raise BrokenRule("RequestBodyRead", f"The property {name!r} does not exist on the {place}.")
        if type(value) is not known[name]:
            raise BrokenRule("RequestBodyRead", f"The property {name!r} of the {place} has a wrong type.")


def _check_body(body: Any) -> None:
    if body is None:
        return
    _only(body, {"contentType": str, "content": str}, "body")
    if body.get("contentType", "").lower() not in {"html", "text"}:
        raise BrokenRule("RequestBodyRead", "The contentType of a body is HTML or Text.")


def _check_own_headers(message: dict[str, Any]) -> None:
    if "internetMessageHeaders" not in message:
        return
    headers = message["internetMessageHeaders"]
    if not 0 < len(headers) <= MAX_OWN_HEADERS:
        raise BrokenRule("InvalidInternetMessageHeader", "Between one and five headers may be given.")
    for header in headers:
        if not str(header.get("name", "")).lower().startswith("x-"):
            raise BrokenRule("InvalidInternetMessageHeader", "The name of a header begins with x-.")


def _addresses(message: dict[str, Any], names: tuple[str, ...]) -> list[Any]:
    return [recipient for name in names for recipient in message.get(name, [])]


def _recipients(given: list[Any]) -> tuple[str, ...]:
    if not given:
        raise BrokenRule("ErrorInvalidRecipients", "At least one recipient isn't valid: there is none.")
    return tuple(_check_address(recipient) for recipient in given)


def _check_address(recipient: Any) -> str:
    _only(recipient, {"emailAddress": dict}, "recipient")
    _only(recipient.get("emailAddress"), {"address": str, "name": str}, "emailAddress")
    address = str(recipient["emailAddress"].get("address", ""))
    if not _plausible(address):
        raise BrokenRule("ErrorInvalidRecipients", "At least one recipient isn't valid.")
    return address


def _plausible(address: str) -> bool:
    local, at, domain = address.rpartition("@")
    broken = any(character in address for character in ";,<> \r\n\t\0")
    return bool(local and at and domain and address.isascii() and not broken)


def read_file(given: Any) -> tuple[str, int, str]:
    """Understand a fileAttachment: its name, its size in bytes, its content id; raises BrokenRule."""
    _only(given, FILE_FIELDS, "attachment")
    if given.get("@odata.type") != "#microsoft.graph.fileAttachment":
        raise BrokenRule("RequestBodyRead", "An attachment needs its @odata.type.")
    if not given.get("name") or "contentBytes" not in given:
        raise BrokenRule("ErrorInvalidProperty", "An attachment needs a name and contentBytes.")
    content_id = str(given.get("contentId", ""))
    if content_id.startswith("<") or (given.get("isInline") and not content_id):
        raise BrokenRule("ErrorInvalidProperty", "An inline attachment needs a bare contentId.")
    return str(given["name"]), len(_base64(given["contentBytes"], "RequestBodyRead")), content_id


def _base64(text: str | bytes, code: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BrokenRule(code, "The content is not standard base64.") from None


def _read_mime(body: bytes) -> Mail:
    return read_rfc822(_base64(body, "ErrorMimeContentInvalidBase64String"))


def read_rfc822(raw: bytes, *, heads_only: bool = False) -> Mail:
    """Understand a mail in RFC 5322, or its head alone; raises BrokenRule."""
    read = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if heads_only else raw
    message = BytesParser(policy=email.policy.SMTP).parsebytes(read)
    addresses = [
        address.addr_spec
        for name in ("to", "cc", "bcc")
        for header in message.get_all(name, [])
        for address in header.addresses
    ]
    if not addresses or not all(_plausible(address) for address in addresses):
        raise BrokenRule("ErrorInvalidRecipients", "At least one recipient isn't valid.")
    return Mail(
        subject=str(message.get("subject", "")),
        recipients=tuple(addresses),
        internet_message_id=str(message.get("message-id", "")),
        form="mime",
        attachments=tuple(_mime_file(part) for part in message.walk() if part.get_filename()),
    )


def _mime_file(part: EmailMessage) -> tuple[str, int, str]:
    content = part.get_payload(decode=True)
    size = len(content) if isinstance(content, bytes) else 0
    return str(part.get_filename()), size, str(part.get("content-id", "")).strip("<>")
