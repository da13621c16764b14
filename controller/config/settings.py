"""Environment and file into frozen settings: parsed once, each mistake refused with its place and reason."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from controller.config.receivers import Receiver, parse_receivers
from controller.features import (
    ROLLOUT_FEATURES,
    ConfigError,
    RolloutFeature,
    line_of,
    parse_features,
    read_toml,
)
from controller.shared.api_tokens import Tokens
from controller.shared.redis_url import SCHEMES, parse_target

DEFAULT_INTERVAL_S = 30.0


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """How one controller runs. Lengths of time are seconds; one not given follows from the tick."""

    features: Mapping[str, RolloutFeature] = field(default_factory=lambda: dict(ROLLOUT_FEATURES))
    config_path: Path | None = None
    redis_url: str = field(default="redis://127.0.0.1:6379/0", repr=False)
    """Flags, state, decisions and lease; redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://."""
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
    """How many requests one address may make, on the average of ten seconds; more are answered 429."""
    journal: Path | None = None
    """JSONL file that every decision is appended to as well."""
    decisions_kept: int = 20_000
    """Length to which each feature's stream of decisions is trimmed: a week of ticks of 30 s."""
    log_unchanged_holds: bool = True
    """Whether the log has holds that say the same as the one before."""
    notify: tuple[Receiver, ...] = ()
    """Who is told of decisions: the [notify.NAME] tables."""

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
        return min(max(self.interval_s / 4, 0.5), 5.0)

    @property
    def listen_address(self) -> tuple[str, int]:
        return read_address(self.listen)


_SECTION = "controller"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
SECRETS = {"redis_url", "prometheus_token", "prometheus_headers", "api_token"}


def load_settings(config: Path | None = None, environ: Mapping[str, str] | None = None) -> ControllerSettings:
    """Read the file of `--config` or ROLLOUT_CONFIG, then the ROLLOUT_* variables that override it.

    Raises ConfigError with the place of the first mistake.
    """
    env = os.environ if environ is None else environ
    path = config or (Path(env["ROLLOUT_CONFIG"]) if env.get("ROLLOUT_CONFIG") else None)
    given: dict[str, Any] = {}
    features, text = dict(ROLLOUT_FEATURES), ""
    if path is not None:
        text, document = read_toml(path)
        _refuse_unknown_tables(document, text, path)
        features = parse_features(document.get("features", {}), text=text, source=str(path))
        given = _from_table(document.get(_SECTION, {}), text, path)
        given["notify"] = parse_receivers(document.get("notify", {}), text=text, source=str(path))
    given |= _from_environment(env)
    lengths = _with_lengths(given)
    for one, other, reason in _wrong_lengths(lengths):
        place = _place(one if one in given else other, env, text, path)
        raise ConfigError(f"{place}: {one} = {lengths[one]:g} is {reason} {other} = {lengths[other]:g}")
    return ControllerSettings(features=features, config_path=path, **lengths)


def _refuse_unknown_tables(document: Mapping[str, Any], text: str, path: Path) -> None:
    for name in document:
        if name not in {"features", _SECTION, "adapter", "notify"}:
            line = line_of(text, name, "") if isinstance(document[name], dict) else _line_of_key(text, name)
            raise ConfigError(
                f"{path}:{line}: unknown key '{name}'; "
                "known are [controller], [adapter], [features.NAME], [notify.NAME]"
            )


def _line_of_key(text: str, key: str) -> int:
    lines = (
        n for n, line in enumerate(text.splitlines(), 1) if re.match(rf"\s*[\"']?{re.escape(key)}\b", line)
    )
    return next(lines, 1)


def _from_table(table: Any, text: str, path: Path) -> dict[str, Any]:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{path}: [controller] must be a table")
    given: dict[str, Any] = {}
    for key, value in table.items():
        place = f"{path}:{line_of(text, _SECTION, key)}: [controller] {key}"
        if key not in _READERS:
            raise ConfigError(f"{place} is unknown; known are {', '.join(sorted(_READERS))}")
        given[key] = _read(key, value if isinstance(value, str) else str(value).lower(), place)
    return given


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for key in _READERS:
        name = f"ROLLOUT_{key.upper()}"
        text = env.get(name, "") or (_secret(env, name) if key in SECRETS else "")
        if text:
            given[key] = _read(key, text, name)
    return given


def credential(env: Mapping[str, str], name: str) -> Path | None:
    """Return the file of a systemd credential; its id is the variable's name, in capitals or not."""
    folder = env.get("CREDENTIALS_DIRECTORY", "")
    found = [Path(folder) / spelled for spelled in (name, name.lower())] if folder else []
    return next((path for path in found if path.is_file()), None)


def _secret(env: Mapping[str, str], name: str) -> str:
    """Read a secret from the file that NAME_FILE names, or from the systemd credential of that name."""
    path = env.get(f"{name}_FILE", "") or credential(env, name)
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{name}_FILE: {path} cannot be read ({error.strerror})") from error


def _read(key: str, text: str, place: str) -> Any:
    try:
        return _READERS[key](text)
    except ValueError as error:
        secret = key in SECRETS or (key.endswith("_url") and "@" in text)
        given = "the value given" if secret else repr(text)
        raise ConfigError(f"{place}: {given} cannot be used: {error}") from error


def masked(name: str, value: Any) -> str:
    """Write a setting for people: secrets only as set or not, a password in a URL not at all."""
    if name.endswith("_url") and value:
        return shown(value)
    if name == "notify":
        return ", ".join(f"{one.name} ({one.kind})" for one in value) or "nobody"
    if name in SECRETS:
        return "*** (set)" if value else "not set"
    return "not set" if value is None or value == "" else str(value)


def shown(url: str) -> str:
    """Write a URL without its password, as every message has to."""
    before, _, rest = url.rpartition("@")
    scheme, _, login = before.partition("://")
    user, _, password = login.partition(":")
    url = f"{scheme}://{user}:***@{rest}" if password else url
    return re.sub("([?&](?:ssl_)?password=)[^&#]*", r"\1***", url)  # redis-py takes it there, too


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


def _place(key: str, env: Mapping[str, str], text: str, path: Path | None) -> str:
    """Say where a setting was given: its variable, its line in the file, or neither."""
    name = f"ROLLOUT_{key.upper()}"
    return name if env.get(name) or path is None else f"{path}:{line_of(text, _SECTION, key)}"


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 86_400:
        raise ValueError("must be 0.1 to 86400 seconds")
    return value


def _url(*schemes: str) -> Any:
    def read(text: str) -> str:
        try:
            parts = urlsplit(text)
        except ValueError:  # whose words show what stands in the URL
            raise ValueError(
                "is no URL; write signs of a password that mean something in one as %XX"
            ) from None
        if text.partition("://")[0] not in schemes or not (parts.netloc or parts.path):
            raise ValueError(f"must be a URL that begins with {' or '.join(f'{s}://' for s in schemes)}")
        if not _good_port(parts):
            raise ValueError("must have a port of 1 to 65535, if any")
        return text.rstrip("/")

    return read


def _good_port(parts: SplitResult) -> bool:
    """Whether a URL names no port or a possible one; what stands there instead may be half a password."""
    try:
        return parts.port != 0
    except ValueError:
        return False


read_http_url = _url("http", "https")
"""Read a URL of HTTP; raises ValueError, which does not show it."""


def _redis_url(text: str) -> str:
    return str(_url(*SCHEMES)(text)) if parse_target(text) is None else text.rstrip("/")


def read_headers(text: str) -> dict[str, str]:
    """Read NAME=VALUE,NAME=VALUE; raises ValueError, which names no value."""
    pairs = [pair.strip().partition("=") for pair in text.split(",") if pair.strip()]
    for name, _, value in pairs:
        if not _HEADER_NAME.match(name.strip()) or not value.strip().isprintable() or not value.strip():
            raise ValueError("must be NAME=VALUE, several separated by commas")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _headers(text: str) -> str:
    read_headers(text)
    return text


def read_address(text: str) -> tuple[str, int]:
    """Read HOST:PORT; raises ValueError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError("must be HOST:PORT, as in 127.0.0.1:8003")
    return host.strip("[]"), int(port)


def _address(text: str) -> str:
    read_address(text)
    return text


def _tokens(text: str) -> str:
    Tokens.parse(text)
    return text


def _rate(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 1_000_000:
        raise ValueError("must be 1 to 1000000")
    return value


def _whole(text: str) -> int:
    value = int(text)
    if not 100 <= value <= 10_000_000:
        raise ValueError("must be 100 to 10000000")
    return value


def _boolean(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("must be true or false")
    return text == "true"


_READERS: dict[str, Any] = {
    "redis_url": _redis_url,
    "prometheus_url": read_http_url,
    "rules_url": read_http_url,
    "prometheus_token": str,
    "prometheus_headers": _headers,
    "interval_s": _seconds,
    "window_s": _seconds,
    "scrape_s": _seconds,
    "lease_s": _seconds,
    "listen": _address,
    "api_token": _tokens,
    "requests_per_s": _rate,
    "journal": Path,
    "decisions_kept": _whole,
    "log_unchanged_holds": _boolean,
}

if set(_READERS) | {"features", "config_path", "notify"} != {f.name for f in fields(ControllerSettings)}:
    raise TypeError("every setting needs a reader")
