"""Each procedure of docs/operations.md, run as it is there in a clean prefix."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from install.conftest import ROOT, built
from kit.servers import free_port
from kit.waiting import wait_until

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


class Prefix:
    """A folder in place of `/`, where the page's commands are typed."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        self.folder = folder
        self.ports = {port: str(free_port()) for port in ("6379", "6380", "6381", "9090", "8003")}
        for name in (
            "etc/systemd/system",
            "etc/logrotate.d",
            "usr/local/bin",
            "var/lib/redis",
            "var/backups",
        ):
            (folder / name).mkdir(parents=True)
        shim = folder / "usr/local/bin/systemctl"
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("systemctl.py")} "$@"\n')
        shim.chmod(0o755)
        self.environment = {
            **os.environ,
            "PREFIX": str(folder),
            "PATH": f"{folder}/usr/local/bin:{os.environ['PATH']}",
            "PIP_FIND_LINKS": f"{os.environ.get('PIP_FIND_LINKS', '')} {wheels}".strip(),
            "ROLLOUT_CONFIG": f"{folder}/etc/rollout-controller/rollout.toml",
            "ROLLOUT_LISTEN": f"127.0.0.1:{self.ports['8003']}",
        }

    def type(self, script: str) -> str:
        """Type commands into a shell; each must succeed."""
        script = re.sub(r"(?<![\w.$])/(etc|opt|var|usr/local)/", rf"{self.folder}/\1/", script)
        script = re.sub(r"\b(6379|6380|6381|9090|8003)\b", lambda port: self.ports[port[0]], script)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def follow(self, title: str, part: slice = slice(None)) -> None:
        """Type the commands of a section."""
        section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
        for block in re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)[part]:
            self.type(block)

    def flag(self, name: str, port: str = "6379") -> str:
        return self.type(f"redis-cli -p {port} get flags:microsoft:{name}").strip()

    def running(self) -> str:
        """Return the version whose interpreter runs the daemon; nothing while none does."""
        try:
            pid = (self.folder / "rollout-controller.pid").read_text(encoding="ascii")
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
        except OSError:
            return ""
        return "".join(re.findall(r"versions/([\d.]+)/", command))

    def wait_until_it_ticks(self) -> None:
        wait_until(lambda: '"role":"leader"' in self.ready(), 150, "a leader")

    def ready(self) -> str:
        """Return what /readyz says; nothing while nobody answers."""
        command = ["curl", "-s", "-m", "5", f"http://127.0.0.1:{self.ports['8003']}/readyz"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.fixture(scope="session")
def wheels(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wheel of this version and one that calls itself the next."""
    source, out = tmp_path_factory.mktemp("next") / "source", tmp_path_factory.mktemp("wheels")
    kept = shutil.ignore_patterns(".*", "tests", "__pycache__")
    shutil.copytree(ROOT, source, ignore=kept)
    project = source / "pyproject.toml"
    project.write_text(project.read_text().replace('version = "0.1.0"', 'version = "0.1.1"'))
    shutil.copy(wheel, out)
    built(source, out)
    return out


@pytest.fixture
def prefix(tmp_path: Path, wheels: Path) -> Iterator[Prefix]:
    made = Prefix(tmp_path, wheels)
    try:
        yield made
    finally:
        for command in ("systemctl stop rollout-controller", "redis-cli -p 6379 shutdown nosave"):
            with suppress(AssertionError):
                made.type(command)
        with suppress(AssertionError):
            made.type("redis-cli -p 6380 shutdown nosave")


def test_from_install_to_uninstall_as_the_page_says(prefix: Prefix) -> None:
    for port in ("6379", "6380"):
        folder = "/var/lib/redis" if port == "6379" else "/var/lib/redis-2"
        prefix.type(
            f"mkdir -p {folder} && redis-server --port {port} --dir {folder} --appendonly yes --daemonize yes"
        )

    prefix.follow("Install")
    prefix.wait_until_it_ticks()
    assert prefix.running() == "0.1.0"
    prefix.type(
        "rollout enable microsoft --reason begin --yes && rollout set microsoft 10 --reason begin --yes"
    )

    prefix.follow("Upgrade")
    prefix.wait_until_it_ticks()
    assert prefix.running() == "0.1.1"
    assert prefix.flag("rollout_percent") == "10"

    prefix.follow("Downgrade")
    prefix.wait_until_it_ticks()
    assert prefix.running() == "0.1.0"
    assert prefix.flag("rollout_percent") == "10"

    prefix.follow("Backup and restore", slice(1))
    prefix.type('rollout pause microsoft --reason "after the backup"')
    prefix.follow("Backup and restore", slice(1, 2))
    prefix.wait_until_it_ticks()
    assert (prefix.flag("rollout_percent"), prefix.flag("paused")) == ("10", "true")
    prefix.type('rollout resume microsoft --reason "looked at" --yes')

    prefix.follow("Move to another Redis")
    prefix.wait_until_it_ticks()
    assert (prefix.flag("rollout_percent", "6380"), prefix.flag("paused", "6380")) == ("10", "false")
    assert prefix.flag("paused") == "true"

    prefix.follow("Uninstall")
    assert prefix.running() == ""
    left = [path for path in prefix.folder.rglob("*rollout*") if path.name != "rollout-controller.log"]
    assert {path.relative_to(prefix.folder).parts[0] for path in left} <= {"var", "run"}
    assert prefix.type("redis-cli -p 6380 dbsize").strip() == "0"
