"""The token manager for Microsoft Graph."""

from collections.abc import Mapping
from contextlib import closing, suppress
from typing import cast

from adapter.settings import SettingsError
from adapter.signin.errors import SignInError
from adapter.signin.mailbox_tokens import MailboxTokens
from adapter.signin.microsoft.app_only import AppOnly
from adapter.signin.microsoft.authority import Authority
from adapter.signin.microsoft.entra import Entra
from adapter.signin.microsoft.errors import MICROSOFT
from adapter.signin.microsoft.settings import APP, MicrosoftSettings
from adapter.signin.organisation import Organisation
from adapter.signin.tokens import SignInServer, TokenManager


class MicrosoftTokenManager(TokenManager):
    """Access tokens for Microsoft Graph, by user. All errors are SignInError, with a code and what to do."""

    identity = MICROSOFT

    @classmethod
    def settings_from(cls, environment: Mapping[str, str] | None) -> MicrosoftSettings:
        """Read the settings; raises SettingsError, also where nobody is to sign in."""
        settings = MicrosoftSettings.from_environment(environment)
        if settings.mode == APP:
            raise SettingsError(
                "MS_AUTH_MODE=app: nobody signs in, and mail is sent from the mailboxes of MS_APP_MAILBOXES"
            )
        return settings

    def _new_server(self) -> SignInServer:
        return Entra(cast("MicrosoftSettings", self.settings))

    async def organisation(self, domain: str) -> Organisation | None:
        """Return whose tenant a mail domain is; None where the server does not say. Raises nothing."""

        def look() -> Organisation | None:
            with (
                suppress(SignInError),
                closing(Authority(cast("MicrosoftSettings", self.settings))) as server,
            ):
                return server.organisation(domain)
            return None

        return await self.in_thread(look)


def token_source() -> MicrosoftTokenManager | MailboxTokens:
    """Return where the environment says that tokens for Graph come from; raises SignInError."""
    try:
        settings = MicrosoftSettings.from_environment()
    except SettingsError as error:
        raise MICROSOFT.client_config(str(error), act=f"Part 5 of {MICROSOFT.guide} says how.") from None
    if settings.mode == APP:
        return MailboxTokens(AppOnly(settings))
    return MicrosoftTokenManager(settings)
