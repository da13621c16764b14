"""`rollout reload`: checks the configuration, lets the daemon here read it again, and says how that went."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import click
import httpx

from controller.commands.common import config_option, settings_from
from controller.shared.console import NO, UNREACHABLE, examples, fail, say

_WITHIN_S = 30.0
_PULSE_S = 0.1


@click.command(epilog=examples("rollout reload --config /etc/rollout-controller/rollout.toml"))
@config_option
def reload(config: Path | None) -> None:
    """Let the daemon on this machine read its configuration again.

    A file that cannot be used is refused here with the line (exit code 2), and the daemon is not asked.
    """
    settings = settings_from(config)
    before = _standing(settings.listen)
    try:
        os.kill(before["pid"], signal.SIGHUP)
    except (ProcessLookupError, PermissionError) as error:
        fail(f"the daemon (pid {before['pid']}) cannot be signalled: {error.strerror}; use its machine", NO)
    deadline = time.monotonic() + _WITHIN_S
    while (now := _standing(settings.listen))["reloads"] == before["reloads"]:
        if time.monotonic() > deadline:
            fail(f"the daemon did not reload within {_WITHIN_S:g} s; see its log", NO)
        time.sleep(_PULSE_S)
    if now["config_error"]:
        fail(f"refused, the old configuration stays: {now['config_error']}", NO)
    say(f"reloaded: {', '.join(sorted(settings.features))}")


def _standing(listen: str) -> dict[str, Any]:
    try:
        told = httpx.get(f"http://{listen}/readyz", timeout=5.0, trust_env=False).json()
        return {key: told[key] for key in ("pid", "reloads", "config_error")}
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        fail(f"no daemon answers on {listen}; is it running, and is this its configuration?", UNREACHABLE)
