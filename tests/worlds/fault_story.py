"""A random course of faults from a seed, and an operator who answers it."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import redis
from kit.waiting import wait_until
from worlds.fault_proof import SAMPLE_S, Course
from worlds.live import FEATURES, TICK_S, World

from controller.contract import LEASE_KEY, flag_key, flag_keys, revision_key
from controller.decision.model import LIVE, Kind
from controller.features import load_features
from controller.journal.sinks import Journals, read_file
from controller.loop.manual import operate
from controller.shared.redis_pool import open_redis
from controller.store.flag_store import StoreError
from controller.store.redis_store import RedisFlagStore

GATE_LIMIT_S = 3.0


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
        client = open_redis(self.url, 0.5)
        keys = [*flag_keys("microsoft"), revision_key("microsoft")]
        while not self._stopping.wait(SAMPLE_S):
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
        self.went_back: list[float] = []
        """When Redis lost everything, and when it lost its last writes."""
        self.harm: list[str] = []
        """What was seen to go wrong on the way."""
        self._features = load_features(world.daemons["a"].config)
        self._store = RedisFlagStore(open_redis(world.redis.url, 1.0))
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
        """Wait until a step is taken again, with no help but a person's resume.

        A burst that was forgiven stays in the evidence of its step, which would take hours to prove health:
        a resume begins it again.
        """
        wait_until(self._all_tick, 20, "both controllers tick")
        if "sends fail" in self.told:
            self._act(Kind.PAUSE)
        wait_until(self._moves(len(self._steps())), 60, f"a step after {self.told}")
        time.sleep(2 * TICK_S)
        if "sends fail" not in self.told:
            paused = [one["detail"] for one in self._store.history("microsoft") if _seen_live(one)]
            self.harm += [f"paused while no send failed: {detail}" for detail in paused]

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
            "redis forgets its last writes": self._forgetting,
            "redis loses a pause key": _both(
                lambda: self._direct().delete(flag_key("microsoft", "paused")), _nothing
            ),
            "redis only reads": _both(self._only_read, lambda: self._direct().replicaof("no", "one")),
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
            "somebody pauses by hand": _both(
                lambda: self._direct().set(flag_key("microsoft", "paused"), "true"), _nothing
            ),
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
                f"{name}'s redis is slow": _both(*_slow(world.to_redis[name], 0.3)),
                f"{name}'s prometheus hangs": _both(*_hanging(world.to_prometheus[name])),
                f"{name}'s prometheus is slow": _both(*_slow(world.to_prometheus[name], 0.2)),
                f"{name}'s file cannot be written": _both(*_unwritable(daemon.journal)),
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

    @contextmanager
    def _forgetting(self) -> Iterator[None]:
        """Let Redis go back to what it was, as a failover to a replica that lagged behind does.

        A controller that saw the lost writes has to notice before a person acts on what came back.
        """
        with redis.Redis(port=self.world.redis.port, socket_timeout=5) as raw:
            names: Any = raw.keys("*")
            kept = [(name, max(0, cast("int", raw.pttl(name))), raw.dump(name)) for name in names]
            yield
            back = raw.pipeline(transaction=True).flushall()
            for name, left_ms, value in kept:
                if value is not None:
                    back.restore(name, left_ms, value)
            self.went_back.append(time.monotonic())
            back.execute()
        time.sleep(2.5 * TICK_S)

    def _only_read(self) -> None:
        self._direct().config_set("replica-serve-stale-data", "yes")
        self._direct().replicaof("127.0.0.1", "1")

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
        return open_redis(self.world.redis.url, 1.0)

    def course(self) -> Course:
        """Return what is left of it all, and what was seen on the way."""
        return Course(
            stream=list(self._store.history("microsoft")),
            files={name: list(read_file(d.journal)) for name, d in self.world.daemons.items()},
            flags=self._store.read(["microsoft"])[0].flags,
            seen=self._watcher.seen,
            steps=self._features["microsoft"].steps,
            resumes=self.resumes,
            emptied=self.emptied,
            went_back=self.went_back,
        )


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


def _slow(proxy: Any, delay_s: float) -> tuple[Callable[[], object], Callable[[], object]]:
    return lambda: setattr(proxy, "delay_s", delay_s), proxy.heal


def _unwritable(file: Path) -> tuple[Callable[[], object], Callable[[], object]]:
    """Put a folder where a file is; what the file held comes back."""
    aside = file.with_suffix(".aside")

    def begin() -> None:
        if file.exists():
            file.rename(aside)
        file.mkdir()

    def end() -> None:
        file.rmdir()
        if aside.exists():
            aside.rename(file)

    return begin, end


def _nothing() -> None:
    return None


__all__ = ["FEATURES", "Story"]


def _seen_live(record: dict[str, Any]) -> bool:
    evidence = record["evidence"] or {}
    return record["kind"] == Kind.PAUSE and evidence.get("source") == LIVE
