"""Types the tutorial into a shell, as a person does on the first day."""

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from kit.servers import free_port

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
_BEGIN = "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n"


def blocks(*languages: str) -> list[str]:
    """Return the page's commands: `bash` installs and makes a folder, `sh` is everything after it."""
    found = re.findall(r"```([a-z]+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [block for language, block in found if language in languages]


def follow(commands: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    """Type these commands in a folder, on free ports, and return what was shown; each must succeed."""
    script = "\n".join(commands)
    for port in sorted(set(re.findall(r"(?<=[: ])(?:6390|8010|8095|9095|9110)\b", script))):
        script = re.sub(rf"\b{port}\b", str(free_port()), script)
    log = folder / "log"
    with log.open("wb") as output:
        shell = subprocess.Popen(
            ["bash", "-xc", _BEGIN + script],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            code = shell.wait(500)
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)
    told = log.read_text(encoding="utf-8")
    assert code == 0, told[-4000:]
    assert "complete" in told
    assert "recomputed" in told or "the same" in told
    return told
