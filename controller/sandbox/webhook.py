"""Receives Alertmanager's notices on loopback, and remembers which alert was told firing and resolved."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

AlertKey = tuple[str, str]
"""(alert name, feature label or nothing)."""


class ReceivedNotices:
    """The statuses that were told of each alert."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[AlertKey, set[str]] = {}

    def take(self, body: bytes) -> None:
        """Take what Alertmanager posted."""
        with self._lock:
            for alert in json.loads(body).get("alerts", []):
                labels = alert["labels"]
                key = (labels["alertname"], labels.get("feature", ""))
                self._seen.setdefault(key, set()).add(alert["status"])

    def of(self, name: str, feature: str) -> set[str]:
        """Return the statuses of an alert; the feature counts only where a rule exists per feature."""
        with self._lock:
            keys = [(name, feature)] if feature else [key for key in self._seen if key[0] == name]
            return set[str]().union(*(self._seen.get(key, set()) for key in keys))


@contextmanager
def receiving(notices: ReceivedNotices) -> Iterator[int]:
    """Listen on a free port while the context lasts; gives the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            notices.take(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
