"""The adapter's settings: read once from the environment, each bad value refused with its name and reason."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from adapter.checks.app_mailboxes import AppMailboxes
from adapter.message import Limits
from controller.shared.api_tokens import Tokens
from controller.shared.config_file import ConfigError
from controller.shared.environment import DEFAULT_REDIS_URL, Environment
from controller.shared.microsoft_cloud import GLOBAL, cloud_reader
from controller.shared.value_readers import (
    Reader,
    ca_file,
    checked_text,
    count,
    flag,
    http_url,
    number,
    one_of,
    redis_url,
    split,
)

PREFIXES = {"microsoft": "MS", "google": "GOOGLE"}
"""What the variables of a provider that is signed in to begin with."""
LARGE_ATTACHMENTS = "MS_LARGE_ATTACHMENTS"
"""Signing in asks for the right to write drafts by it too."""

SettingsError = ConfigError
"""A setting cannot be used; the text names it and says what to write."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the adapter needs to know of its surroundings. Each comment names the environment variable."""

    redis_url: str = DEFAULT_REDIS_URL
    """ROLLOUT_REDIS_URL, also from a file; else as `[controller]` of ROLLOUT_CONFIG says."""
    config_file: str = ""
    """ROLLOUT_CONFIG: the features; without it the built-in ones."""
    base_urls: Mapping[str, str] = field(default_factory=dict)
    """By provider: MS_GRAPH_URL (the version included), GOOGLE_API_URL, for others PROVIDER_<NAME>_URL."""
    ca_files: Mapping[str, str] = field(default_factory=dict)
    """By provider: MS_CA_FILE, GOOGLE_CA_FILE: trusted for the provider and its sign-in server instead of the
    usual certificates."""
    app_mailboxes: AppMailboxes | None = None
    """MS_APP_MAILBOXES: with MS_AUTH_MODE=app, who sends from which mailboxes."""
    providers_enabled: frozenset[str] = frozenset()
    """PROVIDER_<NAME>_ENABLED=true, for each; off unless said."""
    internal_domains: tuple[str, ...] = ()
    """INTERNAL_DOMAINS: comma-separated; exact names, sub-domains only as `*.example.com`."""
    send_deadline_s: float = 30.0
    """ROLLOUT_SEND_DEADLINE_S: for a whole send, its waits and retries included."""
    connect_timeout_s: float = 5.0
    """ROLLOUT_CONNECT_TIMEOUT_S: for one connection."""
    max_posts: int = 5
    """ROLLOUT_MAX_POSTS: requests of one send, where retries are safe."""
    throttled_is_unknown: bool = False
    """ROLLOUT_THROTTLED_IS_UNKNOWN: never send again after a 429, as if the mail might have been sent."""
    sends_per_mailbox: int = 4
    """ROLLOUT_SENDS_PER_MAILBOX: at once; Graph takes four."""
    idempotency_ttl_s: int = 86_400
    """ROLLOUT_IDEMPOTENCY_TTL_S: how long a key is remembered."""
    allow_local_domains: bool = False
    """ROLLOUT_ALLOW_LOCAL_DOMAINS: take addresses at dotless, .local and .test domains too."""
    integration_tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By provider: MS_INTEGRATION_TOKEN, GOOGLE_INTEGRATION_TOKEN, taken only while
    INTEGRATION_TESTS_ENABLED=true."""
    api_token: str = field(default="", repr=False)
    """ROLLOUT_API_TOKEN, else `[controller]` of ROLLOUT_CONFIG: tokens for the routes that send and sign in;
    closed without one."""
    limits: Limits = field(default_factory=Limits)
    """ROLLOUT_MAX_RECIPIENTS, ROLLOUT_MAX_ATTACHMENTS, ROLLOUT_MAX_BODY_BYTES; MS_LARGE_ATTACHMENTS=true: a
    mail over the cap goes by a draft, which needs the right Mail.ReadWrite."""

    def mailboxes_of(self, provider: str) -> AppMailboxes | None:
        """Return who may send from where without having signed in; None where people sign in."""
        return self.app_mailboxes if provider == "microsoft" else None

    def token_user(self, provider: str, user_id: str, mailbox: str | None) -> str:
        """Return for whom a token is asked: the mailbox that sends, where an app signs in for itself."""
        return mailbox if mailbox and self.mailboxes_of(provider) else user_id

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings; raises SettingsError."""
        env, default, limits = Environment(environment), cls(), Limits()
        env.refuse_misspelt()
        integration = env.read("INTEGRATION_TESTS_ENABLED", flag, default=False)
        return cls(
            redis_url=env.setting("redis_url", redis_url, default.redis_url),
            config_file=env.text("ROLLOUT_CONFIG"),
            base_urls=_base_urls(env),
            ca_files=_by_provider(lambda prefix: env.read(f"{prefix}_CA_FILE", ca_file, "")),
            app_mailboxes=app_mailboxes(env),
            providers_enabled=_providers(env),
            internal_domains=tuple(split(env.text("INTERNAL_DOMAINS"))),
            send_deadline_s=env.read(
                "ROLLOUT_SEND_DEADLINE_S", number(0.1, 600, "s"), default.send_deadline_s
            ),
            connect_timeout_s=env.read(
                "ROLLOUT_CONNECT_TIMEOUT_S", number(0.05, 60, "s"), default.connect_timeout_s
            ),
            max_posts=env.read("ROLLOUT_MAX_POSTS", count(1, 20), default.max_posts),
            throttled_is_unknown=env.read("ROLLOUT_THROTTLED_IS_UNKNOWN", flag, default=False),
            sends_per_mailbox=env.read("ROLLOUT_SENDS_PER_MAILBOX", count(1, 100), default.sends_per_mailbox),
            idempotency_ttl_s=env.read(
                "ROLLOUT_IDEMPOTENCY_TTL_S", count(60, 31_536_000), default.idempotency_ttl_s
            ),
            allow_local_domains=env.read("ROLLOUT_ALLOW_LOCAL_DOMAINS", flag, default=False),
            integration_tokens=_by_provider(lambda prefix: env.secret(f"{prefix}_INTEGRATION_TOKEN"))
            if integration
            else {},
            api_token=env.setting("api_token", checked_text(Tokens.parse), ""),
            limits=Limits(
                max_recipients=env.read("ROLLOUT_MAX_RECIPIENTS", count(1, 1000), limits.max_recipients),
                max_attachments=env.read("ROLLOUT_MAX_ATTACHMENTS", count(0, 250), limits.max_attachments),
                max_body_bytes=env.read(
                    "ROLLOUT_MAX_BODY_BYTES", count(1024, 200_000_000), limits.max_body_bytes
                ),
                large_attachments=env.read(LARGE_ATTACHMENTS, flag, default=False),
            ),
        )


def _providers(env: Environment) -> frozenset[str]:
    names = [name for name in env.values if name.startswith("PROVIDER_") and name.endswith("_ENABLED")]
    return frozenset(name[9:-8].lower() for name in names if env.read(name, flag, default=False))


def _by_provider(read: Callable[[str], str]) -> dict[str, str]:
    """Return what is read by each prefix, where it is set."""
    found = {provider: read(prefix) for provider, prefix in PREFIXES.items()}
    return {provider: text for provider, text in found.items() if text}


def _base_urls(env: Environment) -> dict[str, str]:
    names = {
        name: name[9:-4].lower()
        for name in env.values
        if name.startswith("PROVIDER_") and name.endswith("_URL")
    }
    names |= {"MS_GRAPH_URL": "microsoft", "GOOGLE_API_URL": "google"}
    cloud = env.read("MS_CLOUD", cloud_reader, GLOBAL)
    readers = {"microsoft": cloud.graph_url}
    urls = {} if cloud is GLOBAL else {"microsoft": f"{cloud.graph}/v1.0"}
    for name, provider in names.items():
        url = env.read(name, readers.get(provider, http_url), "")
        urls |= {provider: url} if url else {}
    return urls


def app_mailboxes(env: Environment) -> AppMailboxes | None:
    """Return who may be sent for without signing in; None where people sign in. Raises SettingsError."""
    app_only = env.read("MS_AUTH_MODE", one_of("delegated", "app"), "delegated") == "app"
    listed = env.read("MS_APP_MAILBOXES", _MAILBOXES, None)
    if app_only == (listed is None):
        raise SettingsError(
            "MS_AUTH_MODE=app needs MS_APP_MAILBOXES: the mailboxes that may be sent from"
            if app_only
            else "MS_APP_MAILBOXES is only for MS_AUTH_MODE=app"
        )
    return listed


_MAILBOXES: Reader[AppMailboxes | None] = Reader(AppMailboxes.parse)
