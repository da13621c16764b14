"""What is refused before anything is sent. Pure."""

from adapter.errors import MessageRefusedError
from adapter.message import OutgoingMessage
from adapter.providers.provider import Limits


def check(message: OutgoingMessage, limits: Limits) -> OutgoingMessage:
    """Give the message as it may be sent; raises MessageRefusedError."""
    if not message.recipients:
        raise MessageRefusedError("INVALID_RECIPIENT", "there is no recipient", field="to")
    if len(message.recipients) > limits.max_recipients:
        raise MessageRefusedError(
            "TOO_MANY_RECIPIENTS",
            f"{len(message.recipients)} recipients; at most {limits.max_recipients} are allowed",
            field="to",
        )
    if not message.body_html and not message.body_text:
        raise MessageRefusedError(
            "EMPTY_MESSAGE", "neither body_html nor body_text is given", field="body_html"
        )
    return message
