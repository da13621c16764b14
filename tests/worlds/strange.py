"""A Redis with two open features, and controllers on it: one feature turns strange, the other breaks."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import redis
from worlds.fault_rig import TICK_S

from controller.contract import FLAG_NAMES, Flags, flag_key, parse_flags
from controller.decision.model import Evidence, Kind, Window
from controller.evidence.windows import EvidenceRequest
from controller.features import ROLLOUT_FEATURES
from controller.journal.sinks import Journals
from controller.loop.manual import operate
from controller.loop.tick import Controller
from controller.shared.redis_pool import open_redis
from controller.store.lease import RedisLease
from controller.store.redis_store import RedisFlagStore

OPEN = ("true", "false", "50", "false")
STRANGE, BROKEN = "google", "microsoft"


@dataclass
class Weather:
    """Evidence on a clock of its own: the strange feature is healthy, the other breaks as a test says."""

    now: float = field(default_factory=time.time)
    errors: float = 0.0

    def read(
        self, questions: Sequence[EvidenceRequest], now: float, deadline_s: float
    ) -> dict[str, Evidence]:
        return {one.feature.name: self._of(one) for one in questions}

    def _of(self, question: EvidenceRequest) -> Evidence:
        errors = self.errors if question.feature.name == BROKEN else 0.0
        window = Window(at=self.now, sends=300.0, errors=errors, timed=300.0, slow=0.0)
        fresh = question.state.judged_to and self.now - TICK_S >= question.state.counted_from
        return Evidence(now=self.now, windows=(window,) if fresh else (), judged_to=self.now)


@dataclass
class World:
    """A Redis with two open features, and controllers on it."""

    url: str
    raw: redis.Redis
    """Answers with bytes."""
    weather: Weather = field(default_factory=Weather)

    def begin(self) -> Controller:
        """Start again: both features open at 50 %, and watched for some ticks."""
        self.raw.flushall()
        self.weather.errors = 0.0
        for name in (STRANGE, BROKEN):
            for flag, text in zip(FLAG_NAMES, OPEN, strict=True):
                self.raw.set(flag_key(name, flag), text)
        controller = self.controller()
        self.tick(controller, 3)
        return controller

    def controller(self) -> Controller:
        return Controller(
            ROLLOUT_FEATURES,
            store=RedisFlagStore(open_redis(self.url, 2.0)),
            source=self.weather,
            lease=RedisLease(open_redis(self.url, 2.0), lease_s=90, monotonic=time.monotonic),
            journal=Journals(),
            wall=lambda: self.weather.now,
            monotonic=time.monotonic,
            window_s=TICK_S,
            deadline_s=10.0,
        )

    def tick(self, controller: Controller, count: int = 1) -> None:
        for _ in range(count):
            self.weather.now += TICK_S
            report = controller.tick()
            assert not report.error, report.error

    def flags(self, name: str) -> Flags:
        texts = [value if value is None else value.decode("latin-1") for value in self._mget(name)]
        return parse_flags(tuple(texts))

    def _mget(self, name: str) -> list[Any]:
        return list(self.raw.mget([flag_key(name, flag) for flag in FLAG_NAMES]))

    def bytes_of(self, key: str) -> bytes:
        return cast("bytes", self.raw.get(key))

    def pause(self, name: str) -> dict[str, Any]:
        store = RedisFlagStore(open_redis(self.url, 2.0))
        feature = ROLLOUT_FEATURES[name]
        return operate(store, Journals(), feature, Kind.PAUSE, actor="ann", note="why", now=self.weather.now)
