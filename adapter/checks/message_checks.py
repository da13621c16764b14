"""What is refused before anything is sent, each with its code, its field and a sentence. Pure."""

from collections.abc import Iterable
from dataclasses import replace

from adapter.checks.addresses import check_address
from adapter.checks.cids import shown_cids
from adapter.checks.filenames import safe_name
from adapter.checks.headers import check_content_type, check_header, whole_characters
from adapter.checks.options import check_options
from adapter.errors import MessageRefusedError
from adapter.message import (
    Attachment,
    Content,
    EmailAddress,
    InlineImage,
    Limits,
    OutgoingMessage,
    StoredContent,
)

LONGEST_USER_ID = 256
BYTE_ORDER_MARK = "\ufeff"
"""Editors put it before a text; in a mail it would be shown."""


def is_user_id(value: object) -> bool:
    """Whether it can name a user: a text of 1 to 256 printable characters."""
    return isinstance(value, str) and 1 <= len(value) <= LONGEST_USER_ID and value.isprintable()


def check_user_id(user_id: str) -> str:
    """Return the id; raises MessageRefusedError (the caller's fault) where it names nobody."""
    if not is_user_id(user_id):
        raise MessageRefusedError("INVALID_REQUEST", "must be 1 to 256 printable characters", "user_id")
    return user_id


def check(
    message: OutgoingMessage, limits: Limits, *, now: float = 0.0, allow_local: bool = False
) -> OutgoingMessage:
    """Return the message with ASCII addresses and safe file names. Raises MessageRefusedError.

    `now` in unix seconds is what `send_at` is compared with; without it every one is too far ahead.
    """
    _check_counts(message, limits)
    checked = replace(
        message,
        to=_addresses(message.to, "to", allow_local),
        cc=_addresses(message.cc, "cc", allow_local),
        bcc=_addresses(message.bcc, "bcc", allow_local),
        reply_to=_addresses(message.reply_to, "reply_to", allow_local),
        subject=check_header(message.subject or "", "subject"),
        body_html=_body(message.body_html, "body_html"),
        body_text=_body(message.body_text, "body_text"),
        attachments=tuple(_attachment(file, n) for n, file in enumerate(message.attachments)),
        inline_images=tuple(_image(image, n) for n, image in enumerate(message.inline_images)),
    )
    checked = check_options(checked, now=now, allow_local=allow_local)
    _check_empty(checked)
    _check_cids(checked)
    return checked


def _check_counts(message: OutgoingMessage, limits: Limits) -> None:
    if not message.recipients:
        raise MessageRefusedError("INVALID_RECIPIENT", "there is no recipient", "to")
    if len(message.recipients) > limits.max_recipients:
        raise MessageRefusedError(
            "TOO_MANY_RECIPIENTS",
            f"{len(message.recipients)} recipients in to, cc and bcc; at most {limits.max_recipients}",
            "to",
        )
    if len(message.files) > limits.max_attachments:
        raise MessageRefusedError(
            "TOO_MANY_ATTACHMENTS",
            f"{len(message.files)} attachments and inline images; at most {limits.max_attachments}",
            "attachments",
        )


def _addresses(given: Iterable[EmailAddress], field: str, allow_local: bool) -> tuple[EmailAddress, ...]:
    return tuple(
        check_address(address, f"{field}[{n}]", allow_local=allow_local) for n, address in enumerate(given)
    )


def _body(text: str | None, field: str) -> str | None:
    if text is not None and not isinstance(text, str):
        raise MessageRefusedError("EMPTY_MESSAGE", "the body is not text", field)
    return whole_characters(text.removeprefix(BYTE_ORDER_MARK)) if text else None


def _attachment(file: Attachment, number: int) -> Attachment:
    field = f"attachments[{number}]"
    return Attachment(
        name=safe_name(_name(file.name, field)),
        content_type=check_content_type(file.content_type, f"{field}.content_type"),
        content=_content(file.content, field),
    )


def _image(image: InlineImage, number: int) -> InlineImage:
    field = f"inline_images[{number}]"
    return InlineImage(
        name=safe_name(_name(image.name, field)),
        content_type=check_content_type(image.content_type, f"{field}.content_type"),
        content=_content(image.content, field),
        content_id=_content_id(image.content_id, f"{field}.content_id"),
    )


def _name(name: object, field: str) -> str:
    """Refuse what aims at a header; everything else about a name is cleaned away."""
    if isinstance(name, str) and not set(name) & set("\r\n\0"):
        return name
    return check_header(name, f"{field}.name")


def _content(content: Content, field: str) -> Content:
    if isinstance(content, StoredContent):
        return content
    if not isinstance(content, bytes | bytearray | memoryview):
        raise MessageRefusedError("INVALID_HEADER", "the content is not bytes", f"{field}.content")
    return bytes(content)


def _content_id(content_id: str, field: str) -> str:
    bare = check_header(content_id, field).strip().removeprefix("<").removesuffix(">")
    if not bare or any(character in bare for character in '<>" \t') or not bare.isascii() or len(bare) > 250:
        raise MessageRefusedError(
            "INVALID_HEADER", "a content id has 1 to 250 ASCII characters without blanks, < and >", field
        )
    return bare


def _check_empty(message: OutgoingMessage) -> None:
    has_text = any((body or "").strip() for body in (message.body_html, message.body_text))
    if not has_text and not message.files:
        raise MessageRefusedError(
            "EMPTY_MESSAGE", "there is no body_html, no body_text and no file", "body_html"
        )


def _check_cids(message: OutgoingMessage) -> None:
    """Match what the HTML shows with the pictures, both ways: each orphan makes a mail look broken."""
    shown = shown_cids(message.body_html or "")
    given = [image.content_id for image in message.inline_images]
    for missing in sorted(shown - set(given)):
        raise MessageRefusedError(
            "ORPHAN_CID", f"the HTML shows cid:{_quoted(missing)}; no inline image has that id", "body_html"
        )
    for number, content_id in enumerate(given):
        wrong = _wrong_with(content_id, given[:number], shown)
        if wrong:
            raise MessageRefusedError("ORPHAN_CID", wrong, f"inline_images[{number}].content_id")


def _wrong_with(content_id: str, before: list[str], shown: frozenset[str]) -> str:
    if content_id in before:
        return f"two images have the id {content_id}; one is never shown"
    if content_id not in shown:
        return f"the HTML does not show cid:{content_id}; send the file as an attachment instead"
    return ""


def _quoted(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:80])
