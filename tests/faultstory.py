"""A random course of faults from a seed, an operator who answers it, and what must hold after it."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis
from liveworld import FEATURES, SCRAPE_S, TICK_S, World
from waiting import wait_until

from controller.contract import LEASE_KEY, flag_keys, revision_key
from controller.decision.model import Kind
from controller.decision.record import changed_flags, verify
from controller.evidence import Lengths
from controller.features import load_features
from controller.flagstore import RedisFlagStore, StoreError, connect
from controller.journal import Journals, read_file
from controller.operate import operate

GATE_LIMIT_S = 3.0
_SAMPLE_S = 0.02


@dataclass
class Watcher:
    """Looks at the flags in Redis itself, many times a second, and keeps every change that it sees."""

    url: str
    seen: list[tuple[float, tuple[str | None, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        client = connect(self.url, 0.5)
        keys = [*flag_keys("microsoft"), revision_key("microsoft")]
        while not self._stopping.wait(_SAMPLE_S):
            try:
                values: Any = tuple(client.mget(keys))
            except (redis.RedisError, OSError):
                continue
            if not self.seen or self.seen[-1][1] != values:
                self.seen.append((time.monotonic(), values))
        client.close()

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(5)


class Story:
    """One course of faults over a world."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.told: list[str] = []
        self.resumes: list[float] = []
        self.emptied: list[float] = []
        self.harm: list[str] = []
        """What was seen to go wrong on the way."""
        self._features = load_features(world.daemons["a"].config)
        self._store = RedisFlagStore(connect(world.redis.url, 1.0))
        self._watcher = Watcher(world.redis.url)

    def run(self, length_s: float) -> None:
        """Bring the world up, let faults follow each other, and heal everything at the end."""
        for daemon in self.world.daemons.values():
            daemon.start()
        for daemon in self.world.daemons.values():
            daemon.wait_ready()
        self._act(Kind.ENABLE)
        end = time.monotonic() + length_s
        faults = list(self._faults().items())
        while time.monotonic() < end:
            name, fault = self.random.choice(faults)
            self.told.append(name)
            with fault():
                time.sleep(self.random.uniform(0.3, 4.5))
            time.sleep(self.random.uniform(0.2, 2.0))
            self._operator()

    def recover(self) -> None:
        """Wait until a step is taken again, with no help but a person's resume."""
        wait_until(self._all_tick, 20, "both controllers tick")
        wait_until(self._moves(len(self._steps())), 60, f"a step after {self.told}")
        time.sleep(2 * TICK_S)

    def close(self) -> None:
        self._watcher.close()

    def _all_tick(self) -> bool:
        return all(daemon.ready().get("tick_fresh") for daemon in self.world.daemons.values())

    def _moves(self, before: int) -> Callable[[], bool]:
        def moves() -> bool:
            self._operator(surely=True)  # the last fault's pause may come after the fault
            flags = self._store.read(["microsoft"])[0].flags
            return len(self._steps()) > before or flags.rollout_percent == 100

        return moves

    def _steps(self) -> list[dict[str, Any]]:
        return [record for record in self._store.history("microsoft") if record["kind"] == "step_up"]

    def _operator(self, *, surely: bool = False) -> None:
        """Enable what is not enabled; resume what is paused, not always at once."""
        try:
            [stored] = self._store.read(["microsoft"])
            if not stored.flags.enabled:
                self._act(Kind.ENABLE)
            if stored.flags.paused and (surely or self.random.random() < 0.6):
                self._act(Kind.RESUME)
        except StoreError as error:
            self.told.append(f"operator: {error}")

    def _act(self, kind: Kind) -> None:
        if kind is Kind.RESUME:
            self.resumes.append(time.monotonic())
        feature = self._features["microsoft"]
        operate(self._store, Journals(), feature, kind, actor="ann", note="story", now=time.time())

    def _faults(self) -> dict[str, Callable[[], Any]]:
        world = self.world
        faults = {
            "redis freezes": self._senders_lose(world.redis.freeze, world.redis.thaw),
            "redis is killed and comes back empty": self._senders_lose(self._kill_redis, world.redis.start),
            "redis is full": _both(self._fill, lambda: self._memory("0")),
            "senders' redis refuses": self._senders_lose(*_refusing(world.to_redis["senders"])),
            "senders' redis hangs": self._senders_lose(*_hanging(world.to_redis["senders"])),
            "prometheus freezes": _both(world.prometheus.freeze, world.prometheus.thaw),
            "prometheus restarts": _both(world.prometheus.kill, world.prometheus.start),
            "sends fail": _both(lambda: self._errors(0.9), lambda: self._errors(0.0)),
            "lease is deleted": _both(lambda: self._direct().delete(LEASE_KEY), _nothing),
            "scripts are flushed": _both(lambda: self._direct().script_flush(), _nothing),
            "a person pauses": _both(lambda: self._act(Kind.PAUSE), _nothing),
        }
        for name, daemon in world.daemons.items():
            faults |= {
                f"{name} is killed": _both(daemon.kill, daemon.start),
                f"{name} sleeps": _both(
                    lambda daemon=daemon: daemon.signal(signal.SIGSTOP),  # type: ignore[misc]
                    lambda daemon=daemon: daemon.signal(signal.SIGCONT),  # type: ignore[misc]
                ),
                f"{name}'s redis refuses": _both(*_refusing(world.to_redis[name])),
                f"{name}'s redis hangs": _both(*_hanging(world.to_redis[name])),
                f"{name}'s prometheus hangs": _both(*_hanging(world.to_prometheus[name])),
            }
        return faults

    def _senders_lose(self, begin: Callable[[], object], end: Callable[[], object]) -> Callable[[], Any]:
        """Make a fault during which no sender may let anybody in for longer than the gate's limit."""

        @contextmanager
        def fault() -> Iterator[None]:
            begin()
            lost_at = time.monotonic()
            yield
            for sender in self.world.senders:
                late_s = sender.opened_at - lost_at - GATE_LIMIT_S
                if late_s > 0.2:
                    self.harm.append(f"a sender let somebody in {late_s:.2f} s too late: {self.told[-1]}")
            end()

        return fault

    def _kill_redis(self) -> None:
        self.world.redis.kill()
        self.emptied.append(time.monotonic())

    def _fill(self) -> None:
        self._memory("1mb")

    def _memory(self, size: str) -> None:
        self._direct().config_set("maxmemory", size)

    def _errors(self, share: float) -> None:
        for sender in self.world.senders:
            sender.error_share = share

    def _direct(self) -> "redis.Redis":
        return connect(self.world.redis.url, 1.0)

    def problems(self) -> list[str]:
        """Give everything that is not as it must be, in words."""
        stream = list(self._store.history("microsoft"))
        files = {name: list(read_file(d.journal)) for name, d in self.world.daemons.items()}
        every = {record["id"]: record for records in (*files.values(), stream) for record in records}
        return [
            *self.harm,
            *_unsound(every.values()),
            *_doubled(stream, files),
            *self._lost(stream, files),
            *self._not_as_recorded(every.values()),
            *self._unpaused(),
        ]

    def _lost(self, stream: list[dict[str, Any]], files: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
        """Every change is everywhere. Only an emptied Redis may take an act of the operator with it."""
        changes = {record["id"]: record for record in stream if changed_flags(record)}
        for name, records in files.items():
            held = {record["id"] for record in records}
            yield from (f"{one} is not in the file of {name}" for one in changes if one not in held)
            yield from (
                f"{record['id']} of the file of {name} is not in the stream"
                for record in records
                if changed_flags(record) and record["id"] not in changes
            )

    def _not_as_recorded(self, records: Iterable[dict[str, Any]]) -> Iterator[str]:
        applied = [record for record in records if record["applied"] == "applied"]
        last = max(applied, key=lambda record: (record["at"], record["revision"]))
        flags = self._store.read(["microsoft"])[0].flags
        now = {
            "enabled": flags.enabled,
            "internal_only": flags.internal_only,
            "rollout_percent": flags.rollout_percent,
            "paused": flags.paused,
        }
        if last["to"] != now:
            yield f"the flags are {now}, the last record says {last['to']}"

    def _unpaused(self) -> Iterator[str]:
        """Before anybody is in again after a pause, the operator must have resumed.

        Who enables a feature in a Redis that was emptied a moment ago makes it anew, at 0 % and not paused,
        because nothing there tells of a pause; a controller that knows better pauses it at its next tick.
        """
        paused_at: float | None = None
        for at, values in self._watcher.seen:
            percent, paused = values[2:4]
            if paused == "true" and paused_at is None:
                paused_at = at
            elif paused == "false" and percent != "0" and paused_at is not None:
                if not any(paused_at - 0.5 <= resumed <= at for resumed in self.resumes):
                    yield f"the pause of {paused_at:.2f} ended at {at:.2f} without a resume"
                paused_at = None


def _unsound(records: Iterable[dict[str, Any]]) -> Iterator[str]:
    lengths = Lengths(TICK_S, SCRAPE_S)
    for record in records:
        if differences := verify(record):
            yield f"{record['id']} is decided otherwise again: {differences}"
        if record["kind"] != "step_up":
            continue
        evidence = record["evidence"]
        if record["newer"] is not None:
            yield f"{record['id']} stepped up on flags that went back"
        if record["reason"] == "healthy" and (
            evidence["problem"]
            or evidence["sample_age_s"] > lengths.oldest_sample_s
            or any(finding["verdict"] != "met" for finding in record["findings"])
        ):
            yield f"{record['id']} stepped up without fresh healthy evidence"
        if record["to"]["rollout_percent"] != _next_step(record):
            yield f"{record['id']} skipped a step"


def _next_step(record: dict[str, Any]) -> float:
    steps: list[float] = record["config"]["steps"]
    return min(step for step in steps if step > record["from"]["rollout_percent"])


def _doubled(stream: list[dict[str, Any]], files: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    for place, records in {"the stream": stream, **files}.items():
        ids = [record["id"] for record in records]
        yield from (f"{one} is twice in {place}" for one in {one for one in ids if ids.count(one) > 1})
    steps = [record for record in stream if record["kind"] == "step_up" and record["applied"] == "applied"]
    revisions = [record["revision"] for record in steps]
    yield from (f"two steps have revision {one}" for one in {r for r in revisions if revisions.count(r) > 1})


def _both(begin: Callable[[], object], end: Callable[[], object]) -> Callable[[], Any]:
    @contextmanager
    def fault() -> Iterator[None]:
        begin()
        yield
        end()

    return fault


def _refusing(proxy: Any) -> tuple[Callable[[], object], Callable[[], object]]:
    return proxy.refuse, proxy.heal


def _hanging(proxy: Any) -> tuple[Callable[[], object], Callable[[], object]]:
    def end() -> None:
        proxy.heal()
        proxy.cut()

    return proxy.hang, end


def _nothing() -> None:
    return None


__all__ = ["FEATURES", "Story"]
