"""Senders whose counters follow from their age, and addresses behind which any number of them answer."""

import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

from worlds.snapshots import FEATURE

from controller.contract import ACTION_ERROR_TOTAL, ACTION_EXEC_TOTAL, ACTION_LATENCY_SECONDS

PER_S = 200.0
"""Sends a second of each sender."""
PAIR = f'provider="{FEATURE.provider}",action="{FEATURE.action}"'


class Sender:
    """A process that sends steadily: its counters follow from its age, so it needs no thread."""

    def __init__(self, failing: float = 0.0, age_s: float = 0.0, edges: tuple[str, ...] = ("0.5",)) -> None:
        self.born = time.time()
        self.failing, self.edges, self.before = failing, edges, PER_S * age_s
        self.started = self.born - age_s

    def text(self) -> str:
        sends = int(self.before + PER_S * (time.time() - self.born))
        errors = int(sends * self.failing)
        lines = [
            f"process_start_time_seconds {self.started!r}",
            f'{ACTION_EXEC_TOTAL}{{{PAIR},status="ok"}} {sends - errors}',
            f'{ACTION_EXEC_TOTAL}{{{PAIR},status="error"}} {errors}',
            f"{ACTION_ERROR_TOTAL}{{{PAIR}}} {errors}",
            *(
                f'{ACTION_LATENCY_SECONDS}_bucket{{{PAIR},status="ok",le="{edge}"}} {sends}'
                for edge in (*self.edges, "+Inf")
            ),
        ]
        return "\n".join(lines) + "\n"


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing of a scrape that Prometheus gave up."""


class Address:
    """One address on loopback, behind which any number of senders answer in turn; none is a failure."""

    def __init__(self, *senders: Sender) -> None:
        self.senders = list(senders)
        self._turn, self._lock = 0, Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                sender = outer.next()
                self.send_response(503 if sender is None else 200)
                self.end_headers()
                self.wfile.write(b"" if sender is None else sender.text().encode())

            def log_message(self, *_: object) -> None:
                return None

        self._http = _Quiet(("127.0.0.1", 0), Handler)
        self.port = self._http.server_port
        Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def next(self) -> Sender | None:
        with self._lock:
            self._turn += 1
            return self.senders[self._turn % len(self.senders)] if self.senders else None

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
