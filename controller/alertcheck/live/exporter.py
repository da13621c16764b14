"""A synthetic exporter: senders and a controller on loopback, whose behaviour changes while they run."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from controller.alertcheck.cases.own_expected import MISSED
from controller.alertcheck.cases.synthetic_series import Key, Phase, rates_per_s
from controller.contract import (
    ROLLOUT_FEATURE_PAUSED,
    ROLLOUT_HELD_SECONDS,
    ROLLOUT_JOURNAL_DISAGREEMENT,
    ROLLOUT_LAST_TICK_TIMESTAMP_SECONDS,
    ROLLOUT_LEADER,
    ROLLOUT_TICKS_TOTAL,
    ROLLOUT_UNWATCHED_FEATURES,
)
from controller.decision.feature import RolloutFeature

GROUP = "synthetic;rollout_evidence"


class Exporter:
    """What two senders and a controller export. Change it with `change`; what is not given is healthy."""

    def __init__(self, features: Sequence[RolloutFeature], healthy: Phase) -> None:
        self._features = features
        self._healthy = healthy
        self._lock = threading.Lock()
        self._totals = dict[Key, float]()
        self._before = dict[Key, float]()
        """What was counted before the last restart."""
        self._since = time.monotonic()
        self.started_at = time.time()
        self.change()

    def change(
        self,
        traffic: Phase | None = None,
        *,
        failing_ticks: bool = False,
        still: bool = False,
        leaders: int = 1,
        paused: bool = False,
        disagrees: bool = False,
        held: bool = False,
        unwatched: int = 0,
        missed: bool = False,
        first_sender: bool = True,
        second_sender: bool = True,
        controller: bool = True,
    ) -> None:
        """From now on be like this."""
        with self._lock:
            self._settle()
            self._rates = dict[Key, float]()
            for feature in self._features:
                self._rates |= rates_per_s(feature, traffic or self._healthy)
            self._rates |= _ticks(0.0 if still else 2.0, failing_ticks)
            self._rates[MISSED, (("rule_group", GROUP),)] = 2.0 if missed else 0.0
            self._leaders, self._still_since = leaders, time.time() if still else None
            self._paused, self._disagrees, self._held = paused, disagrees, held
            self._unwatched = unwatched
            self.first_sender, self.second_sender, self.controller = first_sender, second_sender, controller

    def _settle(self) -> None:
        """Add what was counted since the last time; the caller holds the lock."""
        now = time.monotonic()
        for key, per_s in getattr(self, "_rates", {}).items():
            self._totals[key] = self._totals.get(key, 0.0) + per_s * (now - self._since)
        self._since = now

    def restart(self) -> None:
        """Start again, as processes that were started again: with every counter at 0."""
        with self._lock:
            self._settle()
            self._before = self._all()
            self._totals = dict.fromkeys(self._totals, 0.0)
            self.started_at = time.time()

    def totals(self) -> dict[Key, float]:
        """Return what was counted up to now, before restarts too."""
        with self._lock:
            self._settle()
            return self._all()

    def _all(self) -> dict[Key, float]:
        return {key: value + self._before.get(key, 0.0) for key, value in self._exported().items()}

    def _exported(self) -> dict[Key, float]:
        """Return the counters with few digits, so that VictoriaMetrics gives them back unchanged.

        A counter whose last digits change from one reading to the next may seem to fall, and to start again.
        """
        return {key: round(value, 3) for key, value in self._totals.items()}

    def senders_text(self) -> str:
        """Return what the senders export, as Prometheus scrapes it."""
        with self._lock:
            self._settle()
            values = {key: value for key, value in self._exported().items() if key[0] != ROLLOUT_TICKS_TOTAL}
            values["process_start_time_seconds", ()] = self.started_at
        return _text(values)

    def controller_text(self) -> str:
        """Return what the controller exports, as Prometheus scrapes it."""
        with self._lock:
            self._settle()
            values = {key: value for key, value in self._exported().items() if key[0] == ROLLOUT_TICKS_TOTAL}
        values[ROLLOUT_LAST_TICK_TIMESTAMP_SECONDS, ()] = self._still_since or time.time()
        values[ROLLOUT_LEADER, ()] = self._leaders
        values[ROLLOUT_UNWATCHED_FEATURES, ()] = self._unwatched
        for feature in self._features:
            label = (("feature", feature.name),)
            values[ROLLOUT_FEATURE_PAUSED, label] = float(self._paused)
            values[ROLLOUT_JOURNAL_DISAGREEMENT, label] = float(self._disagrees)
            values[ROLLOUT_HELD_SECONDS, label] = feature.longest_hold_s * (1.5 if self._held else 0.1)
        return _text(values)


def _ticks(per_s: float, failing: bool) -> dict[Key, float]:
    return {
        (ROLLOUT_TICKS_TOTAL, (("outcome", "ok"),)): per_s * (0.2 if failing else 1),
        (ROLLOUT_TICKS_TOTAL, (("outcome", "error"),)): per_s * (0.8 if failing else 0),
    }


def _text(values: Mapping[Key, float]) -> str:
    def line(name: str, labels: tuple[tuple[str, str], ...], value: float) -> str:
        inside = ",".join(f'{label}="{text}"' for label, text in labels)
        return f"{name}{{{inside}}} {value!r}\n"

    return "".join(line(name, labels, value) for (name, labels), value in values.items())


@contextmanager
def serving(exporter: Exporter) -> Iterator[tuple[int, int, int]]:
    """Serve two senders and the controller, each on a port of its own; gives the three ports."""

    def first() -> str | None:
        return exporter.senders_text() if exporter.first_sender else None

    def second() -> str | None:
        return "" if exporter.second_sender else None

    def controller() -> str | None:
        return exporter.controller_text() if exporter.controller else None

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), _handler(read)) for read in (first, second, controller)]
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        ports = [int(server.server_address[1]) for server in servers]
        yield ports[0], ports[1], ports[2]
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def _handler(read: Callable[[], str | None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = read()
            self.send_response(200 if text is not None else 503)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, *_: object) -> None:
            pass

    return Handler
