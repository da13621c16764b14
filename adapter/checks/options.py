"""What a mail may ask for besides its text: a sender, importance, categories, headers, receipts. Pure."""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from adapter.checks.addresses import check_address
from adapter.checks.headers import check_header
from adapter.checks.send_times import check_send_time
from adapter.errors import MessageRefusedError
from adapter.message import EmailAddress, OutgoingMessage

IMPORTANCES = ("low", "normal", "high")
MAX_CATEGORIES = 25
MAX_CATEGORY_CHARACTERS = 255
MAX_HEADERS = 30
MAX_HEADER_VALUE_CHARACTERS = 900
"""A line of a mail has at most 998 (RFC 5322, 2.1.1)."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,60}")
_OURS = {
    "from", "to", "cc", "bcc", "reply-to", "sender", "subject", "date", "message-id", "mime-version",
    "importance", "keywords", "disposition-notification-to", "return-receipt-to", "return-path", "received",
    "dkim-signature",
}  # fmt: skip
_OUR_BEGINNINGS = ("content-", "resent-", "arc-", "x-ms-exchange-")
"""Headers that are written from other fields, or that servers write."""
_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def check_options(message: OutgoingMessage, *, now: float, allow_local: bool) -> OutgoingMessage:
    """Return the message with its options as they may be sent. Raises MessageRefusedError."""
    if message.importance not in IMPORTANCES:
        raise _invalid(f"must be one of {', '.join(IMPORTANCES)}", "importance")
    for field in ("read_receipt", "delivery_receipt", "save_to_sent_items"):
        if not isinstance(getattr(message, field), bool):
            raise _invalid("must be true or false", field)
    given = message.from_address
    return replace(
        message,
        sender=check_sender(message.sender, allow_local=allow_local),
        from_address=check_address(given, "from_address", allow_local=allow_local) if given else None,
        categories=_categories(message.categories),
        headers=_headers(message.headers),
        send_at=check_send_time(message.send_at, now),
    )


def _invalid(problem: str, field: str) -> MessageRefusedError:
    return MessageRefusedError("INVALID_REQUEST", problem, field)


def check_sender(sender: object, *, allow_local: bool) -> str | None:
    """Return an address or an object id, which becomes a part of a path. Raises MessageRefusedError."""
    if sender is None:
        return None
    if isinstance(sender, str) and _ID.fullmatch(sender):
        return sender
    return check_address(EmailAddress(sender), "sender", allow_local=allow_local).address  # type: ignore[arg-type]


def _categories(given: tuple[Any, ...]) -> tuple[str, ...]:
    if len(given) > MAX_CATEGORIES:
        raise _invalid(f"at most {MAX_CATEGORIES}", "categories")
    for number, category in enumerate(given):
        text = check_header(category, f"categories[{number}]").strip()
        if not 0 < len(text) <= MAX_CATEGORY_CHARACTERS or "," in text:
            raise _invalid(
                f"has 1 to {MAX_CATEGORY_CHARACTERS} characters, and no comma", f"categories[{number}]"
            )
    return tuple(category.strip() for category in given)


def _headers(given: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    checked = tuple(_header(name, value) for name, value in given)
    names = [name.lower() for name, _ in checked]
    if len(checked) > MAX_HEADERS:
        raise _invalid(f"at most {MAX_HEADERS}", "headers")
    for name in names:
        if names.count(name) > 1:
            raise MessageRefusedError("INVALID_HEADER", "is there twice", f"headers.{name}")
    return checked


def _header(name: object, value: object) -> tuple[str, str]:
    field = f"headers.{name}" if isinstance(name, str) and name.isprintable() else "headers"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise MessageRefusedError("INVALID_HEADER", "a name has ASCII letters, digits and hyphens", field)
    if name.lower() in _OURS or name.lower().startswith(_OUR_BEGINNINGS):
        raise MessageRefusedError("INVALID_HEADER", "is written from other fields, or by servers", field)
    text = check_header(value, field).strip()
    if not 0 < len(text) <= MAX_HEADER_VALUE_CHARACTERS:
        raise MessageRefusedError(
            "INVALID_HEADER", f"a value has 1 to {MAX_HEADER_VALUE_CHARACTERS} characters", field
        )
    return name, text
