"""Exports the metrics of each process on a port of its own, whatever host runs it: gunicorn, Celery, uvicorn.

Prometheus must meet every process by itself. So each takes the first free port of a range that is listed once
in the scrape configuration; the process that replaces it finds that port free again.
"""

import errno
import itertools
import logging
import os
import threading
import time
from pathlib import Path
from wsgiref.simple_server import WSGIServer

from prometheus_client import REGISTRY, start_http_server

from adapter.gate.rollout_gate import RolloutGate
from adapter.sending.metrics import SendMetrics, complete_metrics
from adapter.settings import Settings, SettingsError
from controller.features import load_features

RETRY_S = 0.2
"""Between two looks for a free port."""

REMIND_TRIES = 300
"""After so many looks the log repeats that this process is not measured: once a minute."""

log = logging.getLogger("rollout.metrics")


def serve_metrics(port_base: int, processes: int = 1, *, host: str = "127.0.0.1") -> None:
    """Export this process's metrics on the first free of `processes` ports from `port_base`; open its gate.

    Call it once in each process that sends, after the fork; a second call changes nothing. Where all ports
    are taken, as while the process that this one replaces still ends, it keeps trying in the background, and
    the log says so. Raises SettingsError.
    """
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        raise SettingsError(
            "PROMETHEUS_MULTIPROC_DIR mixes the counts of all processes, and no rollout can be judged by "
            "them; unset it for the processes that send"
        )
    if port_base < 1 or processes < 1 or port_base + processes > 65_536:
        raise SettingsError(f"there are no {processes} ports from {port_base}; as in serve_metrics(8021, 2)")
    with _Server.lock:
        if _Server.of_this_process is None:
            server = _Server(port_base, processes, host)
            server.start()
            _Server.of_this_process = server


def serve_metrics_after_fork() -> None:
    """Export the metrics of a process whose parent does; the parent's port is the parent's alone."""
    parent = _Server.of_parent
    if parent is not None and _Server.of_this_process is None:
        SendMetrics.of({}).begin_at_zero()
        serve_metrics(parent.port_base, parent.processes, host=parent.host)


class _Server:
    """What one process exports, and the gate whose flags it shows."""

    lock = threading.Lock()
    of_this_process: "_Server | None" = None
    of_parent: "_Server | None" = None

    def __init__(self, port_base: int, processes: int, host: str) -> None:
        self.port_base, self.processes, self.host = port_base, processes, host
        self.listening: WSGIServer | None = None
        self._gate: RolloutGate | None = None

    def start(self) -> None:
        """Open the gate and make all metrics; Prometheus sees them only then."""
        settings = Settings.from_environment()
        features = load_features(Path(settings.config_file) if settings.config_file else None)
        self._gate = RolloutGate.start(settings.redis_url, features, settings.internal_domains)
        complete_metrics(features, self._gate, REGISTRY)
        if not self._listen():
            self._warn()
            threading.Thread(target=self._keep_trying, name="rollout-metrics", daemon=True).start()

    def _listen(self) -> bool:
        """Take the first free port; return whether there was one."""
        for port in range(self.port_base, self.port_base + self.processes):
            try:
                self.listening, _ = start_http_server(port, addr=self.host)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise SettingsError(f"no metrics on {self.host}:{port} ({error.strerror})") from error
            else:
                log.info("metrics of process %d: http://%s:%d/metrics", os.getpid(), self.host, port)
                return True
        return False

    def _keep_trying(self) -> None:
        for tries in itertools.count(1):
            time.sleep(RETRY_S)
            if self._listen():
                return
            if tries % REMIND_TRIES == 0:
                self._warn()

    def _warn(self) -> None:
        log.warning(
            "process %d is not measured: all %d ports from %d are taken. A process that is replaced leaves "
            "one when it ends; where more processes run, tell serve_metrics how many",
            *(os.getpid(), self.processes, self.port_base),
        )


def _forget_parent() -> None:
    """In a forked child: leave the parent's port to the parent, whose threads are not here."""
    _Server.lock = threading.Lock()
    _Server.of_parent, _Server.of_this_process = _Server.of_this_process or _Server.of_parent, None
    if _Server.of_parent and _Server.of_parent.listening:
        _Server.of_parent.listening.socket.close()


os.register_at_fork(after_in_child=_forget_parent)
