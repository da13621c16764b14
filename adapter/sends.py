"""The actions on offer: each joins a provider to the path that every send takes."""

from adapter.actions import ACTIONS, action
from adapter.providers.outlook import Outlook

__all__ = ["ACTIONS", "outlook_send"]

outlook_send = action("outlook.send", Outlook()).send
