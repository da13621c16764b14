"""Puts the parts together that the settings ask for: store, source, lease, journals, controller."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from controller.config.settings import ControllerSettings
from controller.evidence.progress import Lengths
from controller.evidence.prometheus import PrometheusSource
from controller.journal.reconcile import Reconciler
from controller.journal.sinks import FileJournal, Journal, Journals, LogJournal
from controller.loop.live_guard import LiveGuard
from controller.loop.tick import Controller
from controller.shared.redis_pool import open_redis
from controller.store.flag_store import FlagStore
from controller.store.lease import Lease, NoLease, RedisLease
from controller.store.opening import open_store, redis_timeout_s
from controller.store.oversight import Oversight
from controller.store.redis_store import RedisFlagStore


@dataclass(frozen=True, slots=True)
class Parts:
    """A controller, and what the daemon tells of the journals beside it."""

    controller: Controller
    journal: Journal
    journal_trouble: Callable[[], str]
    disagreements: Callable[[], Mapping[str, int]]
    oversight: Oversight
    guard: LiveGuard | None
    """Looks at the live counts; a dry run has none."""


def open_source(settings: ControllerSettings) -> PrometheusSource:
    """Open the source of evidence that the settings name."""
    return PrometheusSource(
        settings.prometheus_url,
        Lengths(settings.window_s, settings.scrape_s),
        rules_url=settings.rules_url,
        access=settings.access_to_prometheus,
        scope=settings.scope,
        request_timeout_s=settings.request_timeout_s,
    )


def assemble(settings: ControllerSettings, *, dry_run: bool, log: bool = True) -> Parts:
    """Open everything that a daemon needs; without `log` decisions go to the file alone, if there is one."""
    store = open_store(settings, dry_run=dry_run)
    oversight = Oversight(open_redis(settings.redis_url, redis_timeout_s(settings)))
    logs: list[Journal] = [LogJournal(unchanged_holds=settings.log_unchanged_holds)] if log else []
    file = None if settings.journal is None else FileJournal(settings.journal)
    if file is None or dry_run:
        journal = Journals(*([file] if file else []), *logs)
        controller = _controller(settings, store, journal, reconciler=None, dry_run=dry_run)
        guard = None if dry_run else _guard(settings, journal)
        return Parts(controller, journal, lambda: file.trouble if file else "", dict, oversight, guard)
    reconciler = Reconciler(store, file)
    journal = Journals(reconciler, *logs)
    controller = _controller(settings, store, journal, reconciler=reconciler, dry_run=dry_run)
    return Parts(
        controller,
        journal,
        lambda: file.trouble,
        lambda: reconciler.disagreements,
        oversight,
        _guard(settings, journal),
    )


def _guard(settings: ControllerSettings, journal: Journal) -> LiveGuard:
    """Make the guard; its connection is its own, so that a tick that waits never holds it up."""
    client = open_redis(settings.redis_url, redis_timeout_s(settings))
    return LiveGuard(
        settings.features,
        store=RedisFlagStore(client, decisions_kept=settings.decisions_kept),
        journal=journal,
        wall=time.time,
        monotonic=time.monotonic,
        window_s=settings.window_s,
        scrape_s=settings.scrape_s,
        deadline_s=settings.tick_deadline_s,
    )


def open_controller(settings: ControllerSettings, *, dry_run: bool, journal: Journal) -> Controller:
    """Open a controller that keeps its decisions where the caller says, and compares nothing."""
    return _controller(settings, open_store(settings, dry_run=dry_run), journal, None, dry_run=dry_run)


def _controller(
    settings: ControllerSettings,
    store: FlagStore,
    journal: Journal,
    reconciler: Reconciler | None,
    *,
    dry_run: bool,
) -> Controller:
    return Controller(
        settings.features,
        store=store,
        source=open_source(settings),
        lease=NoLease() if dry_run else _lease(settings, reconciler),
        journal=journal,
        wall=time.time,
        monotonic=time.monotonic,
        window_s=settings.window_s,
        deadline_s=settings.tick_deadline_s,
        dry_run=dry_run,
        known=reconciler.known if reconciler else None,
        catch_up=reconciler.catch_up if reconciler else None,
    )


def _lease(settings: ControllerSettings, reconciler: Reconciler | None) -> Lease:
    return RedisLease(
        open_redis(settings.redis_url, redis_timeout_s(settings)),
        lease_s=settings.lease_s,
        monotonic=time.monotonic,
        known_epoch=reconciler.known_epoch if reconciler else 0,
    )
