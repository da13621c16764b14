"""What fault tests share: controllers in this process, on a real Redis, with evidence as a test wants it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from controller.contract import FLAG_NAMES, Flags, flag_key
from controller.decision.model import Evidence, Kind, Reason, Window
from controller.evidence.windows import EvidenceRequest
from controller.features import ROLLOUT_FEATURES, RolloutFeature
from controller.journal.reconcile import Reconciler
from controller.journal.sinks import FileJournal, Journal, Journals
from controller.loop.manual import operate
from controller.loop.tick import Controller, Report
from controller.shared.redis_pool import key_prefix, open_redis
from controller.store.flag_store import FlagStore
from controller.store.lease import RedisLease
from controller.store.redis_store import RedisFlagStore

FEATURE = ROLLOUT_FEATURES["microsoft"]
TICK_S = 30.0
REDIS_TIMEOUT_S = 0.3


@dataclass
class Weather:
    """A source on a clock of its own, whose windows are as a test says; `meanwhile` happens on reading."""

    sends: float = 300.0
    errors: float = 0.0
    now: float = 1_000_000.0
    problem: Reason | None = None
    detail: str = ""
    meanwhile: Callable[[], object] = lambda: None

    def read(
        self, questions: Sequence[EvidenceRequest], now: float, deadline_s: float
    ) -> dict[str, Evidence]:
        self.meanwhile()
        return {question.feature.name: self._evidence(question) for question in questions}

    def _evidence(self, question: EvidenceRequest) -> Evidence:
        window = Window(at=self.now, sends=self.sends, errors=self.errors, timed=self.sends, slow=0.0)
        fresh = question.state.judged_to and self.now - TICK_S >= question.state.counted_from
        windows = (window,) if fresh and not self.problem else ()
        return Evidence(
            now=self.now, windows=windows, judged_to=self.now, problem=self.problem, detail=self.detail
        )


@dataclass
class Rig:
    """Controllers whose ticks follow one after the other on a clock that the test drives."""

    url: str
    client: redis.Redis
    file: Path
    weather: Weather = field(default_factory=Weather)
    feature: RolloutFeature = FEATURE

    def store(self, url: str = "") -> RedisFlagStore:
        return RedisFlagStore(open_redis(url or self.url, REDIS_TIMEOUT_S))

    def controller(
        self,
        *,
        url: str = "",
        file: Path | None = None,
        lease_s: float = 90.0,
        store: FlagStore | None = None,
    ) -> Controller:
        """Make a controller that keeps its decisions in a file and in Redis, as the daemon's does."""
        opened = store or self.store(url)
        journal = Reconciler(opened, FileJournal(file or self.file))
        client = open_redis(url or self.url, REDIS_TIMEOUT_S)
        lease = RedisLease(client, lease_s=lease_s, monotonic=time.monotonic, known_epoch=journal.known_epoch)
        return Controller(
            {self.feature.name: self.feature},
            store=opened,
            source=self.weather,
            lease=lease,
            journal=journal,
            wall=lambda: self.weather.now,
            monotonic=time.monotonic,
            window_s=TICK_S,
            deadline_s=2.0,
            known=journal.known,
            catch_up=journal.catch_up,
        )

    def tick(self, controller: Controller, count: int = 1) -> Report:
        report = Report()
        for _ in range(count):
            self.weather.now += TICK_S
            report = controller.tick()
        return report

    def person(
        self, kind: Kind, percent: float | None = None, journal: Journal | None = None
    ) -> dict[str, Any]:
        return operate(
            self.store(),
            journal or Journals(),
            self.feature,
            kind,
            actor="ann",
            note="why",
            now=self.weather.now,
            percent=percent,
        )

    def edit(self, **flags: str) -> None:
        """Edit flags as redis-cli would."""
        for name, text in flags.items():
            self.client.set(key_prefix(self.client) + flag_key("microsoft", name), text)

    def flags(self) -> Flags:
        return self.store().read(["microsoft"])[0].flags

    def texts(self) -> Mapping[str, str | None]:
        return dict(zip(FLAG_NAMES, self.store().read(["microsoft"])[0].texts, strict=True))

    def stream(self) -> list[dict[str, Any]]:
        return list(self.store().history("microsoft"))
