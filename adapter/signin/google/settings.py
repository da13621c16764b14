"""The settings of signing in with Google, each bad value refused by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from adapter.settings import SettingsError
from adapter.signin.google.service_account import ServiceAccount, read_service_account
from adapter.signin.settings import SignInSettings, common, needed
from controller.shared.environment import Environment
from controller.shared.value_readers import Reader, ca_file, https_url, text

AUTH_URL = "https://accounts.google.com/o/oauth2/v2/auth"
TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 (an address)
REVOKE_URL = "https://oauth2.googleapis.com/revoke"
SEND = "https://www.googleapis.com/auth/gmail.send"


@dataclass(frozen=True, slots=True, kw_only=True)
class GoogleSettings(SignInSettings):
    """What signing in with Google needs to know."""

    hosted_domain: str = ""
    """GOOGLE_HOSTED_DOMAIN: the one Workspace domain whose people may sign in; anybody without it."""
    auth_url: str = AUTH_URL
    """GOOGLE_AUTH_URL: the page where people sign in."""
    token_url: str = TOKEN_URL
    """GOOGLE_TOKEN_URL"""
    revoke_url: str = REVOKE_URL
    """GOOGLE_REVOKE_URL"""
    scopes: tuple[str, ...] = (SEND, "openid", "email")

    def __post_init__(self) -> None:
        SignInSettings.__post_init__(self)
        if not self.client_secret:
            raise SettingsError("GOOGLE_CLIENT_SECRET is not set")

    @property
    def sign_in_url(self) -> str:
        """Return an address of the server whose pages a person sees."""
        return self.auth_url

    @property
    def issuers(self) -> frozenset[str]:
        """Return how an id_token may name who issued it: as Google does, or as a server of one's own."""
        page = urlsplit(self.auth_url)
        return frozenset(
            {"https://accounts.google.com", "accounts.google.com", f"{page.scheme}://{page.netloc}"}
        )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "GoogleSettings":
        """Read the settings; raises SettingsError with the name of the first that is missing or bad."""
        env = Environment(environment)
        env.refuse_misspelt()
        return cls(
            client_id=needed(env, "GOOGLE_CLIENT_ID"),
            client_secret=env.read("GOOGLE_CLIENT_SECRET", text(), ""),
            hosted_domain=env.text("GOOGLE_HOSTED_DOMAIN").lower(),
            auth_url=env.read("GOOGLE_AUTH_URL", https_url, AUTH_URL),
            token_url=env.read("GOOGLE_TOKEN_URL", https_url, TOKEN_URL),
            revoke_url=env.read("GOOGLE_REVOKE_URL", https_url, REVOKE_URL),
            **common(env, "google"),
        )


@dataclass(frozen=True, slots=True)
class DelegationSettings:
    """What a service account needs to know that sends for a whole Workspace domain."""

    account: ServiceAccount
    """GOOGLE_SERVICE_ACCOUNT_FILE: the JSON key of a service account with domain-wide delegation."""
    token_url: str
    """GOOGLE_TOKEN_URL, else that of the key."""
    ca_file: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "DelegationSettings | None":
        """Read the settings; None without a service account. Raises SettingsError."""
        env = Environment(environment)
        account = env.read("GOOGLE_SERVICE_ACCOUNT", _ACCOUNT, None)
        if account is None:
            return None
        trusted = env.read("GOOGLE_CA_FILE", ca_file, "")
        return cls(account, env.read("GOOGLE_TOKEN_URL", https_url, TOKEN_URL), trusted)


_ACCOUNT: Reader[ServiceAccount | None] = Reader(read_service_account)
