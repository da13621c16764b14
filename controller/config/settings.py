"""Environment and file into frozen settings: parsed once, each mistake refused with its place and reason."""

import os
import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from controller.config.addresses import read_networks
from controller.config.hosts import read_hosts
from controller.config.receivers import Receiver, parse_receivers
from controller.contract import SENDER_JOB
from controller.features import ROLLOUT_FEATURES, RolloutFeature, parse_features
from controller.rules.scope import Scope, parse_selector
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
    existing_file,
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
class PrometheusAccess:
    """How Prometheus is asked: headers beside the usual ones, and the certificates of both sides."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @property
    def trust(self) -> ssl.SSLContext:
        """Return the context of an HTTPS client; raises OSError for a file that cannot be used."""
        ca_file = self.ca_file or os.environ.get("SSL_CERT_FILE") or None
        context = ssl.create_default_context(cafile=ca_file)
        if self.cert_file:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context


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
    prometheus_ca_file: Path | None = None
    """Certificates that its HTTPS is checked with, instead of the system's."""
    prometheus_cert_file: Path | None = None
    """Certificate that it is asked with, where it wants one of its clients."""
    prometheus_key_file: Path | None = None
    """Key of that certificate; not needed where the certificate's file holds it too."""
    job: str = SENDER_JOB
    """The scrape job of the senders. The rules name it too: render them after a change."""
    selector: tuple[tuple[str, str], ...] = ()
    """Labels of the senders that are meant, where others are in the same job: the table [controller.selector]
    or `env=prod,cluster=eu`. Recorded series, alerts and the controller's own target carry them."""
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
    runbook_base_url: str = ""
    """Where `runbooks/NAME.md` is, for links in alerts: this daemon's address, or a repository's."""
    journal: Path | None = None
    """JSONL file that every decision is appended to as well."""
    decisions_kept: int = 20_000
    """Length to which each feature's stream of decisions is trimmed: a week of ticks of 30 s."""
    log_unchanged_holds: bool = True
    """Whether the log has holds that say the same as the one before."""
    notify: tuple[Receiver, ...] = ()
    """Who is notified of decisions: the [notify.NAME] tables."""

    @property
    def access_to_prometheus(self) -> PrometheusAccess:
        bearer = {"Authorization": f"Bearer {self.prometheus_token}"} if self.prometheus_token else {}
        return PrometheusAccess(
            headers=read_headers(self.prometheus_headers) | bearer,
            ca_file=self.prometheus_ca_file,
            cert_file=self.prometheus_cert_file,
            key_file=self.prometheus_key_file,
        )

    @property
    def scope(self) -> Scope:
        """Return which targets are the senders."""
        return Scope(self.job, self.selector)

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


def _selector(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping) or not all(isinstance(one, str) for one in value.values()):
        raise ValueError('must be a table of labels, as in env = "prod"')
    try:
        return parse_selector(value)
    except ValueError as error:
        raise ValueError(f"cannot be used: {error}") from error


def _selector_of_text(text: str) -> Any:
    pairs = [pair.partition("=") for pair in split(text)]
    return {name.strip(): value.strip() for name, _, value in pairs}


def _existing_path(value: str) -> Path:
    return Path(existing_file(value))


_FILE = Reader(_existing_path)
_LENGTH = number(0.1, 86_400, "seconds")
_READERS: dict[str, Reader[Any]] = {
    "redis_url": redis_url,
    "prometheus_url": http_url,
    "rules_url": http_url,
    "prometheus_token": checked_text(str),
    "prometheus_headers": checked_text(read_headers),
    "prometheus_ca_file": _FILE,
    "prometheus_cert_file": _FILE,
    "prometheus_key_file": _FILE,
    "job": text(),
    "selector": Reader(_selector, _selector_of_text),
    "interval_s": _LENGTH,
    "window_s": _LENGTH,
    "scrape_s": _LENGTH,
    "lease_s": _LENGTH,
    "listen": address,
    "api_token": checked_text(Tokens.parse),
    "requests_per_s": number(1, 1_000_000),
    "trusted_proxies": checked_texts(read_networks),
    "allowed_hosts": checked_texts(read_hosts),
    "runbook_base_url": http_url,
    "journal": Reader(lambda value: Path(text()(value))),
    "decisions_kept": count(100, 10_000_000),
    "log_unchanged_holds": flag,
}
SECRETS = {key for key in _READERS if variable(key) in SECRET_VARIABLES}

NO_SETTINGS = {"features", "config_path", "redis_from"}
if set(_READERS) | NO_SETTINGS | {"notify"} != {f.name for f in fields(ControllerSettings)}:
    raise TypeError("every setting needs a reader")
