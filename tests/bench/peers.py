"""The peers' environments: one for each race, beside our own, made once."""

import subprocess
import sys
import venv
from collections.abc import Iterable
from pathlib import Path

from bench.report import ROOT, say

INSTALL_WITHIN_S = 240


def peers_python(race: str, packages: Iterable[str]) -> Path:
    """Return the interpreter of a race's peers; what does not install is left out."""
    folder = ROOT / ".venv" / f"bench-{race}"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, symlinks=True)
        for package in packages:
            say(f"installing {package}")
            command = [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", str(python), package]
            done = subprocess.run(command, capture_output=True, timeout=INSTALL_WITHIN_S, check=False)
            if done.returncode:
                say(f"{package} does not install here")
    return python
