"""What live counts cost sends, the gate and the tick: with them and without, in turns in one run."""

import asyncio
import itertools
import logging
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import structlog
from bench.report import median, quantile, say, table
from bench.send_mails import MAILS
from bench.send_race import message_of, opened, sandbox, send_as
from kit.servers import RedisServer
from worlds.tick import tick_world

from adapter import Runtime
from adapter.gate.counts import LiveCounts
from adapter.gate.rollout_gate import RolloutGate
from controller.contract import flag_keys, live_key
from controller.daemon.wiring import assemble
from controller.shared.redis_pool import open_redis

ROUNDS, SENDS, IN_FLIGHT = 30, 320, 64
HUNDREDS, PAUSE_S = 1000, 0.001
TICKS, FEATURES, PROCESSES = 15, 100, 10
MODES = ("without", "with")
Times = dict[str, list[float]]


@contextmanager
def mode(name: str) -> Iterator[None]:
    """Count what is sent, or leave it."""
    if name == "with":
        yield
        return
    with patch.object(LiveCounts, "add", lambda *_, **__: None):
        yield


def open_flags(server: RedisServer) -> None:
    with server.client() as client:
        client.mset(dict(zip(flag_keys("microsoft"), ("true", "false", "100", "false"), strict=True)))


async def sends_per_s(server: RedisServer, graph_url: str) -> Times:
    """Return the small mails a second of one process, 64 in flight, of each round."""
    rates: Times = {name: [] for name in MODES}
    async with opened(server.url, graph_url) as (runtime, _):
        for number, name in enumerate(MODES * (ROUNDS + 1)):
            users = iter(range(SENDS))
            with mode(name):
                began = time.perf_counter()
                await asyncio.gather(*(send_each(users, runtime) for _ in range(IN_FLIGHT)))
                took = time.perf_counter() - began
            if number > 1:
                rates[name].append(SENDS / took)
    return rates


async def send_each(users: Iterator[int], runtime: Runtime) -> None:
    message = message_of(MAILS["a small mail"])
    for user in users:
        await send_as(message, runtime, f"user-{user}")


def answers_us(server: RedisServer) -> Times:
    """Return the mean time of each hundred answers of a gate whose process counts sends between, or none."""
    took: Times = {name: [] for name in MODES}
    with RolloutGate.start(server.url) as gate:
        for name in MODES * 5:
            with mode(name):
                for _ in range(HUNDREDS):
                    began = time.perf_counter()
                    for number in range(100):
                        gate.check("microsoft", f"user-{number}")
                    took[name].append((time.perf_counter() - began) * 1e4)
                    gate.count("microsoft", True, 0.1, "ann")
                    time.sleep(PAUSE_S)
    return took


def write(url: str, stop: "threading.Event") -> None:
    """Write new counts of each feature and process, each second."""
    with open_redis(url, 5.0) as client:
        for turn in itertools.count():
            text = f'{{"at": {time.time()}, "sends": {turn}, "errors": 0, "slow": 0, "failed_mailboxes": 0}}'
            with client.pipeline(transaction=False) as writes:
                for number in range(FEATURES):
                    writes.hset(
                        live_key(f"feature-{number:05}"), mapping={f"h:{p}:1": text for p in range(PROCESSES)}
                    )
                writes.execute()
            if stop.wait(1.0):
                return


def ticks_ms(folder: Path) -> Times:
    """Return the ticks over 100 features, with the guard looking at new counts each second and without."""
    took: Times = {name: [] for name in MODES}
    with tick_world(folder, FEATURES, window_s=0.5) as world:
        controller = world.ticking()
        guard = assemble(world.settings, dry_run=False).guard
        if guard is None:
            raise RuntimeError("nobody guards")
        context = multiprocessing.get_context("spawn")
        stop = context.Event()
        writer = context.Process(target=write, args=(world.settings.redis_url, stop), daemon=True)
        writer.start()
        try:
            for name in MODES * 3:
                with looking(guard.look if name == "with" else lambda: None):
                    took[name] += [world.tick(controller).duration_s * 1000 for _ in range(TICKS)]
        finally:
            stop.set()
            writer.join(5)
    return took


@contextmanager
def looking(look: Callable[[], object]) -> Iterator[None]:
    """Look once a second, in a thread of its own as the daemon does."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(1.0):
            look()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def row(name: str, times: Times, digits: int = 0) -> tuple[str, ...]:
    def shown(values: Sequence[float]) -> str:
        numbers = (median(values), quantile(values, 0.25), quantile(values, 0.75))
        middle, low, high = (f"{number:.{digits}f}" for number in numbers)
        return f"{middle} ({low} to {high})"

    without, with_ = times["without"], times["with"]
    return name, shown(without), shown(with_), f"{median(with_) / median(without):.2f}x"


def with_and_without() -> str:
    """Measure all three, and return them as a table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory() as name, RedisServer(Path(name)) as server, sandbox() as graph_url:
        open_flags(server)
        say("sends with live counts and without")
        rates = asyncio.run(sends_per_s(server, graph_url))
        answers = answers_us(server)
    say("ticks with live counts and without")
    with tempfile.TemporaryDirectory() as name:
        ticks = ticks_ms(Path(name))
    rows = [
        row("small mails a second, 64 in flight", rates),
        row("answer of the gate, us", answers, 2),
        row(f"tick over {FEATURES} features, ms", ticks),
    ]
    return table(("", "without", "with", "with / without"), rows)


if __name__ == "__main__":
    print(with_and_without())
