"""The settings of signing in: read once from the environment, each bad value refused by name."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from adapter.settings import PREFIXES, SettingsError
from controller.shared.environment import DEFAULT_REDIS_URL, Environment
from controller.shared.value_readers import ca_file, exact_url, redis_url, split, text

ACCESS_MARGIN_S = 300
"""The access token is forgotten this long before it expires, so that no send starts with a dying one."""
LINK_TTL_S = 600
"""A sign-in link, and the state of a sign-in under way, live ten minutes."""

CLAIMS_TTL_S = 30 * 86_400
"""How long the challenge is kept that a person's next sign-in has to satisfy."""

MAX_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInSettings(ABC):
    """What signing in needs to know, whoever is signed in with. Lengths of time are seconds."""

    client_id: str
    """MS_CLIENT_ID, GOOGLE_CLIENT_ID"""
    client_secret: str = field(repr=False)
    """MS_CLIENT_SECRET, GOOGLE_CLIENT_SECRET, also from a file; with Microsoft also a certificate instead."""
    token_keys: tuple[str, ...] = field(repr=False)
    """ROLLOUT_TOKEN_KEYS, also from a file: Fernet keys; the first encrypts, all decrypt."""
    redirect_uri: str
    """MS_REDIRECT_URI, GOOGLE_REDIRECT_URI, exactly as registered."""
    ca_file: str = ""
    """MS_CA_FILE, GOOGLE_CA_FILE: trusted for the provider and its sign-in, not the usual certificates."""
    redis_url: str = DEFAULT_REDIS_URL
    """ROLLOUT_REDIS_URL, also from a file; else as `[controller]` of ROLLOUT_CONFIG says."""
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

    def poll_after_s(self, waited_s: float) -> float:
        """Return the pause before the next look: an eighth of the wait so far."""
        return min(max(self.poll_s, waited_s / 8), MAX_POLL_S)

    @property
    def sealed_as(self) -> str:
        """Return what stands before the kinds of sealed values, so that none goes to another cloud."""
        return ""

    @property
    @abstractmethod
    def sign_in_url(self) -> str:
        """Return an address of the server whose pages a person sees."""


def common(env: Environment, provider: str) -> dict[str, Any]:
    """Read what every provider's settings have; raises SettingsError."""
    prefix = PREFIXES[provider]
    default = f"http://localhost:8003/oauth/{provider}/callback"
    return {
        "token_keys": token_keys(env),
        "redirect_uri": env.read(f"{prefix}_REDIRECT_URI", exact_url, default),
        "redis_url": env.setting("redis_url", redis_url, DEFAULT_REDIS_URL),
        "ca_file": env.read(f"{prefix}_CA_FILE", ca_file, ""),
    }


def token_keys(env: Environment) -> tuple[str, ...]:
    """Return the Fernet keys of ROLLOUT_TOKEN_KEYS; none where it is not set."""
    return tuple(split(env.secret("ROLLOUT_TOKEN_KEYS")))


def needed(env: Environment, name: str) -> str:
    """Return a variable; raises SettingsError where it is missing."""
    value = env.read(name, text(), "")
    if not value:
        raise SettingsError(f"{name} is not set")
    return value
