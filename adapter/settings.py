"""The adapter's settings: read once from the environment, each bad value refused with its name and reason."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from adapter.message import Limits
from controller.features import ConfigError, read_toml
from controller.shared.api_tokens import Tokens
from controller.shared.redis_url import SCHEMES, parse_target

T = TypeVar("T")


class SettingsError(ValueError):
    """A setting cannot be used; the text names it and says why."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the adapter needs to know of its surroundings. Each comment names the environment variable."""

    redis_url: str = "redis://127.0.0.1:6379/0"
    """ROLLOUT_REDIS_URL, also from a file; else as `[controller]` of ROLLOUT_CONFIG says."""
    config_file: str = ""
    """ROLLOUT_CONFIG: the features; without it the built-in ones."""
    base_urls: Mapping[str, str] = field(default_factory=dict)
    """By provider: MS_GRAPH_URL (the version included), for others PROVIDER_<NAME>_URL."""
    ca_file: str = ""
    """MS_CA_FILE: trusted for Graph and the sign-in server instead of the usual certificates."""
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
    sends_per_mailbox: int = 4
    """ROLLOUT_SENDS_PER_MAILBOX: at once; Graph takes four."""
    idempotency_ttl_s: int = 86_400
    """ROLLOUT_IDEMPOTENCY_TTL_S: how long a key is remembered."""
    allow_local_domains: bool = False
    """ROLLOUT_ALLOW_LOCAL_DOMAINS: take addresses at dotless, .local and .test domains too."""
    integration_token: str = field(default="", repr=False)
    """MS_INTEGRATION_TOKEN, taken only while INTEGRATION_TESTS_ENABLED=true."""
    api_token: str = field(default="", repr=False)
    """ROLLOUT_API_TOKEN: tokens for the HTTP routes that send and sign in; closed without one."""
    limits: Limits = field(default_factory=Limits)
    """ROLLOUT_MAX_RECIPIENTS, ROLLOUT_MAX_ATTACHMENTS, ROLLOUT_MAX_BODY_BYTES"""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings; raises SettingsError."""
        env = Environment(os.environ if environment is None else environment)
        return cls(
            redis_url=env.redis_url(),
            config_file=env.text("ROLLOUT_CONFIG"),
            base_urls=env.base_urls(),
            ca_file=env.file("MS_CA_FILE"),
            providers_enabled=env.providers(),
            internal_domains=env.listed("INTERNAL_DOMAINS"),
            send_deadline_s=env.number("ROLLOUT_SEND_DEADLINE_S", _default("send_deadline_s"), 0.1, 600),
            connect_timeout_s=env.number(
                "ROLLOUT_CONNECT_TIMEOUT_S", _default("connect_timeout_s"), 0.05, 60
            ),
            max_posts=env.count("ROLLOUT_MAX_POSTS", _default("max_posts"), 1, 20),
            sends_per_mailbox=env.count("ROLLOUT_SENDS_PER_MAILBOX", _default("sends_per_mailbox"), 1, 100),
            idempotency_ttl_s=env.count(
                "ROLLOUT_IDEMPOTENCY_TTL_S", _default("idempotency_ttl_s"), 60, 31_536_000
            ),
            allow_local_domains=env.flag("ROLLOUT_ALLOW_LOCAL_DOMAINS"),
            integration_token=env.secret("MS_INTEGRATION_TOKEN")
            if env.flag("INTEGRATION_TESTS_ENABLED")
            else "",
            api_token=env.tokens("ROLLOUT_API_TOKEN"),
            limits=Limits(
                max_recipients=env.count("ROLLOUT_MAX_RECIPIENTS", Limits().max_recipients, 1, 1000),
                max_attachments=env.count("ROLLOUT_MAX_ATTACHMENTS", Limits().max_attachments, 0, 250),
                max_body_bytes=env.count(
                    "ROLLOUT_MAX_BODY_BYTES", Limits().max_body_bytes, 1024, 200_000_000
                ),
            ),
        )


def _default(name: str) -> Any:
    return next(f.default for f in fields(Settings) if f.name == name)


class Environment:
    """Reads single values; secrets may also lie in files, as systemd and containers give them."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def text(self, name: str) -> str:
        return self._values.get(name, "").strip()

    def listed(self, name: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.text(name).split(",") if part.strip())

    def flag(self, name: str) -> bool:
        text = self.text(name).lower()
        if text not in {"", "true", "false"}:
            raise SettingsError(f"{name}={text!r}: write true or false")
        return text == "true"

    def number(self, name: str, default: float, low: float, high: float) -> float:
        return self._between(name, default, float, low, high)

    def count(self, name: str, default: int, low: int, high: int) -> int:
        return int(self._between(name, default, int, low, high))

    def _between(self, name: str, default: T, convert: Callable[[str], T], low: float, high: float) -> T:
        text = self.text(name)
        if not text:
            return default
        try:
            value = convert(text)
        except ValueError:
            raise SettingsError(f"{name}={text!r} is not a number") from None
        if not low <= float(value) <= high:  # type: ignore[arg-type]
            raise SettingsError(f"{name}={text} is not between {low:g} and {high:g}")
        return value

    def url(self, name: str, default: str, schemes: tuple[str, ...]) -> str:
        return _url(name, self.text(name), schemes) or default

    def redis_url(self) -> str:
        """Take the Redis that the controller takes: ROLLOUT_REDIS_URL, its file, else the configuration's."""
        given = self.secret("ROLLOUT_REDIS_URL") or self.in_config("redis_url")
        try:
            parse_target(given)
        except ValueError as error:
            raise SettingsError(f"ROLLOUT_REDIS_URL {error}") from error
        return _url("ROLLOUT_REDIS_URL", given, SCHEMES) or str(_default("redis_url"))

    def in_config(self, key: str) -> str:
        """Return the text of `key` in the table [controller] of ROLLOUT_CONFIG; empty where it is missing."""
        path = self.text("ROLLOUT_CONFIG")
        try:
            table = read_toml(Path(path))[1].get("controller", {}) if path else {}
        except ConfigError as error:
            raise SettingsError(str(error)) from error
        return str(table.get(key, "")) if isinstance(table, Mapping) else ""

    def file(self, name: str) -> str:
        text = self.text(name)
        if text and not Path(text).is_file():
            raise SettingsError(f"{name}={text}: there is no such file")
        return text

    def providers(self) -> frozenset[str]:
        names = [name for name in self._values if name.startswith("PROVIDER_") and name.endswith("_ENABLED")]
        return frozenset(name[9:-8].lower() for name in names if self.flag(name))

    def base_urls(self) -> dict[str, str]:
        names = {
            name: name[9:-4].lower()
            for name in self._values
            if name.startswith("PROVIDER_") and name.endswith("_URL")
        }
        names["MS_GRAPH_URL"] = "microsoft"
        urls = {provider: self.url(name, "", ("http", "https")) for name, provider in names.items()}
        return {provider: url for provider, url in urls.items() if url}

    def tokens(self, name: str) -> str:
        """Return the API tokens as they are configured, once they can be parsed."""
        text = self.secret(name)
        try:
            Tokens.parse(text)
        except ValueError as error:
            raise SettingsError(f"{name}: {error}") from error
        return text

    def secret(self, name: str) -> str:
        """Take NAME, the file that NAME_FILE names, or the file NAME in systemd's credentials directory."""
        if self.text(name):
            return self.text(name)
        named = self.text(f"{name}_FILE")
        if named:
            return _read_secret(f"{name}_FILE", Path(named))
        directory = self.text("CREDENTIALS_DIRECTORY")
        path = Path(directory) / name
        return _read_secret(name, path) if directory and path.is_file() else ""


def _url(name: str, text: str, schemes: tuple[str, ...]) -> str:
    scheme, _, place = text.partition("://")
    if text and (scheme not in schemes or not place):
        raise SettingsError(f"{name} is not a URL that begins with {' or '.join(schemes)}")
    return text


def _read_secret(name: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{name}: {path} cannot be read ({type(error).__name__}); check its rights"
        ) from error
