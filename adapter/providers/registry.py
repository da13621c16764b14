"""The actions on offer, each with the provider that it sends through: a new provider is one line here."""

from adapter.providers.gmail import Gmail
from adapter.providers.outlook import Outlook
from adapter.providers.provider import Provider

PROVIDERS: dict[str, Provider] = {"outlook.send": Outlook(), "gmail.send": Gmail()}
"""By the action's name."""
