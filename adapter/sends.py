"""The actions on offer: each joins a provider to the path that every send takes."""

from adapter.actions import action
from adapter.providers.outlook import Outlook

outlook_send = action("outlook.send", Outlook())
