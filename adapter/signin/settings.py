"""The settings of signing in: read once from the environment, each bad value refused by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from adapter.settings import SettingsError
from adapter.signin.certificate import ClientCertificate, read_certificate
from controller.shared.environment import DEFAULT_REDIS_URL, Environment
from controller.shared.value_readers import (
    Reader,
    exact_url,
    existing_file,
    https_url,
    redis_url,
    split,
    text,
)

ACCESS_MARGIN_S = 300
"""The access token is forgotten this long before it expires, so that no send starts with a dying one."""
REFRESH_TTL_S = 90 * 86_400
"""Entra drops a refresh token that was not used for 90 days."""
LINK_TTL_S = 600
"""A sign-in link, and the state of a sign-in under way, live ten minutes."""

CLAIMS_TTL_S = 30 * 86_400
"""How long the challenge is kept that a person's next sign-in has to satisfy."""

MAX_POLL_S = 0.05

DEFAULT_REDIRECT_URI = "http://localhost:8003/oauth/microsoft/callback"
_COMMON = {"common", "organizations", "consumers"}


@dataclass(frozen=True, slots=True)
class SignInSettings:
    """What signing in needs to know. Lengths of time are seconds."""

    client_id: str
    """MS_CLIENT_ID"""
    client_secret: str = field(repr=False)
    """MS_CLIENT_SECRET, also from a file; without one, a certificate."""
    tenant_id: str
    """MS_TENANT_ID: one tenant, as a GUID or a domain."""
    token_keys: tuple[str, ...] = field(repr=False)
    """ROLLOUT_TOKEN_KEYS, also from a file: Fernet keys; the first encrypts, all decrypt."""
    certificate: ClientCertificate | None = None
    """MS_CLIENT_CERTIFICATE_FILE: PEM of a certificate and its private key, instead of the secret."""
    redirect_uri: str = DEFAULT_REDIRECT_URI
    """MS_REDIRECT_URI, exactly as registered."""
    authority: str = ""
    """MS_AUTHORITY; Microsoft's own for the tenant unless given."""
    ca_file: str = ""
    """MS_CA_FILE: trusted for Graph and the sign-in server instead of the usual certificates."""
    redis_url: str = DEFAULT_REDIS_URL
    """ROLLOUT_REDIS_URL, also from a file; else as `[controller]` of ROLLOUT_CONFIG says."""
    scopes: tuple[str, ...] = ("Mail.Send", "email")
    """MSAL adds openid, profile and offline_access, and refuses to be given them."""
    lock_ttl_s: float = 10.0
    http_timeout_s: float = 4.0
    """For one request to the sign-in server. The lock lives more than twice as long, for discovery and a
    refresh; should it end early all the same, two refreshes meet, and both tokens are good."""
    wait_s: float = 20.0
    """How long a caller waits for a token that another process fetches: longer than a dead one's lock."""
    poll_s: float = 0.005
    """How soon a waiting process looks again at first; see `poll_after_s`."""

    def __post_init__(self) -> None:
        if self.lock_ttl_s <= 2 * self.http_timeout_s:
            raise SettingsError("the refresh lock must live more than twice the HTTP time-out")
        if not self.token_keys:
            raise SettingsError("ROLLOUT_TOKEN_KEYS is not set: give it 32 random bytes in base64url")
        if not self.client_secret and not self.certificate:
            raise SettingsError("MS_CLIENT_SECRET is not set, and neither is MS_CLIENT_CERTIFICATE_FILE")
        if self.client_secret and self.certificate:
            raise SettingsError("MS_CLIENT_SECRET and MS_CLIENT_CERTIFICATE_FILE are both set: keep one")
        if self.tenant_id.lower() in _COMMON:
            raise SettingsError(f"MS_TENANT_ID={self.tenant_id}: name the one tenant, by GUID or by domain")

    def poll_after_s(self, waited_s: float) -> float:
        """Return the pause before the next look: an eighth of the wait so far."""
        return min(max(self.poll_s, waited_s / 8), MAX_POLL_S)

    @property
    def authority_url(self) -> str:
        """The authority with its tenant, as MSAL wants it."""
        base = (self.authority or "https://login.microsoftonline.com").rstrip("/")
        return base if urlsplit(base).path else f"{base}/{self.tenant_id}"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "SignInSettings":
        """Read the settings; raises SettingsError with the name of the first that is missing or bad."""
        env = Environment(environment)
        env.refuse_misspelt()
        return cls(
            client_id=_needed(env, "MS_CLIENT_ID"),
            client_secret=env.read("MS_CLIENT_SECRET", text(), ""),
            certificate=env.read("MS_CLIENT_CERTIFICATE", _CERTIFICATE, None),
            tenant_id=_needed(env, "MS_TENANT_ID"),
            token_keys=token_keys(env),
            redirect_uri=env.read("MS_REDIRECT_URI", exact_url, DEFAULT_REDIRECT_URI),
            authority=env.read("MS_AUTHORITY", https_url, ""),
            redis_url=env.setting("redis_url", redis_url, DEFAULT_REDIS_URL),
            ca_file=env.read("MS_CA_FILE", existing_file, ""),
        )


_CERTIFICATE: Reader[ClientCertificate | None] = Reader(read_certificate)


def token_keys(env: Environment) -> tuple[str, ...]:
    """Return the Fernet keys of ROLLOUT_TOKEN_KEYS; none where it is not set."""
    return tuple(split(env.secret("ROLLOUT_TOKEN_KEYS")))


def _needed(env: Environment, name: str) -> str:
    value = env.read(name, text(), "")
    if not value:
        raise SettingsError(f"{name} is not set")
    return value
