"""Live counts: how many sends fail until every gate is closed, and what looking at the counts costs.

A daemon of its own with production's lengths (scrape 10 s, window and tick 30 s) on a real Redis; sender
processes with a gate each, which count what they send. Prometheus is not there: nothing of this needs it.
"""

import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import redis
from bench.live_cost import with_and_without
from bench.report import machine, median, quantile, say, table, write_section
from kit.servers import RedisServer, free_port
from kit.waiting import wait_until

from adapter.gate.counts import LiveCounts
from adapter.gate.rollout_gate import RolloutGate
from controller.contract import LIVE_SIGHT_KEY, live_key
from controller.decision.feature import RolloutFeature
from controller.decision.model import Kind
from controller.features import load_features
from controller.journal.sinks import Journals
from controller.loop.live_guard import LiveGuard
from controller.loop.manual import operate
from controller.shared.redis_pool import open_redis
from controller.store.redis_store import RedisFlagStore

TRIALS = int(os.environ.get("BENCH_LIVE_TRIALS", "10"))
PROCESSES = 4
LONGEST_S = 60.0
CALM_S = 3.0
LOOKS = 32

TEXT = """## Live counts

{machine} `make bench ARGS=live` measures this part alone: the daemon with production's lengths
(scrape 10 s, window and tick 30 s), redis-server, and {processes} sender processes with a gate each. Failed
sends until every gate is closed, {trials} trials each, at random moments; a breach begins with the ramp, an
outage at any time.

{figures}

By windows alone an outage at 50 sends/s costs 1,500 failed sends and more, before the first window is judged.

{cost}

A sender process that counts asks Redis {commands} times a second ({writes} of them `HSET`), one that does
not {idle} times. Counting a send takes {count_us:.1f} µs.

With live counts and without, in turns in this run: medians, and the middle half. The guard beside the ticks
looks at 10 processes of each feature, whose counts change each second.

{against}
"""


@dataclass(frozen=True)
class Fault:
    """What is measured: so many of `per_s` sends fail."""

    name: str
    per_s: float
    share: float
    blip_s: float
    at_start: bool
    allowed: int


FAULTS = (
    Fault("outage", 50, 1.0, 3.0, at_start=False, allowed=250),
    Fault("outage", 50, 1.0, 1.0, at_start=False, allowed=120),
    Fault("10 x the limit", 50, 0.1, 3.0, at_start=True, allowed=60),
    Fault("10 x the limit", 5, 0.1, 3.0, at_start=True, allowed=12),
)


def send(
    url: str,
    config: str,
    per_s: "Synchronized[float]",
    share: "Synchronized[float]",
    failed: "Synchronized[int]",
    ready: "Synchronized[int]",
    seed: int,
) -> None:
    """Send at random moments as long as the gate lets a user in."""
    chance = random.Random(seed)
    features = load_features(Path(config))
    with RolloutGate.start(url, features, []) as gate:
        with ready.get_lock():
            ready.value += 1
        while True:
            time.sleep(chance.expovariate(max(per_s.value, 0.001)))
            user = f"user-{chance.randrange(100_000)}"
            if not gate.check("microsoft", user).open:
                continue
            ok = chance.random() >= share.value
            gate.count("microsoft", ok, 0.1, user)
            if not ok:
                with failed.get_lock():
                    failed.value += 1


@contextmanager
def daemon(url: str, folder: Path, blip_s: float) -> Iterator[Path]:
    """Run a daemon that leads; yield its configuration."""
    config = folder / f"rollout-{blip_s:g}.toml"
    config.write_text(
        f'[controller]\nredis_url = "{url}"\nprometheus_url = "http://127.0.0.1:{free_port()}"\n'
        f'interval_s = 30\nwindow_s = 30\nscrape_s = 10\nlisten = "127.0.0.1:{free_port()}"\n'
        f'[features.microsoft]\nprovider = "microsoft"\naction = "outlook.send"\nblip_s = {blip_s}\n'
    )
    command = [sys.executable, "-m", "controller", "run", "--config", str(config), "--no-adapter"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            with open_redis(url, 1.0) as client:
                wait_until(lambda: client.exists(LIVE_SIGHT_KEY), 30, "the guard")
            yield config
        finally:
            process.kill()


def reaction(fault: Fault, folder: Path) -> list[int]:
    """Return the failed sends of each trial."""
    with RedisServer(folder) as server, daemon(server.url, folder, fault.blip_s) as config:
        feature = load_features(config)["microsoft"]
        store = RedisFlagStore(open_redis(server.url, 1.0))
        context = multiprocessing.get_context("spawn")
        per_s = context.Value("d", fault.per_s / PROCESSES)
        share, failed, ready = context.Value("d", 0.0), context.Value("i", 0), context.Value("i", 0)
        senders = [
            context.Process(
                target=send, args=(server.url, str(config), per_s, share, failed, ready, seed), daemon=True
            )
            for seed in range(PROCESSES)
        ]
        for sender in senders:
            sender.start()
        try:
            wait_until(lambda: ready.value == PROCESSES, 60, "the senders")
            person(store, feature, Kind.ENABLE)
            person(store, feature, Kind.OPEN)
            return [trial(fault, store, feature, share, failed) for _ in range(TRIALS)]
        finally:
            for sender in senders:
                sender.terminate()
                sender.join(5)


def trial(
    fault: Fault,
    store: RedisFlagStore,
    feature: RolloutFeature,
    share: "Synchronized[float]",
    failed: "Synchronized[int]",
) -> int:
    """Begin a ramp, let the fault begin, and count until nothing fails any more."""
    share.value = fault.share if fault.at_start else 0.0
    failed.value = 0
    person(store, feature, Kind.SET, 0.0)
    person(store, feature, Kind.SET, 100.0)
    if not fault.at_start:
        time.sleep(CALM_S + random.random())
        share.value = fault.share
    began = time.monotonic()
    while time.monotonic() < began + LONGEST_S and not store.read(["microsoft"])[0].flags.paused:
        time.sleep(0.02)
    time.sleep(0.5)
    share.value = 0.0
    flags = store.read(["microsoft"])[0].flags
    say(f"  {fault.name} {fault.per_s:g}/s: {failed.value} failed, {time.monotonic() - began - 0.5:.1f} s")
    if flags.paused:
        person(store, feature, Kind.RESUME)
    return failed.value


def person(store: RedisFlagStore, feature: RolloutFeature, kind: Kind, percent: float | None = None) -> None:
    operate(store, Journals(), feature, kind, actor="bench", note="b", now=time.time(), percent=percent)


def look_ms(folder: Path, fields_per_process: int) -> tuple[float, float]:
    """Return how long a look at 1,000 processes and 100 features takes, all counts new, and of its processor.

    Medians; the second is less where Redis or another process has to be waited for.
    """
    feature = load_features(None)["microsoft"]
    with RedisServer(folder) as server, server.client() as client:
        guard = LiveGuard(
            {f"f{n}": feature for n in range(100)},
            store=RedisFlagStore(open_redis(server.url, 5.0)),
            journal=Journals(),
            wall=time.time,
            monotonic=time.monotonic,
            window_s=30.0,
            scrape_s=10.0,
            deadline_s=10.0,
        )
        took, of_processor = [], []
        for turn in range(LOOKS):
            write_counts(client, turn, fields_per_process)
            began, began_on = time.perf_counter(), time.process_time()
            guard.look()
            took.append(1000 * (time.perf_counter() - began))
            of_processor.append(1000 * (time.process_time() - began_on))
        return median(took[2:]), median(of_processor[2:])


def write_counts(client: redis.Redis, turn: int, fields_per_process: int) -> None:
    with client.pipeline(transaction=False) as writes:
        for process in range(1000):
            for number in range(fields_per_process):
                value = {"at": time.time(), "sends": 5 * turn, "errors": 0, "slow": 0, "failed_mailboxes": 0}
                writes.hset(live_key(f"f{(process + number) % 100}"), f"h:{process}:1", json.dumps(value))
        writes.execute()


def commands(folder: Path, per_s: float, seconds: int = 10) -> tuple[float, float]:
    """Return the commands, and the HSETs among them, that one sender process asks of Redis in a second."""
    with RedisServer(folder) as server, server.client() as client, RolloutGate.start(server.url) as gate:
        client.config_resetstat()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if per_s:
                gate.count("microsoft", True, 0.1, "ann")
            time.sleep(1 / (per_s or 10))
        stats = client.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): int(of["calls"]) for name, of in stats.items()}
    asked = sum(of for name, of in calls.items() if name not in {"config|resetstat", "info"})
    return asked / seconds, calls.get("hset", 0) / seconds


def count_us() -> float:
    """Return the time of counting one send."""
    counts = LiveCounts()
    began = time.perf_counter()
    for _ in range(100_000):
        counts.add("microsoft", ok=True, slow=False, mailbox="ann")
    return (time.perf_counter() - began) * 10


def main() -> None:
    rows = []
    for number, fault in enumerate(FAULTS):
        with tempfile.TemporaryDirectory() as folder:
            failed = reaction(fault, Path(folder))
        say(f"{number + 1} of {len(FAULTS)}: {fault.name} {fault.per_s:g}/s: {sorted(failed)}")
        rows.append(
            (
                f"{fault.name}, `blip_s` {fault.blip_s:g}",
                f"{fault.per_s:g}",
                f"{median(failed):.0f}",
                f"{quantile(failed, 0.9):.0f}",
                fault.allowed,
            )
        )
    with tempfile.TemporaryDirectory() as folder:
        looks = {number: look_ms(Path(folder), number) for number in (1, 10)}
    with tempfile.TemporaryDirectory() as folder:
        idle, _ = commands(Path(folder), 0)
    with tempfile.TemporaryDirectory() as folder:
        busy, writes = commands(Path(folder), 100)
    figures = table(("fault", "sends/s", "failed, median", "failed, p90", "at most"), rows)
    cost = table(
        ("look at 1,000 processes, 100 features", "fields", "median, ms", "of its processor, ms"),
        [
            (f"each sends for {n}", f"{1000 * n:,}", *(f"{ms:.1f}" for ms in look))
            for n, look in looks.items()
        ],
    )
    body = TEXT.format(
        machine=machine(),
        processes=PROCESSES,
        trials=TRIALS,
        figures=figures,
        cost=cost,
        commands=f"{busy:.1f}",
        writes=f"{writes:.1f}",
        idle=f"{idle:.1f}",
        count_us=count_us(),
        against=with_and_without(),
    )
    write_section("live", body)


if __name__ == "__main__":
    main()
