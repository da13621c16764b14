"""The daemon: one APScheduler job that ticks, signals, systemd; the HTTP server keeps the main thread."""

import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

import structlog
import uvicorn
from apscheduler.events import EVENT_JOB_MAX_INSTANCES
from apscheduler.schedulers.background import BackgroundScheduler
from prometheus_client import REGISTRY
from starlette.routing import BaseRoute

from controller.config.agreement import deciding_hash
from controller.config.settings import NO_SETTINGS, ControllerSettings, load_settings
from controller.daemon.metrics import DaemonMetrics
from controller.daemon.systemd import notify
from controller.daemon.wiring import Parts, assemble
from controller.decision.judging.live_late import LOOK_S
from controller.decision.model import Kind
from controller.loop.tick import Report
from controller.shared.config_file import ConfigError
from controller.shared.log_on_change import ClockWatch, LogOnChange, OutageLog
from controller.shared.redis_pool import open_redis
from controller.store.flag_store import StoreError
from controller.store.live_sight import read_sights
from controller.store.opening import open_store, redis_timeout_s
from controller.web.guard.connections import listen_on, server_config

if TYPE_CHECKING:
    from controller.notify.delivery import Mailer
    from controller.web.context import EvaluatesGate

_STOP_WITHIN_S = 4.5
"""From the signal to the end, whatever hangs. Ending in the midst of a tick is as safe as being killed."""
_TICK_GRACE_S = 1.5
_PULSE_S = 0.5


@dataclass(slots=True)
class DaemonHealth:
    """What /readyz tells, kept from the last tick."""

    interval_s: float
    last_tick_at: float = 0.0
    report: Report = field(default_factory=Report)
    reloads: int = 0
    """How often the configuration was read again, well or not."""
    config_error: str = ""
    """Why the last reload was refused."""
    pid: int = field(default_factory=os.getpid)
    unwatched: tuple[str, ...] = ()
    """Features that are enabled in Redis and in no configuration here."""
    config_agrees: bool = True

    def note(self, report: Report, monotonic: float) -> None:
        """Note the newest tick."""
        self.report = report
        self.last_tick_at = monotonic

    def fresh(self, monotonic: float) -> bool:
        """Whether the last tick is recent."""
        return self.last_tick_at > 0 and monotonic - self.last_tick_at < 3 * self.interval_s + 5


class Daemon:
    """Ticks in the background until it has to stop."""

    def __init__(self, settings: ControllerSettings, *, dry_run: bool) -> None:
        self.settings = settings
        self.health = DaemonHealth(settings.interval_s)
        self._dry_run = dry_run
        self._parts: Parts = assemble(settings, dry_run=dry_run)
        self._telemetry = DaemonMetrics(settings.features, REGISTRY)
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._ticking = threading.Lock()
        self._stopping = threading.Event()
        self._outages = OutageLog()
        self._said = LogOnChange()
        self._log = structlog.get_logger("daemon")
        self._notified = False
        self._reload_asked = False
        self._start_adapter: Callable[[], Awaitable[None]] | None = None

    def tick(self) -> Report:
        """Tick once and tell everybody how it went; one that was asked for waits for the one under way."""
        with self._ticking:
            if self._reload_asked:
                self._reload_asked = False
                self.reload()
            try:
                report = self._parts.controller.tick()
            except Exception as error:  # noqa: BLE001 - a daemon that stops ticking pauses nobody
                self._log.exception("tick_failed")
                report = Report(error=f"this controller failed: {error!r}", ours=True)
            self._tell(report)
            self._oversee(report)
            return report

    def run(
        self,
        routes: Sequence[BaseRoute] = (),
        gate: "EvaluatesGate | None" = None,
        mailer: "Mailer | None" = None,
        start_adapter: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Tick and serve until SIGTERM or SIGINT. Raises ListenError."""
        self._start_adapter = start_adapter
        server = self._server(routes, gate, mailer)
        listening = listen_on(*self.settings.listen_address)
        signal.signal(signal.SIGHUP, self._ask_for_reload)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None if server.started else sys.exit(0))
        self._schedule()
        for work in (self._pulse, self._watch_live):
            threading.Thread(target=work, name=work.__name__.strip("_"), daemon=True).start()
        try:
            server.run(sockets=[listening])
        finally:
            self._stop()

    def tick_soon(self) -> None:
        """Ask for a tick now, or right after the one under way."""
        self._scheduler.add_job(self.tick, id="soon", replace_existing=True, misfire_grace_time=None)

    def reload(self) -> None:
        """Read the configuration again; a bad file is refused and the old one stays."""
        self.health.reloads += 1
        try:
            settings = load_settings(self.settings.config_path)
            self._refuse_unwatched(settings)
        except (ConfigError, StoreError) as error:
            self.health.config_error = str(error)
            self._telemetry.reloaded(refused=True)
            self._log.error("reload_refused", error=str(error))
            return
        self.health.config_error = ""
        self._telemetry.reloaded(refused=False)
        self._telemetry.use(settings.features)
        self._parts.controller.use(settings.features)
        if self._parts.guard:
            self._parts.guard.use(settings.features)
        waiting = _differing(self.settings, settings)
        self.settings = replace(self.settings, features=settings.features)
        self._log.info("reloaded", features=sorted(settings.features), wait_for_restart=waiting)

    def _refuse_unwatched(self, settings: ControllerSettings) -> None:
        """Raise ConfigError where a feature that is enabled would be watched no longer."""
        dropped = sorted(self.settings.features.keys() - settings.features.keys())
        stored = open_store(self.settings).read(dropped)
        for name in (one.feature for one in stored if one.flags.enabled):
            raise ConfigError(
                f"{name} is enabled and would be unwatched: keep [features.{name}], "
                f"or first `rollout disable {name}`"
            )

    def _oversee(self, report: Report) -> None:
        """Look at what is beside this controller's features; the tick says when Redis is away."""
        oversight, settings, health = self._parts.oversight, self.settings, self.health
        if report.error:
            return
        try:
            health.unwatched = oversight.unwatched(settings.features)
            leads = report.leader and not self._dry_run
            health.config_agrees = oversight.agrees(deciding_hash(settings), leads=leads)
        except StoreError:
            return
        self._telemetry.note_oversight(len(health.unwatched), config_agrees=health.config_agrees)
        unwatched = ", ".join(health.unwatched)
        if self._said.is_new("unwatched", unwatched):
            self._log.error("unwatched_features", features=unwatched, meaning="enabled, in no configuration")
        differs = "" if health.config_agrees else "the leader decides by another configuration"
        if self._said.is_new("config", differs):
            self._log.error("config_differs", meaning=differs)

    def _schedule(self) -> None:
        self._scheduler.add_job(
            self.tick,
            "interval",
            id="tick",
            seconds=self.settings.interval_s,
            next_run_time=_now(),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )
        self._scheduler.add_listener(lambda _: self._telemetry.skipped(), EVENT_JOB_MAX_INSTANCES)
        self._scheduler.start()

    def _pulse(self) -> None:
        """Do what cannot wait for a tick. APScheduler goes by the wall clock: set back, it would sleep on."""
        clock = ClockWatch(time.time(), time.monotonic())
        while not self._stopping.wait(_PULSE_S):
            if self._reload_asked:
                self.tick_soon()
            step_s = clock.stepped_s(time.time(), time.monotonic())
            if step_s:
                self._log.warning("clock_stepped", by_s=round(step_s, 1))
                self._telemetry.clock_stepped()
                self._scheduler.modify_job("tick", next_run_time=_now())

    def _watch_live(self) -> None:
        """Look at the live counts once a second while this controller leads."""
        due = time.monotonic()
        while not self._stopping.wait(max(due - time.monotonic(), 0.0)):
            due = max(due + LOOK_S, time.monotonic())
            if time.monotonic() < self.health.report.leader_until:
                self.look()

    def look(self) -> None:
        """Look at the live counts once. A mistake of ours there keeps no tick from deciding."""
        guard = self._parts.guard
        if guard is None:
            return
        try:
            self._telemetry.note_records(guard.look())
            self._telemetry.note_live({name: one.difference for name, one in guard.sights.items()})
        except Exception as error:  # noqa: BLE001 - the windows still decide
            if self._said.is_new("live", repr(error)):
                self._log.exception("live_look_failed")

    def _server(
        self, routes: Sequence[BaseRoute], gate: "EvaluatesGate | None", mailer: "Mailer | None"
    ) -> "_Server":
        """Make the HTTP server; open event streams end when it has to stop, so they do not hold it up."""
        # What is served is not needed for a single tick.
        from controller.web.context import ServerContext  # noqa: PLC0415
        from controller.web.server import build_app  # noqa: PLC0415

        context = ServerContext(
            health=self.health,
            settings=lambda: self.settings,
            store=open_store(self.settings),
            journal=self._parts.journal,
            gate=gate,
            mailer=mailer,
            dry_run=self._dry_run,
            tick_soon=self.tick_soon,
            stopping=lambda: server.should_exit,
            on_start=self._on_start,
            live=partial(read_sights, open_redis(self.settings.redis_url, redis_timeout_s(self.settings))),
        )
        config = server_config(build_app(context, routes), self.settings, grace_s=1)
        server = _Server(config, self._stopping.set)
        return server

    async def _on_start(self) -> None:
        """Open what is embedded. What is wrong there is logged, and keeps no controller from its work."""
        if self._start_adapter is None:
            return
        try:
            await self._start_adapter()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the adapter's
            self._log.error("adapter_not_started", error=str(error))

    def _stop(self) -> None:
        """Let a tick under way finish, if it does so soon, and let another controller lead at once."""
        self._stopping.set()
        notify("STOPPING=1")
        if self._ticking.acquire(timeout=_TICK_GRACE_S) and not self.health.report.error:
            self._parts.controller.release()
        self._scheduler.shutdown(wait=False)

    def _tell(self, report: Report) -> None:
        monotonic = time.monotonic()
        self.health.note(report, monotonic)
        wrong = {"journal": self._parts.journal_trouble()} | _lost(report)
        for dependency, trouble in wrong.items():
            self._outages.note(dependency, trouble, monotonic)
        self._telemetry.note(report, time.time())
        if self._parts.guard:
            self._parts.guard.compare({name: seen.evidence for name, seen in report.seen.items()})
        self._telemetry.note_dependencies(wrong, self._parts.disagreements())
        notify("WATCHDOG=1", *self._news(report))

    def _news(self, report: Report) -> list[str]:
        steps = [record for record in report.records if record["kind"] != Kind.HOLD]
        news = [f"STATUS={record['feature']}: {record['kind']} ({record['reason']})" for record in steps[-1:]]
        if not self._notified:
            self._notified = True
            news.append("READY=1")
        return news

    def _ask_for_reload(self, *_: object) -> None:
        self._reload_asked = True


class _Server(uvicorn.Server):
    """Uvicorn, which cannot be kept from ending: from the signal on, time runs."""

    def __init__(self, config: uvicorn.Config, when_told: Callable[[], None]) -> None:
        super().__init__(config)
        self._when_told = when_told

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._when_told()
        deadline = threading.Timer(_STOP_WITHIN_S, os._exit, (0,))
        deadline.daemon = True
        deadline.start()
        super().handle_exit(sig, frame)


def _lost(report: Report) -> dict[str, str]:
    """Return what is wrong with the servers that this tick asked; one that was not asked stays as it was."""
    if report.ours:
        return {}
    if report.error:
        return {"redis": report.error}
    return {"redis": report.store_problem, "prometheus": report.source_problem}


def _differing(old: ControllerSettings, new: ControllerSettings) -> list[str]:
    """Name the settings that a reload leaves as they were."""
    names = [f.name for f in fields(ControllerSettings) if f.name not in NO_SETTINGS]
    return [name for name in names if getattr(old, name) != getattr(new, name)]


def _now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)
