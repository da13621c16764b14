"""What somebody installs from the registries: the wheel of this tree, and hosts for it."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOSTS = ("celery[redis]", "django", "fastapi", "gunicorn")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("install")


def built(source: Path, out: Path, *kind: str) -> None:
    """Build what is released from a source tree: the wheel, unless another kind is named."""
    command = [sys.executable, "-m", "hatchling", "build", *(kind or ("-t", "wheel")), "-d", str(out)]
    subprocess.run(command, cwd=source, check=True)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    built(ROOT, folder)
    [one] = folder.glob("*.whl")
    return one


@pytest.fixture(scope="session")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel and the hosts into an environment of their own; return the folder of its commands."""
    folder = tmp_path_factory.mktemp("hosts")
    venv.create(folder, with_pip=False)
    command = [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", str(folder / "bin" / "python")]
    subprocess.run([*command, str(wheel), *HOSTS], cwd=folder, check=True)
    return folder / "bin"
