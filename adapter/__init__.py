"""Sends mail through the providers that are being rolled out: `outlook_send` and what it takes and gives.

Each name is imported when it is first asked for: whoever only asks the gate does not load the HTTP client,
and whoever brings tokens does not load msal.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adapter.errors import ActionDeniedError as ActionDeniedError
    from adapter.errors import ActionDisabledError as ActionDisabledError
    from adapter.errors import ActionGatedError as ActionGatedError
    from adapter.errors import AuthError as AuthError
    from adapter.errors import MessageRefusedError as MessageRefusedError
    from adapter.errors import SendError as SendError
    from adapter.errors import SendUnknownError as SendUnknownError
    from adapter.errors import Source as Source
    from adapter.errors import StructuredError as StructuredError
    from adapter.flags import RolloutGate as RolloutGate
    from adapter.gate import GateAnswer as GateAnswer
    from adapter.gate import GateReason as GateReason
    from adapter.message import Attachment as Attachment
    from adapter.message import EmailAddress as EmailAddress
    from adapter.message import InlineImage as InlineImage
    from adapter.message import SendResult as SendResult
    from adapter.runtime import Runtime as Runtime
    from adapter.sends import outlook_send as outlook_send
    from adapter.signin.tokens import MicrosoftTokenManager as MicrosoftTokenManager

_HOMES = {
    "adapter.errors": (
        "ActionDeniedError",
        "ActionDisabledError",
        "ActionGatedError",
        "AuthError",
        "MessageRefusedError",
        "SendError",
        "SendUnknownError",
        "Source",
        "StructuredError",
    ),
    "adapter.flags": ("RolloutGate",),
    "adapter.gate": ("GateAnswer", "GateReason"),
    "adapter.message": ("Attachment", "EmailAddress", "InlineImage", "SendResult"),
    "adapter.runtime": ("Runtime",),
    "adapter.sends": ("outlook_send",),
    "adapter.signin.tokens": ("MicrosoftTokenManager",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
