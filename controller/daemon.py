"""The daemon: one APScheduler job that ticks, signals, systemd; the HTTP server keeps the main thread."""

import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog
import uvicorn
from apscheduler.schedulers.background import BackgroundScheduler
from prometheus_client import REGISTRY
from starlette.routing import BaseRoute

from controller.decision.model import Kind
from controller.evidence import Lengths
from controller.features import ConfigError
from controller.flagstore import DryRunStore, FlagStore, RedisFlagStore, connect
from controller.journal import FileJournal, Journal, Journals, LogJournal
from controller.lease import Lease, NoLease, RedisLease
from controller.prometheus import PrometheusSource
from controller.settings import Settings, load_settings
from controller.telemetry import Telemetry
from controller.tick import Controller, Report

if TYPE_CHECKING:
    from controller.face import Gate

_REDIS_TIMEOUT_S = 2.0


@dataclass(slots=True)
class Health:
    """What /readyz tells, kept from the last tick."""

    interval_s: float
    last_tick_at: float = 0.0
    report: Report = field(default_factory=Report)

    def note(self, report: Report, monotonic: float) -> None:
        self.report = report
        self.last_tick_at = monotonic

    def fresh(self, monotonic: float) -> bool:
        return self.last_tick_at > 0 and monotonic - self.last_tick_at < 3 * self.interval_s + 5


def open_store(settings: Settings, *, dry_run: bool = False) -> FlagStore:
    """Open the flag store of the settings; a dry run's changes nothing."""
    timeout_s = min(_REDIS_TIMEOUT_S, settings.tick_deadline_s / 3)
    store = RedisFlagStore(connect(settings.redis_url, timeout_s), decisions_kept=settings.decisions_kept)
    return DryRunStore(store) if dry_run else store


def open_source(settings: Settings) -> PrometheusSource:
    return PrometheusSource(
        settings.prometheus_url,
        Lengths(settings.window_s, settings.scrape_s),
        rules_url=settings.rules_url,
        token=settings.prometheus_token,
        request_timeout_s=settings.request_timeout_s,
    )


def open_controller(settings: Settings, *, dry_run: bool, journal: Journal) -> Controller:
    """Put a controller together from its settings."""
    lease: Lease = NoLease()
    if not dry_run:
        timeout_s = min(_REDIS_TIMEOUT_S, settings.tick_deadline_s / 3)
        client = connect(settings.redis_url, timeout_s)
        lease = RedisLease(client, lease_s=settings.lease_s, monotonic=time.monotonic)
    return Controller(
        settings.features,
        store=open_store(settings, dry_run=dry_run),
        source=open_source(settings),
        lease=lease,
        journal=journal,
        wall=time.time,
        monotonic=time.monotonic,
        window_s=settings.window_s,
        deadline_s=settings.tick_deadline_s,
        dry_run=dry_run,
    )


def open_journal(settings: Settings) -> Journal:
    log = LogJournal(unchanged_holds=settings.log_unchanged_holds)
    return log if settings.journal is None else Journals(log, FileJournal(settings.journal))


class Daemon:
    """Ticks in the background until it is told to stop."""

    def __init__(self, settings: Settings, *, dry_run: bool) -> None:
        self.settings = settings
        self.health = Health(settings.interval_s)
        self._ticking = threading.Lock()
        self._dry_run = dry_run
        self._journal = open_journal(settings)
        self._controller = open_controller(settings, dry_run=dry_run, journal=self._journal)
        self._telemetry = Telemetry(settings.features, REGISTRY)
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._log = structlog.get_logger("daemon")
        self._trouble = ""
        self._notified = False
        self._reload_asked = False

    def tick(self) -> Report:
        """Tick once and tell everybody how it went; one that was asked for waits for the one under way."""
        with self._ticking:
            return self._tick()

    def _tick(self) -> Report:
        if self._reload_asked:
            self._reload_asked = False
            self.reload()
        report = self._controller.tick()
        self.health.note(report, time.monotonic())
        self._telemetry.note(report, time.time())
        self._say_trouble(report)
        notify("WATCHDOG=1", *self._news(report))
        return report

    def run(self, routes: Sequence[BaseRoute] = (), gate: "Gate | None" = None) -> None:
        """Tick and serve until SIGTERM or SIGINT; a tick under way is finished."""
        self._scheduler.add_job(
            self.tick,
            "interval",
            seconds=self.settings.interval_s,
            next_run_time=datetime.fromtimestamp(time.time(), UTC),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )
        self._scheduler.start()
        signal.signal(signal.SIGHUP, self._ask_for_reload)
        # uvicorn raises the signal that ended it once more when it is done: it must not end what comes after.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _already_told)
        try:
            self._server(routes, gate).run()
        finally:
            notify("STOPPING=1")
            self._scheduler.shutdown(wait=True)
            self._controller.release()

    def _server(self, routes: Sequence[BaseRoute], gate: "Gate | None") -> uvicorn.Server:
        """Make the HTTP server; open event streams end when it is told to stop, so they do not hold it up."""
        from controller.face import Face  # noqa: PLC0415 - what is served is not needed for a single tick
        from controller.server import build_app  # noqa: PLC0415

        host, port = self.settings.listen_address
        face = Face(
            health=self.health,
            settings=lambda: self.settings,
            store=open_store(self.settings),
            journal=self._journal,
            gate=gate,
            dry_run=self._dry_run,
            tick_soon=self.tick_soon,
            stopping=lambda: server.should_exit,
        )
        config = uvicorn.Config(
            build_app(face, routes),
            host=host,
            port=port,
            log_config=None,
            timeout_graceful_shutdown=1,
            server_header=False,
        )
        server = uvicorn.Server(config)
        return server

    def tick_soon(self) -> None:
        """Ask for a tick now, or right after the one under way."""
        self._scheduler.add_job(self.tick, misfire_grace_time=None)

    def reload(self) -> None:
        """Read the configuration anew; a bad file is refused and the old one stays."""
        try:
            settings = load_settings(self.settings.config_path)
        except ConfigError as error:
            self._log.error("reload_refused", error=str(error))
            return
        self._controller.use(settings.features)
        self.settings = replace(self.settings, features=settings.features)
        self._log.info("reloaded", features=sorted(settings.features))

    def _ask_for_reload(self, *_: object) -> None:
        self._reload_asked = True

    def _say_trouble(self, report: Report) -> None:
        """Log a neighbour's loss once, and its return once."""
        trouble = report.error or report.source_problem
        if trouble and not self._trouble:
            self._log.error("neighbour_lost", error=trouble)
        elif self._trouble and not trouble:
            self._log.warning("neighbour_back", was=self._trouble)
        self._trouble = trouble

    def _news(self, report: Report) -> list[str]:
        steps = [record for record in report.records if record["kind"] != Kind.HOLD]
        news = [f"STATUS={record['feature']}: {record['kind']} ({record['reason']})" for record in steps[-1:]]
        if not self._notified and not report.error:
            self._notified = True
            news.append("READY=1")
        return news


def _already_told(*_: object) -> None:
    """Do nothing: the server ends already."""


def notify(*lines: str) -> None:
    """Tell systemd where it listens: one datagram to NOTIFY_SOCKET, '@' is an abstract one (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            channel.send("\n".join(lines).encode())
        except OSError as error:
            structlog.get_logger("daemon").warning("notify_failed", error=str(error))
