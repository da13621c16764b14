"""What each of Graph's two forms carries besides text and files; what neither does is refused. Pure."""

from typing import Any
from urllib.parse import quote

from adapter.errors import MessageRefusedError
from adapter.message import OutgoingMessage

MAX_JSON_HEADERS = 5
"""Of `internetMessageHeaders`, whose names must begin with X-; others need the MIME form."""


def mailbox_path(sender: str | None) -> str:
    """Return the path of the mailbox that sends."""
    return f"/users/{quote(sender, safe='@')}" if sender else "/me"


def send_path(message: OutgoingMessage) -> str:
    """Return the path of sendMail for the mailbox that sends."""
    return f"{mailbox_path(message.sender)}/sendMail"


def needs_mime(message: OutgoingMessage) -> str:
    """Return the field that only the MIME form carries; empty where there is none."""
    in_json = len(message.headers) <= MAX_JSON_HEADERS and all(
        name.lower().startswith("x-") for name, _ in message.headers
    )
    return "" if in_json else "headers"


def needs_json(message: OutgoingMessage) -> str:
    """Return the field that only JSON carries: a mail in the MIME form is always kept, and a receipt in it
    needs an address to go to.
    """
    if not message.save_to_sent_items:
        return "save_to_sent_items"
    receipt = (
        "read_receipt" if message.read_receipt else "delivery_receipt" if message.delivery_receipt else ""
    )
    return receipt if receipt and message.receipt_address is None else ""


def check_forms(message: OutgoingMessage) -> None:
    """Raise MessageRefusedError where no form carries all that is asked for."""
    only_mime, only_json = needs_mime(message), needs_json(message)
    if only_mime and only_json:
        raise MessageRefusedError(
            "INVALID_HEADER",
            f"other headers than {MAX_JSON_HEADERS} of X- need Graph's MIME form, and {only_json} "
            "needs its JSON form; leave one of them out, or give from_address for a receipt",
            only_mime,
        )


def graph_options(message: OutgoingMessage) -> dict[str, Any]:
    """Return the fields of Graph's message for the options; only those that are asked for."""
    asked: dict[str, Any] = {
        "importance": "" if message.importance == "normal" else message.importance,
        "categories": list(message.categories),
        "internetMessageHeaders": [{"name": name, "value": value} for name, value in message.headers],
        "isReadReceiptRequested": message.read_receipt,
        "isDeliveryReceiptRequested": message.delivery_receipt,
    }
    if message.from_address:
        name = {"name": message.from_address.name} if message.from_address.name else {}
        asked["from"] = {"emailAddress": {"address": message.from_address.address, **name}}
    return {name: value for name, value in asked.items() if value}
