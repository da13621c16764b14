"""What somebody installs from the registries: the wheel of this tree, and hosts for it."""

import os
import shutil
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


@pytest.fixture(scope="module")
def bare_debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a Debian with Python and make alone; it reaches the registries as this machine does."""
    assert not os.getuid(), "debootstrap and chroot need root"
    root = tmp_path_factory.mktemp("debian") / "root"
    packages = "--include=ca-certificates,make,python3,python3-venv"
    release, *mirror = here()
    subprocess.run(["debootstrap", "--variant=minbase", packages, release, root, *mirror], check=True)
    for name in ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"):
        if Path(name).exists():
            shutil.copyfile(name, f"{root}{name}")
    # The names that an image of Python has.
    assert inside(root, "python3 -m venv /usr/local/lib/pip").returncode == 0
    (root / "usr/local/bin/pip").symlink_to("/usr/local/lib/pip/bin/pip")
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    return root


def here() -> tuple[str, ...]:
    """Return this machine's own release, and where its packages come from."""
    facts = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text("utf-8").split("\n") if line
    )
    sources = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("debian.sources")]
    lines = [line for path in sources if path.exists() for line in path.read_text("utf-8").splitlines()]
    words = [word for line in lines if not line.startswith("#") for word in line.split()]
    return (facts["VERSION_CODENAME"], *[word for word in words if word.startswith("http")][:1])


def inside(root: Path, script: str) -> "subprocess.CompletedProcess[str]":
    """Run a script in this root, with processes and mounts of its own: nothing outlives it."""
    kept = [f"{name}={os.environ[name]}" for name in ("PIP_CERT", "PIP_INDEX_URL") if name in os.environ]
    entered = ["unshare", "--mount", "--pid", "--fork", f"--mount-proc={root}/proc", "chroot", str(root)]
    cleanly = ["env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", *kept]
    return subprocess.run(
        [*entered, *cleanly, "sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
