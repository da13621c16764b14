"""Environment and file into frozen settings: parsed once, each mistake refused with its place and reason."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from controller.config.addresses import read_networks
from controller.config.hosts import read_hosts
from controller.config.receivers import Receiver, parse_receivers
from controller.features import ROLLOUT_FEATURES, RolloutFeature, parse_features
from controller.shared.api_tokens import Tokens
from controller.shared.config_file import ConfigError, ConfigFile, line_of
from controller.shared.environment import DEFAULT_REDIS_URL, Environment
from controller.shared.environment import SECRETS as SECRET_VARIABLES
from controller.shared.value_readers import (
    Reader,
    address,
    checked_text,
    checked_texts,
    count,
    flag,
    http_url,
    number,
    read_address,
    redis_url,
    split,
    text,
)

DEFAULT_INTERVAL_S = 30.0
NOWHERE = "the default"


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """How one controller runs. Lengths of time are seconds; one not given follows from the tick."""

    features: Mapping[str, RolloutFeature] = field(default_factory=lambda: dict(ROLLOUT_FEATURES))
    config_path: Path | None = None
    redis_from: str = NOWHERE
    """What gives redis_url: a file, a variable, or neither."""
    redis_url: str = field(default=DEFAULT_REDIS_URL, repr=False)
    """Flags, state, decisions and lease; redis://, unix://, redis+sentinel:// or redis+cluster://, over TLS
    rediss://, rediss+sentinel:// or rediss+cluster://."""
    prometheus_url: str = field(default="http://127.0.0.1:9090", repr=False)
    """What answers /api/v1/query."""
    rules_url: str = field(default="", repr=False)
    """Where /api/v1/rules is answered, when that is not the Prometheus queried (vmalert)."""
    prometheus_token: str = field(default="", repr=False)
    """Bearer token that Prometheus is asked with."""
    prometheus_headers: str = field(default="", repr=False)
    """More headers that it is asked with, as a tenant's: `X-Scope-OrgID=mail,OTHER=value`."""
    interval_s: float = DEFAULT_INTERVAL_S
    """Length of a tick."""
    window_s: float = DEFAULT_INTERVAL_S
    """Length of one window of evidence: the interval of its recording rules. The tick, unless given."""
    scrape_s: float = DEFAULT_INTERVAL_S / 3
    """How often Prometheus scrapes the senders. A third of the tick or of a shorter window, unless given."""
    lease_s: float = DEFAULT_INTERVAL_S * 3
    """A leader that is silent for so long is followed by another. Three ticks, unless given."""
    listen: str = "127.0.0.1:8003"
    """Address of the status page, the API and the metrics."""
    api_token: str = field(default="", repr=False)
    """Opens what changes or sends: TOKEN, NAME:TOKEN or NAME/RIGHTS:TOKEN, several separated by commas.

    RIGHTS are send, operate and alert joined by +; send@GLOB is bound to users; sha256:HEX may replace TOKEN.
    """
    requests_per_s: float = 1000.0
    """How many requests one address, or one token, may make on the average of ten seconds; else 429."""
    trusted_proxies: tuple[str, ...] = ()
    """Proxies whose X-Forwarded-For is believed: 127.0.0.1,10.0.0.0/8. Nobody's, unless given."""
    allowed_hosts: tuple[str, ...] = ()
    """Public names to answer to: rollout.example.com,*.example.org; local names and addresses always work."""
    journal: Path | None = None
    """JSONL file that every decision is appended to as well."""
    decisions_kept: int = 20_000
    """Length to which each feature's stream of decisions is trimmed: a week of ticks of 30 s."""
    log_unchanged_holds: bool = True
    """Whether the log has holds that say the same as the one before."""
    notify: tuple[Receiver, ...] = ()
    """Who is notified of decisions: the [notify.NAME] tables."""

    @property
    def headers_to_prometheus(self) -> dict[str, str]:
        """Return every header that Prometheus is asked with beside the usual ones."""
        bearer = {"Authorization": f"Bearer {self.prometheus_token}"} if self.prometheus_token else {}
        return read_headers(self.prometheus_headers) | bearer

    @property
    def tick_deadline_s(self) -> float:
        """A tick that takes longer has failed; the next one starts afresh."""
        return min(max(self.interval_s * 0.8, 1.0), 20.0)

    @property
    def request_timeout_s(self) -> float:
        """How long one request to Prometheus may take, seconds."""
        return min(max(self.interval_s / 4, 0.5), 5.0)

    @property
    def listen_address(self) -> tuple[str, int]:
        """Host and port of `listen`."""
        return read_address(self.listen)


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")


def load_settings(config: Path | None = None, environ: Mapping[str, str] | None = None) -> ControllerSettings:
    """Read the file of `--config` or ROLLOUT_CONFIG, then the ROLLOUT_* variables that override it.

    Raises ConfigError with the place of the first mistake.
    """
    env = Environment(environ)
    env.refuse_misspelt()
    file = env.config_file(config)
    given: dict[str, Any] = {}
    if file is not None:
        file.refuse_unknown_tables(("controller", "adapter", "features", "notify"))
        given = file.table("controller").read(_READERS, SECRETS)
        given["features"] = parse_features(file.table("features"))
        given["notify"] = parse_receivers(file.table("notify"))
    given |= {
        key: env.read(variable(key), _READERS[key], None) for key in _READERS if env.origin(variable(key))
    }
    lengths = _with_lengths(given)
    for one, other, reason in _wrong_lengths(lengths):
        place = _place(one if one in given else other, env, file)
        raise ConfigError(f"{place}: {one} = {lengths[one]:g} is {reason} {other} = {lengths[other]:g}")
    in_file = str(file.path) if file and "redis_url" in file.table("controller").values else ""
    redis_from = env.origin(variable("redis_url")) or in_file or NOWHERE
    return ControllerSettings(config_path=file.path if file else None, redis_from=redis_from, **lengths)


def variable(key: str) -> str:
    """Return the name of the variable that overrides a key of [controller]."""
    return f"ROLLOUT_{key.upper()}"


def masked(name: str, value: Any) -> str:
    """Write a setting for people: secrets only as set or not, a password in a URL not at all."""
    if name.endswith("_url") and value:
        return shown(value)
    if name == "notify":
        return ", ".join(f"{one.name} ({one.kind})" for one in value) or "nobody"
    if name in SECRETS:
        return "*** (set)" if value else "not set"
    return "not set" if value is None or value == "" else str(value)


_HARMLESS = re.compile(r"(?:db|protocol|ssl_(?:ca_certs|ca_path|certfile|keyfile|cert_reqs|check_hostname))=")
"""Parameters of a URL that hold no secret, whatever stands in them."""


def shown(url: str) -> str:
    """Write a URL without its password, or whatever else of it may be a secret, as every message has to."""
    before, _, rest = url.rpartition("@")
    scheme, _, login = before.partition("://")
    user, _, password = login.partition(":")
    if password:
        url = f"{scheme}://{user}:***@{rest}"
    elif login and not re.search("[/?#]", login):
        url = f"{scheme}://***@{rest}"
    address, _, query = url.partition("#")[0].partition("?")
    return address + ("?" + "&".join(_shown_parameter(one) for one in query.split("&")) if query else "")


def _shown_parameter(text: str) -> str:
    name, is_pair, _ = text.partition("=")
    return text if _HARMLESS.match(text) else f"{name}=***" if is_pair else "***"


def _with_lengths(given: dict[str, Any]) -> dict[str, Any]:
    tick = given.get("interval_s", DEFAULT_INTERVAL_S)
    window = given.get("window_s", tick)
    follow = {"interval_s": tick, "window_s": tick, "scrape_s": min(tick, window) / 3, "lease_s": tick * 3}
    return follow | given


def _wrong_lengths(lengths: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Name the lengths that do not go with another one."""
    if lengths["scrape_s"] > lengths["window_s"]:
        yield "scrape_s", "window_s", "longer than"
    if lengths["lease_s"] < lengths["interval_s"]:
        yield "lease_s", "interval_s", "shorter than"


def _place(key: str, env: Environment, file: ConfigFile | None) -> str:
    """Say where a setting was given: its variable, its line in the file, or neither."""
    origin = env.origin(variable(key))
    return origin if origin or file is None else f"{file.path}:{line_of(file.text, 'controller', key)}"


def read_headers(text: str) -> dict[str, str]:
    """Read NAME=VALUE,NAME=VALUE; raises ValueError, which names no value."""
    pairs = [pair.partition("=") for pair in split(text)]
    for name, _, value in pairs:
        if not _HEADER_NAME.match(name.strip()) or not value.strip().isprintable() or not value.strip():
            raise ValueError("must be NAME=VALUE, several separated by commas")
    return {name.strip(): value.strip() for name, _, value in pairs}


_LENGTH = number(0.1, 86_400, "seconds")
_READERS: dict[str, Reader[Any]] = {
    "redis_url": redis_url,
    "prometheus_url": http_url,
    "rules_url": http_url,
    "prometheus_token": checked_text(str),
    "prometheus_headers": checked_text(read_headers),
    "interval_s": _LENGTH,
    "window_s": _LENGTH,
    "scrape_s": _LENGTH,
    "lease_s": _LENGTH,
    "listen": address,
    "api_token": checked_text(Tokens.parse),
    "requests_per_s": number(1, 1_000_000),
    "trusted_proxies": checked_texts(read_networks),
    "allowed_hosts": checked_texts(read_hosts),
    "journal": Reader(lambda value: Path(text()(value))),
    "decisions_kept": count(100, 10_000_000),
    "log_unchanged_holds": flag,
}
SECRETS = {key for key in _READERS if variable(key) in SECRET_VARIABLES}

NO_SETTINGS = {"features", "config_path", "redis_from"}
if set(_READERS) | NO_SETTINGS | {"notify"} != {f.name for f in fields(ControllerSettings)}:
    raise TypeError("every setting needs a reader")
