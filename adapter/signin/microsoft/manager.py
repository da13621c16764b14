"""The token manager for Microsoft Graph."""

from collections.abc import Mapping
from typing import cast

from adapter.signin.microsoft.entra import Entra
from adapter.signin.microsoft.errors import MICROSOFT
from adapter.signin.microsoft.settings import MicrosoftSettings
from adapter.signin.tokens import SignInServer, TokenManager


class MicrosoftTokenManager(TokenManager):
    """Access tokens for Microsoft Graph, by user. All errors are SignInError, with a code and what to do."""

    identity = MICROSOFT

    @classmethod
    def settings_from(cls, environment: Mapping[str, str] | None) -> MicrosoftSettings:
        """Read the settings; raises SettingsError."""
        return MicrosoftSettings.from_environment(environment)

    def _new_server(self) -> SignInServer:
        return Entra(cast("MicrosoftSettings", self.settings))


def token_source() -> MicrosoftTokenManager:
    """Return where the environment says that tokens for Graph come from; raises SignInError."""
    return MicrosoftTokenManager.from_env()
