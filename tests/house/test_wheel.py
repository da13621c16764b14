"""What somebody installs is whole: the wheel, built and installed into an environment of its own."""

import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("controller", "adapter")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], ROOT)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment with the wheel, and with the dependencies that are installed here already."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    done(
        [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "install",
            "-q",
            "--no-index",
            "--no-deps",
            "--python",
            python,
            wheel,
        ],
        folder,
    )
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder


def done(command: Sequence[str | Path], folder: Path) -> str:
    """Run a command in `folder` with nothing else of this project in reach; it must succeed."""
    ran = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_wheel_holds_every_file_of_both_packages(wheel: Path) -> None:
    here = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    names = zipfile.ZipFile(wheel).namelist()
    found = {name for name in names if name.startswith(tuple(f"{package}/" for package in PACKAGES))}
    assert {name for name in found if not name.startswith("controller/shipped/")} == here
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_an_installed_rollout_does_its_work_far_from_the_source(installed: Path, tmp_path: Path) -> None:
    rollout, rules = installed / "bin" / "rollout", tmp_path / "rules"
    where = done([installed / "bin" / "python", "-c", "import adapter; print(adapter.__file__)"], tmp_path)
    assert where.startswith(str(installed))
    assert done([rollout, "--version"], tmp_path).startswith("rollout")
    done([rollout, "rules", "render", "--out", rules], tmp_path)
    done([rollout, "rules", "check", "--rules", rules], tmp_path)
    assert "microsoft" in done([rollout, "plan", "microsoft", "--rps", "50"], tmp_path)


def test_every_link_of_the_description_leads_to_a_file_of_the_repository(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    [metadata] = [name for name in archive.namelist() if name.endswith("/METADATA")]
    headers, _, description = archive.read(metadata).decode().partition("\n\n")
    [source] = re.findall(r"^Project-URL: Source, (\S+)$", headers, flags=re.MULTILINE)
    [version] = re.findall(r"^Version: (\S+)$", headers, flags=re.MULTILINE)
    targets = re.findall(r'\]\(([^)#]+)|src(?:set)?="([^"]+)', description)
    assert len(targets) >= 20
    for link, picture in targets:
        place = (link or picture).removeprefix(f"{source}/{'raw' if picture else 'blob'}/v{version}/")
        assert (ROOT / place).is_file(), place
