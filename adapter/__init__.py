"""rollout-controller's senders: `outlook_send` and `gmail_send`, what they take and give, and the gate.

Each name is imported when it is first asked for: whoever only asks the gate does not load the HTTP client,
and whoever brings tokens does not load msal.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adapter.errors import (
        ActionDeniedError,
        ActionDisabledError,
        ActionGatedError,
        AuthError,
        MessageRefusedError,
        NotLinkedError,
        SendError,
        SendUnknownError,
        Source,
        StructuredError,
    )
    from adapter.gate.rollout_gate import RolloutGate
    from adapter.gate.rule import GateAnswer, GateReason
    from adapter.message import Attachment, EmailAddress, InlineImage, SendResult
    from adapter.sending.access_tokens import StaticTokens, TokenSource
    from adapter.sending.actions import gmail_send, outlook_send
    from adapter.sending.blocking import run
    from adapter.sending.files import attach_file
    from adapter.sending.metrics_server import serve_metrics
    from adapter.sending.runtime import Runtime
    from adapter.settings import Settings, SettingsError
    from adapter.signin.google.manager import GoogleTokenManager
    from adapter.signin.microsoft.manager import MicrosoftTokenManager

__all__ = [
    "ActionDeniedError",
    "ActionDisabledError",
    "ActionGatedError",
    "Attachment",
    "AuthError",
    "EmailAddress",
    "GateAnswer",
    "GateReason",
    "GoogleTokenManager",
    "InlineImage",
    "MessageRefusedError",
    "MicrosoftTokenManager",
    "NotLinkedError",
    "RolloutGate",
    "Runtime",
    "SendError",
    "SendResult",
    "SendUnknownError",
    "Settings",
    "SettingsError",
    "Source",
    "StaticTokens",
    "StructuredError",
    "TokenSource",
    "attach_file",
    "gmail_send",
    "outlook_send",
    "run",
    "serve_metrics",
]

_HOME = {
    "ActionDeniedError": "adapter.errors",
    "ActionDisabledError": "adapter.errors",
    "ActionGatedError": "adapter.errors",
    "Attachment": "adapter.message",
    "AuthError": "adapter.errors",
    "EmailAddress": "adapter.message",
    "GoogleTokenManager": "adapter.signin.google.manager",
    "GateAnswer": "adapter.gate.rule",
    "GateReason": "adapter.gate.rule",
    "InlineImage": "adapter.message",
    "MessageRefusedError": "adapter.errors",
    "MicrosoftTokenManager": "adapter.signin.microsoft.manager",
    "NotLinkedError": "adapter.errors",
    "RolloutGate": "adapter.gate.rollout_gate",
    "Runtime": "adapter.sending.runtime",
    "SendError": "adapter.errors",
    "SendResult": "adapter.message",
    "SendUnknownError": "adapter.errors",
    "Settings": "adapter.settings",
    "SettingsError": "adapter.settings",
    "Source": "adapter.errors",
    "StaticTokens": "adapter.sending.access_tokens",
    "StructuredError": "adapter.errors",
    "TokenSource": "adapter.sending.access_tokens",
    "attach_file": "adapter.sending.files",
    "gmail_send": "adapter.sending.actions",
    "outlook_send": "adapter.sending.actions",
    "run": "adapter.sending.blocking",
    "serve_metrics": "adapter.sending.metrics_server",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
