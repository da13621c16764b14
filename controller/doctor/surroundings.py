"""Looks at what is neither Redis nor Prometheus: the journal's file, the daemon, systemd, Graph, sign-in."""

import os
import shutil
import ssl
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from controller.config.settings import ControllerSettings
from controller.doctor.finding import DoctorFinding, away, bad, note, ok
from controller.shared.config_file import ConfigError
from controller.shared.environment import Environment, unread
from controller.shared.microsoft_cloud import CLOUDS, GLOBAL
from controller.shared.value_readers import ca_file

_TIMEOUT_S = 5.0
UNITS = ("rollout-controller.service", "rollout-sender.service")
_SYSTEMD_RUNS = Path("/run/systemd/system")


def look_at_variables(names: Collection[str]) -> Iterator[DoctorFinding]:
    """Yield a finding where variables of ours are set that nothing reads."""
    if unheard := unread(names):
        listed = ", ".join(unheard)
        yield note("environment", f"nothing reads {listed}", "see docs/reference.md for the names")


def look_at_journal(settings: ControllerSettings) -> Iterator[DoctorFinding]:
    """Yield findings on the journal file: whether it can be written, and has room."""
    path = settings.journal
    if path is None:
        yield note("journal file", "none is configured", "set journal: then a lost Redis loses no decision")
        return
    place = path if path.exists() else path.parent
    if not path.parent.is_dir():
        yield bad("journal file", f"{path.parent} is no folder", f"mkdir {path.parent}")
    elif not os.access(place, os.W_OK):
        yield bad("journal file", f"{place} cannot be written by this user", "give it to the daemon's user")
    elif (free := shutil.disk_usage(path.parent).free) < 2**30:
        yield bad("journal file", f"{free >> 20} MiB free", "rotate it, or make room")
    else:
        yield ok("journal file", f"{path}, {free >> 30} GiB free")


def look_at_daemon(settings: ControllerSettings) -> Iterator[DoctorFinding]:
    """Yield findings on the daemon that listens at the configured address."""
    try:
        told = httpx.get(f"http://{settings.listen}/readyz", timeout=_TIMEOUT_S, trust_env=False).json()
    except (httpx.HTTPError, ValueError):
        yield note("daemon", f"nobody answers on {settings.listen}", "rollout run")
        return
    if told.get("ready"):
        yield ok("daemon", f"{told['role']} on {settings.listen}")
    else:
        yield bad("daemon", f"not ready: {told.get('detail')}", "see its log")
    if error := told.get("config_error"):
        yield bad("daemon's configuration", f"the last reload was refused: {error}", "mend it and reload")


def look_at_units() -> Iterator[DoctorFinding]:
    """Yield findings on the systemd units."""
    if not _SYSTEMD_RUNS.is_dir() or shutil.which("systemctl") is None:
        yield note("systemd", "does not run here")
        return
    for unit in UNITS:
        done = subprocess.run(
            ["systemctl", "show", "-p", "LoadState,ActiveState,NRestarts", unit],
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
        shown = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
        if shown.get("LoadState") != "loaded":
            yield note(unit, "not installed")
        elif shown.get("ActiveState") == "active":
            yield ok(unit, f"active, restarted {shown.get('NRestarts')} times")
        else:
            yield bad(unit, str(shown.get("ActiveState")), f"journalctl -u {unit}")


@dataclass(frozen=True, slots=True)
class _MailProvider:
    """What is looked at of a provider."""

    name: str
    needed: tuple[str, ...]
    guide: str
    ca_file: str
    """The variable that names the certificates to trust."""
    urls: Callable[[Mapping[str, str]], dict[str, str]]
    instead: tuple[str, ...] = ()
    """Variables of which one makes the needed ones needless."""
    test_token: str = ""
    """The variable of a token that is used instead of signing in while INTEGRATION_TESTS_ENABLED=true."""


def _of_microsoft(environ: Mapping[str, str]) -> dict[str, str]:
    tenant = environ.get("MS_TENANT_ID", "common")
    cloud = CLOUDS.get(environ.get("MS_CLOUD", ""), GLOBAL)
    authority = environ.get("MS_AUTHORITY") or f"{cloud.sign_in}/{tenant}"
    return {
        "graph": environ.get("MS_GRAPH_URL") or f"{cloud.graph}/v1.0",
        "sign-in": f"{authority.rstrip('/')}/v2.0/.well-known/openid-configuration",
    }


def _of_google(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        "gmail": environ.get("GOOGLE_API_URL") or "https://gmail.googleapis.com",
        "google sign-in": environ.get("GOOGLE_TOKEN_URL") or "https://oauth2.googleapis.com/token",
    }


_PROVIDERS = (
    _MailProvider(
        "microsoft",
        ("MS_CLIENT_ID", "MS_TENANT_ID"),
        "docs/MS-OAUTH-SETUP-GUIDE.md",
        "MS_CA_FILE",
        _of_microsoft,
        test_token="MS_INTEGRATION_TOKEN",  # noqa: S106 (the name of a variable)
    ),
    _MailProvider(
        "google",
        ("GOOGLE_CLIENT_ID",),
        "docs/GOOGLE-OAUTH-SETUP-GUIDE.md",
        "GOOGLE_CA_FILE",
        _of_google,
        instead=("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_FILE"),
        test_token="GOOGLE_INTEGRATION_TOKEN",  # noqa: S106 (the name of a variable)
    ),
)


def look_at_providers(environ: Mapping[str, str]) -> Iterator[DoctorFinding]:
    """Ask each provider and its sign-in for anything at all: any answer shows that they can be reached."""
    for provider in _PROVIDERS:
        yield from _look_at_provider(provider, environ)


def _look_at_provider(provider: _MailProvider, environ: Mapping[str, str]) -> Iterator[DoctorFinding]:
    switch = f"PROVIDER_{provider.name.upper()}_ENABLED"
    if environ.get(switch, "false") != "true":
        yield note(provider.name, f"{switch} is not true, so nothing is sent from here")
        return
    for_tests = environ.get("INTEGRATION_TESTS_ENABLED") == "true" and bool(environ.get(provider.test_token))
    missing = [name for name in provider.needed if not environ.get(name)]
    if for_tests:
        yield note(f"{provider.name} settings", f"for tests alone: all is sent with {provider.test_token}")
    elif missing and not any(map(environ.get, provider.instead)):
        yield bad(f"{provider.name} settings", f"missing: {', '.join(missing)}", f"see {provider.guide}")
    try:
        trusted = Environment(environ).read(provider.ca_file, ca_file, "")
    except ConfigError as error:
        yield bad(f"{provider.name} certificates", str(error), f"see {provider.guide}")
        return
    trust = ssl.create_default_context(cafile=trusted or None)
    for subject, url in provider.urls(environ).items():
        if for_tests and "sign-in" in subject:
            continue
        try:
            status = httpx.get(url, timeout=_TIMEOUT_S, verify=trust).status_code
        except httpx.HTTPError as error:
            trouble = f"{url}: {type(error).__name__}"
            yield away(subject, trouble, f"check network, proxy and {provider.ca_file}")
        else:
            yield ok(subject, f"{url} answers (HTTP {status})")
