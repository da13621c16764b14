"""Starts the demo's processes, each on a free port, and ends every one of them whatever happens."""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_GRACE_S = 5.0


class StartError(Exception):
    """A process did not start; the message has the end of what it printed."""


@dataclass(slots=True)
class Process:
    """One child process and what a reader wants to know of it."""

    name: str
    port: int
    command: Sequence[str]
    env: Mapping[str, str]
    log: Path
    popen: "subprocess.Popen[bytes]"

    @property
    def pid(self) -> int:
        """The process id."""
        return self.popen.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, while it runs."""
        if self.alive:
            self.popen.send_signal(number)


class Processes:
    """Children that do not outlive this process, not even when it is killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: dict[str, Process] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, port: int, command: Sequence[str], **env: str) -> Process:
        """Start a child; its output goes to a file in the folder."""
        log = self.folder / f"{name}.log"
        environment = {**os.environ, **env}
        with log.open("ab") as output:
            popen = subprocess.Popen(
                [*_with_parent(), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=self.folder,
                start_new_session=True,
            )
        self.all[name] = Process(name, port, command, env, log, popen)
        return self.all[name]

    def start_again(self, name: str) -> Process:
        """Start a child again that has died, as it was."""
        old = self.all[name]
        old.popen.wait(_GRACE_S)
        return self.start(name, old.port, old.command, **old.env)

    def wait_for(self, process: Process, ready: Callable[[], bool], within_s: float = 60.0) -> None:
        """Wait until a child answers; raises StartError when it ends or takes too long."""
        deadline = time.monotonic() + within_s
        while not ready():
            if not process.alive or time.monotonic() > deadline:
                end = process.log.read_text(errors="replace")[-800:]
                raise StartError(
                    f"{process.name} did not start: {' '.join(end.split()) or 'it said nothing'}"
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """End all children, the youngest first; who does not end in time is killed."""
        processes = [process for process in reversed(self.all.values()) if process.alive]
        for process in processes:
            process.signal(signal.SIGCONT)
            process.signal(signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_S
        for process in processes:
            try:
                process.popen.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.popen.wait()


def free_port() -> int:
    """Return a TCP port of loopback that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(url: str) -> Callable[[], bool]:
    """Return a check whether this URL answers 2xx."""

    def ready() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310 - loopback URLs of the demo
                return bool(200 <= response.status < 300)
        except (urllib.error.URLError, OSError):
            return False

    return ready


def _with_parent() -> list[str]:
    """End the child with this process, where util-linux is there to arrange it."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
