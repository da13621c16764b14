"""The environment: variables, secrets that files hold, and what the configuration file says beside them."""

import difflib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from controller.shared.config_file import ConfigError, ConfigFile, read_config_file, refusal
from controller.shared.value_readers import Reader, read_secret_file

T = TypeVar("T")

DEFAULT_REDIS_URL = "redis://127.0.0.1:6379/0"

SECRETS = frozenset(
    {
        "GOOGLE_CLIENT_SECRET",
        "GOOGLE_INTEGRATION_TOKEN",
        "GOOGLE_SERVICE_ACCOUNT",
        "MS_CLIENT_CERTIFICATE",
        "MS_CLIENT_SECRET",
        "MS_INTEGRATION_TOKEN",
        "ROLLOUT_API_TOKEN",
        "ROLLOUT_PROMETHEUS_HEADERS",
        "ROLLOUT_PROMETHEUS_TOKEN",
        "ROLLOUT_REDIS_URL",
        "ROLLOUT_TOKEN_KEYS",
    }
)
"""May come from a file, which NAME_FILE names or systemd passes as a credential, and are never shown."""

VARIABLES = SECRETS | {
    "GOOGLE_API_URL",
    "GOOGLE_AUTH_URL",
    "GOOGLE_CA_FILE",
    "GOOGLE_CLIENT_ID",
    "GOOGLE_HOSTED_DOMAIN",
    "GOOGLE_REDIRECT_URI",
    "GOOGLE_REVOKE_URL",
    "GOOGLE_TOKEN_URL",
    "INTEGRATION_TESTS_ENABLED",
    "INTERNAL_DOMAINS",
    "MS_ALLOWED_TENANTS",
    "MS_APP_MAILBOXES",
    "MS_AUTHORITY",
    "MS_AUTH_MODE",
    "MS_CA_FILE",
    "MS_CLIENT_ID",
    "MS_CLOUD",
    "MS_FEDERATED_TOKEN_FILE",
    "MS_GRAPH_URL",
    "MS_LARGE_ATTACHMENTS",
    "MS_MANAGED_IDENTITY",
    "MS_REDIRECT_URI",
    "MS_TENANT_ID",
    "ROLLOUT_ACTOR",
    "ROLLOUT_ALLOWED_HOSTS",
    "ROLLOUT_ALLOW_LOCAL_DOMAINS",
    "ROLLOUT_CONFIG",
    "ROLLOUT_CONNECT_TIMEOUT_S",
    "ROLLOUT_DECISIONS_KEPT",
    "ROLLOUT_DNS_SERVER",
    "ROLLOUT_IDEMPOTENCY_TTL_S",
    "ROLLOUT_INTERVAL_S",
    "ROLLOUT_JOB",
    "ROLLOUT_JOURNAL",
    "ROLLOUT_LEASE_S",
    "ROLLOUT_LISTEN",
    "ROLLOUT_LOG_UNCHANGED_HOLDS",
    "ROLLOUT_MAX_ATTACHMENTS",
    "ROLLOUT_MAX_BODY_BYTES",
    "ROLLOUT_MAX_POSTS",
    "ROLLOUT_MAX_RECIPIENTS",
    "ROLLOUT_PROMETHEUS_CA_FILE",
    "ROLLOUT_PROMETHEUS_CERT_FILE",
    "ROLLOUT_PROMETHEUS_KEY_FILE",
    "ROLLOUT_PROMETHEUS_URL",
    "ROLLOUT_REQUESTS_PER_S",
    "ROLLOUT_RULES_URL",
    "ROLLOUT_RUNBOOK_BASE_URL",
    "ROLLOUT_SCRAPE_S",
    "ROLLOUT_SENDER_LISTEN",
    "ROLLOUT_SENDS_PER_MAILBOX",
    "ROLLOUT_SELECTOR",
    "ROLLOUT_SEND_DEADLINE_S",
    "ROLLOUT_SERVER",
    "ROLLOUT_THROTTLED_IS_UNKNOWN",
    "ROLLOUT_TRUSTED_PROXIES",
    "ROLLOUT_WINDOW_S",
}
"""Every variable that is read, by either package; PROVIDER_<NAME>_ENABLED and PROVIDER_<NAME>_URL beside."""

_OURS = ("ROLLOUT_", "MS_", "GOOGLE_", "INTERNAL_", "PROVIDER_")
_BY_PROVIDER = re.compile(r"PROVIDER_[A-Z0-9_]+_(?:ENABLED|URL)\Z")
_OF_KUBERNETES = re.compile(r".+_(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP).*)?)\Z")
_CLOSE = 0.83
"""A few wrong letters of fifteen; another product's MS_TEAMS_URL stays unnoticed."""


class Environment:
    """Reads settings by the names of their variables; raises ConfigError with the name and the reason."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self.values: Mapping[str, str] = os.environ if values is None else values

    def text(self, name: str) -> str:
        """Return a variable without blanks around it; empty where it is missing.

        Raises LookupError for a name that is not in VARIABLES: it would count as misspelt.
        """
        if name not in VARIABLES and not _BY_PROVIDER.match(name):
            raise LookupError(f"{name} is not in controller.shared.environment.VARIABLES")
        return self.values.get(name, "").strip()

    def read(self, name: str, reader: Reader[T], default: T) -> T:
        """Read a variable, a secret also from its file; the default where it is missing or empty."""
        text = self.secret(name) if name in SECRETS else self.text(name)
        if not text:
            return default
        try:
            return reader.text(text)
        except ValueError as error:
            raise ConfigError(refusal(name, text, error, name in SECRETS)) from error

    def secret(self, name: str) -> str:
        """Return NAME, else what the file of NAME_FILE holds, else systemd's credential of that name."""
        if self.text(name):
            return self.text(name)
        path = self._file_of(name)
        try:
            return read_secret_file(path) if path else ""
        except ValueError as error:
            raise ConfigError(f"{name}_FILE {error}") from error

    def origin(self, name: str) -> str:
        """Say what gives a setting: its variable, its file or its credential; empty for none of them."""
        if self.text(name):
            return name
        path = self._file_of(name) if name in SECRETS and self.secret(name) else None
        if path is None:
            return ""
        return f"{name}_FILE" if self._named_file(name) else f"credential {path.name}"

    def _named_file(self, name: str) -> str:
        return self.values.get(f"{name}_FILE", "").strip()

    def _file_of(self, name: str) -> Path | None:
        """Return the file of a secret; a credential's id is the variable's name, in capitals or not."""
        if named := self._named_file(name):
            return Path(named)
        folder = self.values.get("CREDENTIALS_DIRECTORY", "")
        found = [Path(folder) / spelled for spelled in (name, name.lower())] if folder else []
        return next((path for path in found if path.is_file()), None)

    def config_file(self, path: Path | None = None) -> ConfigFile | None:
        """Read the file of `path`, else of ROLLOUT_CONFIG; None where neither names one."""
        named = self.text("ROLLOUT_CONFIG")
        chosen = path or (Path(named) if named else None)
        return read_config_file(chosen) if chosen else None

    def setting(self, key: str, reader: Reader[T], default: T) -> T:
        """Read ROLLOUT_<KEY>, else `key` of [controller] in the file of ROLLOUT_CONFIG, else the default."""
        name = f"ROLLOUT_{key.upper()}"
        file = None if self.origin(name) else self.config_file()
        if file is None:
            return self.read(name, reader, default)
        table = file.table("controller")
        values: Any = table.values if isinstance(table.values, Mapping) else {}
        if key not in values:
            return default
        try:
            return reader(values[key])
        except ValueError as error:
            raise table.mistake(key, refusal(key, values[key], error, name in SECRETS)) from error

    def refuse_misspelt(self) -> None:
        """Raise ConfigError for a variable that is nearly one of ours: what it says would be ignored."""
        for name, meant in misspelt(self.values):
            raise ConfigError(f"{name} is not a setting and would be ignored; did you mean {meant}?")


def unread(names: Collection[str]) -> list[str]:
    """Return the variables that begin with ROLLOUT_ and are read by nothing, however they may be meant."""
    return [
        name
        for name in sorted(names)
        if name.startswith("ROLLOUT_") and name not in _known() and not _OF_KUBERNETES.match(name)
    ]


def _known() -> frozenset[str]:
    by_provider = {f"PROVIDER_{name}_ENABLED" for name in ("GOOGLE", "MICROSOFT")}
    return VARIABLES | {f"{name}_FILE" for name in SECRETS} | by_provider


def misspelt(names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Return each variable that is nearly one of ours, with the one that was probably meant."""
    known = sorted(_known())
    for name in sorted(names):
        ours = name.upper().startswith(_OURS) and not _OF_KUBERNETES.match(name)
        if name in known or not ours or _BY_PROVIDER.match(name):
            continue
        for meant in difflib.get_close_matches(name.upper(), known, n=1, cutoff=_CLOSE):
            yield name, meant
