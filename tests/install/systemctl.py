"""Does for one prefix what systemctl does: starts, stops and restarts the units that are installed there.

It takes from a unit what decides whether an installation fits together: the command, its environment, the
files of its secrets and the folder of its state.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(os.environ["PREFIX"])


def placed(path: str) -> str:
    """Return a path of the unit below the prefix."""
    return re.sub(r"^/(?=etc|opt|var)", f"{ROOT}/", path)


def start(name: str) -> None:
    unit = (ROOT / "etc/systemd/system" / f"{name}.service").read_text(encoding="utf-8")
    settings = [line.partition("=")[::2] for line in unit.splitlines() if "=" in line]
    [command] = [value for key, value in settings if key == "ExecStart"]
    given = [value.partition("=")[::2] for key, value in settings if key == "Environment"]
    credentials = ROOT / "run" / name
    credentials.mkdir(parents=True, exist_ok=True)
    for value in [value for key, value in settings if key == "LoadCredential"]:
        credential, _, file = value.partition(":")
        (credentials / credential).write_bytes(Path(placed(file)).read_bytes())
    (ROOT / "var/lib" / name).mkdir(parents=True, exist_ok=True)
    environment = os.environ | {key: placed(value) for key, value in given}
    with (ROOT / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [placed(word) for word in command.split()],
            env=environment | {"CREDENTIALS_DIRECTORY": str(credentials)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    pid_file(name).write_text(str(process.pid), encoding="ascii")


def stop(name: str) -> None:
    if not pid_file(name).exists():
        return
    pid = int(pid_file(name).read_text(encoding="ascii"))
    pid_file(name).unlink()
    os.kill(pid, signal.SIGTERM)
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.05)


def pid_file(name: str) -> Path:
    return ROOT / f"{name}.pid"


if __name__ == "__main__":
    verb, *rest = [word for word in sys.argv[1:] if not word.startswith("-")]
    for unit in rest:
        if verb in {"stop", "restart", "disable"}:
            stop(unit)
        if verb in {"start", "restart", "enable"}:
            start(unit)
