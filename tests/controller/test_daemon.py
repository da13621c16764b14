"""The daemon's own clockwork, in this process; tests/faults has it as a process beside real servers."""

import threading
import time
from datetime import datetime, tzinfo
from types import SimpleNamespace
from typing import Self

import pytest
from kit.waiting import wait_until
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from controller.config.settings import ControllerSettings, load_settings
from controller.daemon import process as module
from controller.daemon.process import Daemon
from controller.loop.tick import Report


@pytest.fixture
def settings() -> ControllerSettings:
    """Settings whose servers are all away, so that a tick is a matter of milliseconds."""
    return load_settings(
        environ={
            "ROLLOUT_REDIS_URL": "redis://127.0.0.1:1/0",
            "ROLLOUT_PROMETHEUS_URL": "http://127.0.0.1:1",
            "ROLLOUT_INTERVAL_S": "0.2",
        }
    )


@pytest.mark.parametrize("step_s", [-7200.0, 7200.0])
def test_ticks_go_on_when_the_wall_clock_is_set(
    settings: ControllerSettings, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    offset_s = [0.0]

    class Set(datetime):
        """The wall clock as it was set."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp(time.time() + offset_s[0], tz)

    monkeypatch.setattr("apscheduler.schedulers.base.datetime", Set)
    clocks = SimpleNamespace(time=lambda: time.time() + offset_s[0], monotonic=time.monotonic)
    monkeypatch.setattr(module, "time", clocks)
    monkeypatch.setattr(module, "REGISTRY", CollectorRegistry())
    with capture_logs() as logs:
        daemon = Daemon(settings, dry_run=False)
        daemon._schedule()
        pulse = threading.Thread(target=daemon._pulse)
        pulse.start()
        wait_until(lambda: daemon.health.last_tick_at, 5)
        offset_s[0] = step_s
        set_at = time.monotonic()
        wait_until(lambda: daemon.health.last_tick_at > set_at + 1.5, 10, "ticks after the step")
        daemon._stop()
        pulse.join()
    assert [line["event"] for line in logs].count("clock_stepped") == 1
    assert [line["event"] for line in logs].count("dependency_lost") == 1


def test_a_mistake_of_ours_fails_a_tick_and_not_the_daemon(
    settings: ControllerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REGISTRY", CollectorRegistry())
    daemon = Daemon(settings, dry_run=False)
    monkeypatch.setattr(daemon._parts.controller, "_leadership", lambda: 1 / 0)
    with capture_logs() as logs:
        report = daemon.tick()
    assert "ZeroDivisionError" in report.error
    assert [line["event"] for line in logs] == ["tick_failed"]
    monkeypatch.undo()
    assert "Redis" in daemon.tick().error


def test_a_server_that_a_tick_did_not_come_to_ask_is_not_told_of_as_back(
    settings: ControllerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REGISTRY", CollectorRegistry())
    daemon = Daemon(settings, dry_run=False)
    away = Report(source_problem="cannot be reached")
    ticks = [away, Report(error="Redis: away"), Report(error="a mistake", ours=True), away, Report()]
    monkeypatch.setattr(daemon._parts.controller, "tick", lambda: ticks.pop(0))
    with capture_logs() as logs:
        while ticks:
            daemon.tick()
    assert [(line["event"], line["dependency"]) for line in logs] == [
        ("dependency_lost", "prometheus"),
        ("dependency_lost", "redis"),
        ("dependency_back", "redis"),
        ("dependency_back", "prometheus"),
    ]
