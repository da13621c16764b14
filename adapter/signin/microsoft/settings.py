"""The settings of signing in with Microsoft, each bad value refused by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from adapter.settings import SettingsError
from adapter.signin.microsoft.certificate import ClientCertificate, read_certificate
from adapter.signin.settings import SignInSettings, common, needed
from controller.shared.environment import Environment
from controller.shared.value_readers import Reader, https_url, text

_COMMON = {"common", "organizations", "consumers"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MicrosoftSettings(SignInSettings):
    """What signing in with Microsoft needs to know."""

    tenant_id: str
    """MS_TENANT_ID: one tenant, as a GUID or a domain."""
    certificate: ClientCertificate | None = None
    """MS_CLIENT_CERTIFICATE_FILE: PEM of a certificate and its private key, instead of the secret."""
    authority: str = ""
    """MS_AUTHORITY; Microsoft's own for the tenant unless given."""
    scopes: tuple[str, ...] = ("Mail.Send", "email")
    """MSAL adds openid, profile and offline_access, and refuses to be given them."""

    def __post_init__(self) -> None:
        SignInSettings.__post_init__(self)
        if not self.client_secret and not self.certificate:
            raise SettingsError("MS_CLIENT_SECRET is not set, and neither is MS_CLIENT_CERTIFICATE_FILE")
        if self.client_secret and self.certificate:
            raise SettingsError("MS_CLIENT_SECRET and MS_CLIENT_CERTIFICATE_FILE are both set: keep one")
        if self.tenant_id.lower() in _COMMON:
            raise SettingsError(f"MS_TENANT_ID={self.tenant_id}: name the one tenant, by GUID or by domain")

    @property
    def authority_url(self) -> str:
        """The authority with its tenant, as MSAL wants it."""
        base = (self.authority or "https://login.microsoftonline.com").rstrip("/")
        return base if urlsplit(base).path else f"{base}/{self.tenant_id}"

    @property
    def sign_in_url(self) -> str:
        """Return an address of the server whose pages a person sees."""
        return self.authority_url

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "MicrosoftSettings":
        """Read the settings; raises SettingsError with the name of the first that is missing or bad."""
        env = Environment(environment)
        env.refuse_misspelt()
        return cls(
            client_id=needed(env, "MS_CLIENT_ID"),
            client_secret=env.read("MS_CLIENT_SECRET", text(), ""),
            certificate=env.read("MS_CLIENT_CERTIFICATE", _CERTIFICATE, None),
            tenant_id=needed(env, "MS_TENANT_ID"),
            authority=env.read("MS_AUTHORITY", https_url, ""),
            **common(env, "microsoft"),
        )


_CERTIFICATE: Reader[ClientCertificate | None] = Reader(read_certificate)
