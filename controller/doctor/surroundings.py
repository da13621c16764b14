"""Looks at what is neither Redis nor Prometheus: the journal's file, the daemon, systemd, Graph, sign-in."""

import os
import shutil
import ssl
import subprocess
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import httpx

from controller.config.settings import ControllerSettings
from controller.doctor.finding import DoctorFinding, away, bad, note, ok
from controller.shared.environment import unread

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


def look_at_microsoft(environ: Mapping[str, str]) -> Iterator[DoctorFinding]:
    """Ask Graph and the sign-in server for anything at all: any answer shows that they can be reached."""
    if environ.get("PROVIDER_MICROSOFT_ENABLED", "false") != "true":
        yield note("microsoft", "PROVIDER_MICROSOFT_ENABLED is not true, so nothing is sent from here")
        return
    missing = [name for name in ("MS_CLIENT_ID", "MS_TENANT_ID") if not environ.get(name)]
    if missing:
        yield bad("microsoft settings", f"missing: {', '.join(missing)}", "see docs/MS-OAUTH-SETUP-GUIDE.md")
    tenant = environ.get("MS_TENANT_ID", "common")
    authority = environ.get("MS_AUTHORITY") or f"https://login.microsoftonline.com/{tenant}"
    urls = {
        "graph": environ.get("MS_GRAPH_URL") or "https://graph.microsoft.com/v1.0",
        "sign-in": f"{authority.rstrip('/')}/v2.0/.well-known/openid-configuration",
    }
    trust = ssl.create_default_context(cafile=environ.get("MS_CA_FILE") or None)
    for subject, url in urls.items():
        try:
            status = httpx.get(url, timeout=_TIMEOUT_S, verify=trust).status_code
        except httpx.HTTPError as error:
            yield away(subject, f"{url}: {type(error).__name__}", "check network, proxy and MS_CA_FILE")
        else:
            yield ok(subject, f"{url} answers (HTTP {status})")
