"""What grows with the ticks: nothing. `make soak` makes many: SOAK_TICKS."""

import gc
from pathlib import Path

import pytest
from kit.examples import amount
from prometheus_client import CollectorRegistry
from worlds.fault_rig import Rig

from controller.daemon.metrics import DaemonMetrics
from controller.decision.model import Kind

TICKS = amount("TICKS", soak=20_000, usually=600)
WARM_UP = 200


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


def objects() -> int:
    gc.collect()
    return len(gc.get_objects())


def test_neither_memory_nor_open_files_grow_with_the_ticks(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.journal.sinks._IDS_KNOWN", 100)
    rig.person(Kind.ENABLE)
    controller, telemetry = rig.controller(), DaemonMetrics(["microsoft"], CollectorRegistry())

    def ticks(count: int) -> None:
        for _ in range(count):
            telemetry.note(rig.tick(controller), rig.weather.now)

    ticks(WARM_UP)
    files, living, pages = open_files(), objects(), resident_pages()
    ticks(TICKS)
    assert open_files() <= files
    assert objects() < 1.02 * living
    assert resident_pages() < 1.05 * pages


def test_a_redis_that_is_always_away_costs_no_files(rig: Rig) -> None:
    rig.url = "redis://127.0.0.1:1/0"
    controller = rig.controller()
    rig.tick(controller, 5)
    files = open_files()
    rig.tick(controller, 100)
    assert open_files() <= files
