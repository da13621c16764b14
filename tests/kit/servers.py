"""Real servers for tests, on free loopback ports: Redis, Prometheus, and a Proxy that spoils the weather."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import redis
from kit.redis_tls import RedisCertificates
from redis.backoff import NoBackoff
from redis.retry import Retry

START_WITHIN_S = 60.0
STOP_WITHIN_S = 30.0
_ANY = random.SystemRandom()
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_given: set[int] = set()


def free_port() -> int:
    """Return a loopback port for a server: free now, and given to no client's connection and no other test.

    Where nobody shall ever answer, a test says port 1 instead: this port is another server's minutes later.
    """
    while True:
        port = _ANY.randrange(10_000 + _WORKER, 32_000, _WORKERS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Stop a process as SIGSTOP does, and wait until all of it stands: a busy machine takes a while."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


class RedisServer:
    """One redis-server that starts empty; it may be frozen, killed and started again on its port."""

    def __init__(
        self, folder: Path, *options: str, port: int | None = None, tls: RedisCertificates | None = None
    ) -> None:
        self.port = port or free_port()
        self.tls = tls
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the redis-server does not run")
        return self._process.pid

    def client(self) -> redis.Redis:
        """Make a client for the test itself; the caller closes it."""
        return redis.Redis(**self._to(5), decode_responses=True)

    def _to(self, timeout_s: float) -> dict[str, Any]:
        return {"port": self.port, "socket_timeout": timeout_s, **(self.tls.client if self.tls else {})}

    def start(self) -> Self:
        """Start, and wait until it answers; raises RuntimeError when it does not in time."""
        ports = self.tls.settings(self.port) if self.tls else {"port": str(self.port)}
        command = ["redis-server", *(word for name, text in ports.items() for word in (f"--{name}", text))]
        command += ["--bind", "127.0.0.1", "--save", ""]
        command += ["--appendonly", "no", "--rdbcompression", "no", "--dbfilename", f"left-{self.port}.rdb"]
        command += ["--dir", str(self._folder), *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_WITHIN_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"redis-server did not start on port {self.port}")
            time.sleep(0.01)
        return self

    def _answers(self) -> bool:
        """Whether this very process answers: another server may have taken the port."""
        with redis.Redis(**self._to(1)) as client:
            try:
                return int(client.info("server")["process_id"]) == self.pid
            except redis.RedisError:
                return False

    def freeze(self) -> None:
        """Stop it as a hanging machine would: connections stay open, nothing answers."""
        if self._process is not None:
            stop(self._process)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a farewell; what it held is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_WITHIN_S)
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it at a test's end; what it held stays in its folder, where the search for secrets looks."""
        if self._process is not None:
            with (
                contextlib.suppress(redis.RedisError),
                redis.Redis(**self._to(1), retry=Retry(NoBackoff(), 0)) as client,
            ):
                client.save()
        self.kill()


class PrometheusServer:
    """One Prometheus over a configuration given as text; it may be frozen, killed and started again."""

    def __init__(self, folder: Path, configuration: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self._folder = folder
        self._configuration = configuration
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start, and wait until it is ready; what it stored before is there again."""
        config = self._folder / "prometheus.yml"
        config.write_text(self._configuration, encoding="utf-8")
        command = ["prometheus", f"--config.file={config}", f"--web.listen-address=127.0.0.1:{self.port}"]
        command += [f"--storage.tsdb.path={self._folder / 'tsdb'}", "--log.level=error"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_WITHIN_S
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"prometheus did not start on port {self.port}")
            time.sleep(0.02)
        return self

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def freeze(self) -> None:
        if self._process is not None:
            stop(self._process)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_WITHIN_S)
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()


class Proxy:
    """A TCP proxy on loopback before one port, whose weather changes while it runs.

    `cut` ends the connections there are, `refuse` new ones too; `half_open` makes those there are swallow
    every byte while new ones work, `hang` all of them; `delay_s` holds each piece back; `heal` ends it all.
    """

    def __init__(self, target_port: int) -> None:
        self.delay_s = 0.0
        self._target_port = target_port
        self._hanging = False
        self._links: list[_Link] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self.port = free_port()

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def cut(self) -> None:
        with self._lock:
            links, self._links = self._links, []
        for link in links:
            link.close()

    def refuse(self) -> None:
        self._stop_listening()
        self.cut()

    def half_open(self) -> None:
        with self._lock:
            for link in self._links:
                link.swallowing = True

    def hang(self) -> None:
        self._hanging = True
        self.half_open()

    def heal(self) -> None:
        """Let new connections through again; half-open ones stay so until they are cut."""
        self.delay_s, self._hanging = 0.0, False
        if self._listener is None:
            self._listen()

    def retarget(self, port: int) -> None:
        """Lead new connections to another port, and end those there are."""
        self._target_port = port
        self.cut()

    def close(self) -> None:
        self.refuse()
        for thread in self._threads:
            thread.join(STOP_WITHIN_S)

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._run(self._accept, self._listener)

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            _shut(listener)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                link = _Link(near, socket.create_connection(("127.0.0.1", self._target_port), timeout=1))
            except OSError:
                _shut(near)
                continue
            link.swallowing = self._hanging
            with self._lock:
                self._links.append(link)
            if self._listener is not listener:
                link.close()
            self._run(self._pump, link, link.near, link.far)
            self._run(self._pump, link, link.far, link.near)

    def _pump(self, link: "_Link", source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if self.delay_s:
                    time.sleep(self.delay_s)
                if not link.swallowing:
                    sink.sendall(data)
        if not link.swallowing:
            link.close()

    def _run(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()


class _Link:
    """One connection through the proxy: the client's side and the server's."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near, self.far = near, far
        far.settimeout(None)
        self.swallowing = False

    def close(self) -> None:
        _shut(self.near)
        _shut(self.far)


def _shut(connection: socket.socket) -> None:
    """Close a socket so that a thread waiting in it wakes up."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
