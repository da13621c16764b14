"""The token managers for Gmail: of people who signed in, and of a domain that delegated."""

from collections.abc import Mapping
from typing import cast

from adapter.settings import SettingsError
from adapter.signin.google.accounts import Delegation, GoogleAccounts
from adapter.signin.google.errors import GOOGLE
from adapter.signin.google.settings import DelegationSettings, GoogleSettings
from adapter.signin.mailbox_tokens import MailboxTokens
from adapter.signin.tokens import SignInServer, TokenManager


class GoogleTokenManager(TokenManager):
    """Access tokens for Gmail, by user. All errors are SignInError, with a code and what to do."""

    identity = GOOGLE

    @classmethod
    def settings_from(cls, environment: Mapping[str, str] | None) -> GoogleSettings:
        """Read the settings; raises SettingsError."""
        return GoogleSettings.from_environment(environment)

    def _new_server(self) -> SignInServer:
        return GoogleAccounts(cast("GoogleSettings", self.settings))


def token_source() -> "GoogleTokenManager | MailboxTokens":
    """Return where the environment says that tokens for Gmail come from; raises SignInError."""
    try:
        delegation = DelegationSettings.from_environment()
    except SettingsError as error:
        raise GOOGLE.client_config(str(error), act=f"Part 6 of {GOOGLE.guide} says how.") from None
    return MailboxTokens(Delegation(delegation)) if delegation else GoogleTokenManager.from_env()
