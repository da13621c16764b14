"""A send as JSON, as the HTTP face and the command line take it, made into arguments. Pure."""

import binascii
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from adapter.errors import MessageRefusedError
from adapter.message import Attachment, EmailAddress, InlineImage

T = TypeVar("T")


def parse_send(given: Any) -> dict[str, Any]:
    """Return the keyword arguments of an action; raises MessageRefusedError with the field at fault."""
    fields = _table(given, "body")
    for name in fields:
        if name not in _READERS:
            raise _invalid(f"unknown field; known are {', '.join(_READERS)}", name)
    for name in ("to", "user_id"):
        if fields.get(name) is None:
            raise _invalid("this field is needed", name)
    read = {name: _READERS[name](value, name) for name, value in fields.items() if value is not None}
    return {"to": [], "subject": "", **read}


def _invalid(message: str, field: str) -> MessageRefusedError:
    return MessageRefusedError("INVALID_REQUEST", message, field)


def _table(value: Any, field: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _invalid("this must be an object", field)
    return value


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise _invalid("this must be text", field)
    return value


def _boolean(value: Any, field: str) -> bool:
    if not isinstance(value, bool):
        raise _invalid("this must be true or false", field)
    return value


def _listed(read: Callable[[Any, str], T]) -> Callable[[Any, str], list[T]]:
    def read_list(value: Any, field: str) -> list[T]:
        if not isinstance(value, list):
            raise _invalid("this must be a list", field)
        return [read(entry, f"{field}[{number}]") for number, entry in enumerate(value)]

    return read_list


def _strict(value: Any, field: str, needed: set[str], optional: set[str]) -> Mapping[str, Any]:
    table = _table(value, field)
    for name in table.keys() - needed - optional:
        raise _invalid("unknown field", f"{field}.{name}")
    for name in sorted(needed - table.keys()):
        raise _invalid("this field is needed", f"{field}.{name}")
    return table


def _address(value: Any, field: str) -> EmailAddress:
    table = _strict(value, field, {"address"}, {"name"})
    name = table.get("name")
    return EmailAddress(
        _text(table["address"], f"{field}.address"), None if name is None else _text(name, f"{field}.name")
    )


def _attachment(value: Any, field: str) -> Attachment:
    table = _strict(value, field, {"name", "content_base64"}, {"content_type"})
    return Attachment(
        name=_text(table["name"], f"{field}.name"),
        content_type=_text(table.get("content_type", ""), f"{field}.content_type"),
        content=_base64(table["content_base64"], f"{field}.content_base64"),
    )


def _image(value: Any, field: str) -> InlineImage:
    table = _strict(value, field, {"name", "content_base64", "content_id"}, {"content_type"})
    return InlineImage(
        name=_text(table["name"], f"{field}.name"),
        content_type=_text(table.get("content_type", ""), f"{field}.content_type"),
        content=_base64(table["content_base64"], f"{field}.content_base64"),
        content_id=_text(table["content_id"], f"{field}.content_id"),
    )


def _texts(value: Any, field: str) -> dict[str, str]:
    return {name: _text(text, f"{field}.{name}") for name, text in _table(value, field).items()}


def _base64(value: Any, field: str) -> bytes:
    """Decode standard base64, in one line or in many."""
    try:
        return binascii.a2b_base64("".join(_text(value, field).split()), strict_mode=True)
    except (binascii.Error, ValueError):
        raise _invalid("this is not standard base64", field) from None


_READERS: dict[str, Callable[[Any, str], Any]] = {
    "to": _listed(_address),
    "subject": _text,
    "body_html": _text,
    "body_text": _text,
    "cc": _listed(_address),
    "bcc": _listed(_address),
    "attachments": _listed(_attachment),
    "inline_images": _listed(_image),
    "reply_to": _listed(_address),
    "sender": _text,
    "from_address": _address,
    "importance": _text,
    "categories": _listed(_text),
    "headers": _texts,
    "read_receipt": _boolean,
    "delivery_receipt": _boolean,
    "save_to_sent_items": _boolean,
    "send_at": _text,
    "user_id": _text,
    "idempotency_key": _text,
    "resend_unknown": _boolean,
}
