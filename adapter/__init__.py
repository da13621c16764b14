"""Sends mail through the providers that are being rolled out: `outlook_send` and what it takes and gives."""

import importlib
from typing import Any

from adapter.actions import action
from adapter.errors import (
    ActionDeniedError,
    ActionDisabledError,
    ActionGatedError,
    AuthError,
    MessageRefusedError,
    SendError,
    SendUnknownError,
    Source,
    StructuredError,
)
from adapter.flags import RolloutGate
from adapter.message import Attachment, EmailAddress, InlineImage, SendResult
from adapter.providers.outlook import Outlook
from adapter.runtime import Runtime

outlook_send = action("outlook.send", Outlook())

__all__ = [
    "ActionDeniedError",
    "ActionDisabledError",
    "ActionGatedError",
    "Attachment",
    "AuthError",
    "EmailAddress",
    "InlineImage",
    "MessageRefusedError",
    "MicrosoftTokenManager",
    "RolloutGate",
    "Runtime",
    "SendError",
    "SendResult",
    "SendUnknownError",
    "Source",
    "StructuredError",
    "outlook_send",
]


def __getattr__(name: str) -> Any:
    """Import the token manager only when it is asked for: it brings msal, which is large."""
    if name == "MicrosoftTokenManager":
        return importlib.import_module("adapter.signin.tokens").MicrosoftTokenManager
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
