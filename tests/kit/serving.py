"""The HTTP face on a real uvicorn and a real Redis, in this process, for tests that need no ticks."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import redis
import uvicorn
from kit.servers import free_port
from kit.waiting import patience, wait_until
from starlette.routing import BaseRoute

from adapter.gate.rollout_gate import RolloutGate
from controller.config.settings import ControllerSettings
from controller.contract import Flags, decisions_key
from controller.decision.model import Kind
from controller.features import ROLLOUT_FEATURES, RolloutFeature
from controller.journal.sinks import Journals
from controller.loop.manual import operate
from controller.loop.tick import Report
from controller.shared.redis_pool import open_redis
from controller.store.redis_store import RedisFlagStore
from controller.web.context import ServerContext
from controller.web.guard.connections import listen_on, server_config
from controller.web.server import build_app

TOKEN = "sandbox-token"
SIGNED = {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class Ticks:
    """The health of a daemon whose ticks go as a test says."""

    report: Report = field(default_factory=lambda: Report(leader=True))
    on_time: bool = True
    reloads: int = 0
    config_error: str = ""
    config_agrees: bool = True
    unwatched: tuple[str, ...] = ()
    pid: int = field(default_factory=os.getpid)

    def fresh(self, monotonic: float) -> bool:
        return self.on_time


@dataclass
class Served:
    """The face under test, and what a test does behind its back."""

    http: httpx.Client
    settings: ControllerSettings
    store: RedisFlagStore
    ticks: Ticks
    asked_ticks: list[float]

    @property
    def url(self) -> str:
        return str(self.http.base_url).rstrip("/")

    def person(
        self, kind: Kind, percent: float | None = None, feature: str = "microsoft", note: str = "test"
    ) -> dict[str, Any]:
        """Do what a person does with the command line."""
        chosen = self.settings.features[feature]
        return operate(
            self.store,
            Journals(),
            chosen,
            kind,
            actor="tester",
            note=note,
            now=time.time(),
            percent=percent,
        )

    def act(self, what: str, feature: str = "microsoft", headers: Any = None, **body: Any) -> httpx.Response:
        path = f"/api/v1/features/{feature}/{what}"
        return self.http.post(path, json=body, headers=SIGNED if headers is None else headers)


@contextmanager
def serving(
    redis_url: str,
    *,
    token: str = f"ann:{TOKEN}",
    prometheus_url: str = "http://127.0.0.1:1",
    routes: Sequence[BaseRoute] = (),
    features: dict[str, RolloutFeature] | None = None,
    dry_run: bool = False,
    config_path: Path | None = None,
    requests_per_s: float = 1000.0,
    **further: Any,
) -> Iterator[Served]:
    """Serve until the block ends."""
    settings = ControllerSettings(
        features=features or dict(ROLLOUT_FEATURES),
        config_path=config_path,
        redis_url=redis_url,
        prometheus_url=prometheus_url,
        listen=f"127.0.0.1:{free_port()}",
        api_token=token,
        requests_per_s=requests_per_s,
        **further,
    )
    store, ticks = RedisFlagStore(open_redis(redis_url, patience())), Ticks()
    for feature in settings.features.values():
        store.create_missing(feature.name, Flags(False, True, feature.initial_percent, False))
    asked: list[float] = []
    with RolloutGate.connect(redis_url, settings.features, []) as gate:
        context = ServerContext(
            health=ticks,
            settings=lambda: settings,
            store=store,
            gate=gate,
            dry_run=dry_run,
            tick_soon=lambda: asked.append(time.monotonic()),
            stopping=lambda: server.should_exit,
        )
        server = uvicorn.Server(server_config(build_app(context, routes), settings, grace_s=1))
        listening = [listen_on(*settings.listen_address)]
        thread = threading.Thread(target=server.run, kwargs={"sockets": listening})
        thread.start()
        try:
            wait_until(lambda: server.started, what="the server's start")
            wait_until(lambda: gate.age_s < 1, what="the gate's first reading")
            with httpx.Client(base_url=f"http://{settings.listen}", timeout=10, trust_env=False) as http:
                yield Served(http, settings, store, ticks, asked)
        finally:
            server.should_exit = True
            thread.join(10)


def entries(client: redis.Redis, feature: str = "microsoft") -> int:
    """Count the decisions kept."""
    return int(client.xlen(decisions_key(feature)))
