"""The image: built by buildah on a base that debootstrap makes, and run as Kubernetes runs it.

No runtime for containers is needed: a process gets the image's own command and environment, the image's
files as a root that nobody can write to, its user, and a /tmp of its own.
"""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from install.conftest import ROOT
from kit.servers import RedisServer, free_port
from kit.waiting import patience, wait_until

CONFIG = '[controller]\nprometheus_url = "http://127.0.0.1:1"\n[features.microsoft]\n'
MOUNTED = """
set -eu
mount --bind {root} {root} && mount -o remount,bind,ro {root}
mount -t tmpfs tmpfs {root}/tmp
mount --rbind /proc {root}/proc && mount --rbind /dev {root}/dev
mount --bind {config} {root}/etc/rollout-controller
if touch {root}/written 2> /dev/null; then exit 77; fi
exec {chroot} --userspec={user} {root} "$@"
"""


@dataclass(frozen=True)
class Image:
    """What was built: its files, and what it says of how it is to be run."""

    root: Path
    config: Mapping[str, Any]

    @contextmanager
    def run(
        self, folder: Path, port: int, *words: str, **environment: str
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """Run it with these words after its entry point; with none, as it says itself."""
        command = [*self.config["Entrypoint"], *(words or self.config["Cmd"])]
        places = {"root": self.root, "config": folder / "config", "chroot": shutil.which("chroot")}
        script = MOUNTED.format(user=self.config["User"], **places)
        given = dict(pair.split("=", 1) for pair in self.config["Env"]) | environment
        with (
            (folder / f"{port}.log").open("wb") as log,
            subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", script, "sh", *command], env=given, stdout=log, stderr=log
            ) as process,
        ):
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture(scope="module")
def image(bare_debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Build the Containerfile, and mount what comes of it."""
    folder = tmp_path_factory.mktemp("image")
    store = ["--root", str(folder / "store"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"]

    def buildah(*words: str) -> str:
        done = subprocess.run(
            ["buildah", *store, *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout.strip()

    base = buildah("from", "scratch")
    buildah("add", "-q", base, str(bare_debian), "/")
    buildah("commit", "-q", "--rm", base, "localhost/base")
    here = [
        f"--env={name}={value}" for name, value in os.environ.items() if name in {"PIP_CERT", "PIP_INDEX_URL"}
    ]
    options = ["--isolation", "chroot", "--network", "host", "--format", "docker", *here]
    buildah("build", *options, "--build-arg", "BASE=localhost/base", "-t", "localhost/rollout", ".")
    config = json.loads(buildah("inspect", "--type", "image", "localhost/rollout"))["Docker"]["config"]
    root = Path(buildah("mount", buildah("from", "localhost/rollout")))
    (root / "etc/rollout-controller").mkdir()
    yield Image(root, config)
    buildah("umount", "--all")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "rollout.toml").write_text(CONFIG, encoding="utf-8")
    for path in (tmp_path, tmp_path / "config"):
        path.chmod(0o755)
    return tmp_path


def answer(port: int, path: str) -> tuple[int, str]:
    """Ask a probe; 0 while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as got:
            return got.status, got.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def role(port: int) -> str:
    text = answer(port, "/readyz")[1]
    return str(json.loads(text)["role"]) if text else ""


def test_two_replicas_run_without_rights_have_one_leader_and_stop_in_time(
    image: Image, folder: Path, redis_server: RedisServer
) -> None:
    ports = [free_port(), free_port()]
    given = {"ROLLOUT_CONFIG": "/etc/rollout-controller/rollout.toml", "ROLLOUT_REDIS_URL": redis_server.url}
    with ExitStack() as stack:
        both = [
            stack.enter_context(image.run(folder, port, ROLLOUT_LISTEN=f"127.0.0.1:{port}", **given))
            for port in ports
        ]
        wait_until(lambda: sorted(map(role, ports)) == ["leader", "standby"], 60, "one leader")
        for port, process in zip(ports, both, strict=True):
            assert answer(port, "/healthz")[0] == 200
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            assert "\nUid:\t10001\t10001\t10001\t10001\n" in status
            assert healthy(image, port)
        leader = both[[role(port) for port in ports].index("leader")]
        for process in (leader, *(one for one in both if one is not leader)):
            assert seconds_to_stop(process) <= 5 * patience()


def test_a_sender_is_the_same_image_with_another_word(
    image: Image, folder: Path, redis_server: RedisServer
) -> None:
    port = free_port()
    given = {"ROLLOUT_SENDER_LISTEN": f"127.0.0.1:{port}", "ROLLOUT_REDIS_URL": redis_server.url}
    with image.run(folder, port, "serve", **given) as process:
        wait_until(lambda: answer(port, "/healthz")[0] == 200, 60, "the sender")
        assert "action_exec_total" in answer(port, "/metrics")[1]
        assert seconds_to_stop(process) <= 5 * patience()


def healthy(image: Image, port: int) -> bool:
    """Run the image's own health check, for another port than its own."""
    _, *command = image.config["Healthcheck"]["Test"]
    words = [word.replace("8003", str(port)) for word in command]
    path = dict(pair.split("=", 1) for pair in image.config["Env"])["PATH"]
    asked = [str(shutil.which("chroot")), "--userspec=10001:10001", str(image.root), *words]
    return subprocess.run(asked, env={"PATH": path}, check=False).returncode == 0


def seconds_to_stop(process: "subprocess.Popen[bytes]") -> float:
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    return time.monotonic() - asked
