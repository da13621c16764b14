"""The tutorial works: each of its commands, in its order, on real servers."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from kit.servers import free_port

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
BEGIN = "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n"


def test_every_command_of_the_tutorial_works(tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    script = "\n".join(blocks[:-1])
    for port in sorted(set(re.findall(r"(?<=[: ])(?:6390|8010|8095|9095|9110)\b", script))):
        script = re.sub(rf"\b{port}\b", str(free_port()), script)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    log = tmp_path / "log"
    with log.open("wb") as output:
        shell = subprocess.Popen(
            ["bash", "-xc", BEGIN + script],
            cwd=tmp_path,
            env={"PATH": path, "HOME": str(tmp_path)},
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            code = shell.wait(280)
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)
    told = log.read_text(encoding="utf-8")
    assert code == 0, told[-4000:]
    assert "complete" in told
    assert "recomputed" in told or "the same" in told


def test_the_tutorial_begins_and_ends_as_tested() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) >= 10
    assert blocks[-1] == "kill $(jobs -p)\n"
