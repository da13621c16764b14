"""What is released: it builds, an index takes it, and whoever installs it gets to 100 % by the tutorial."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from install.conftest import ROOT
from kit.tutorial import blocks, follow


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install what the release checklist of CONTRIBUTING.md uses; return the folder of its commands."""
    folder = tmp_path_factory.mktemp("tools")
    venv.create(folder, with_pip=True)
    command = [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", str(folder / "bin" / "python")]
    subprocess.run([*command, "build", "twine"], check=True)
    return folder / "bin"


def test_what_is_built_is_what_an_index_takes(tools: Path, tmp_path: Path) -> None:
    out = tmp_path / "dist"
    subprocess.run([tools / "python", "-m", "build", "-o", out, ROOT], cwd=tmp_path, check=True)
    assert sorted(path.suffix for path in out.iterdir()) == [".gz", ".whl"]
    subprocess.run([tools / "twine", "check", "--strict", *out.iterdir()], check=True)


def test_the_first_day_goes_from_pip_install_to_100_percent(wheel: Path, tmp_path: Path) -> None:
    given = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    given["PIP_FIND_LINKS"] = f"{given.get('PIP_FIND_LINKS', '')} {wheel.parent}".strip()
    install, empty_folder = blocks("bash")
    servers, _, program = install.partition("\n")
    assert servers.startswith("sudo apt-get install")
    told = follow([program, empty_folder, *blocks("sh")[:-1]], tmp_path, given)
    assert f"{tmp_path}/rollout/bin/pip install rollout-controller" in told
