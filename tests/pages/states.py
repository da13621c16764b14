"""The status page in every state, made by real ticks on a real Redis, to be looked at."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from kit.servers import RedisServer
from kit.serving import Served, serving
from worlds.fault_rig import Rig, Weather

from controller.decision.feature import Links
from controller.decision.model import Kind, Reason
from controller.features import ROLLOUT_FEATURES

_LONGEST_TICKS = 400
LINKED = replace(
    ROLLOUT_FEATURES["microsoft"],
    links=Links(
        runbook="https://runbooks.example/outlook",
        dashboard="https://grafana.example/d/rollout",
        release="https://forge.example/releases/4.2",
    ),
)
FEATURES = {"microsoft": LINKED}
AWAY = "http://127.0.0.1:1"
"""Where no Prometheus answers."""


@dataclass
class Story:
    """A rollout whose ticks have brought it to where a picture wants it; its clock ends at the present."""

    rig: Rig

    def enabled(self) -> None:
        self.rig.person(Kind.ENABLE)

    def reach(self, percent: float) -> None:
        """Enable it, and tick until it is at a percentage."""
        self.enabled()
        controller = self.rig.controller()
        for _ in range(_LONGEST_TICKS):
            if self.rig.flags().rollout_percent >= percent:
                break
            self.rig.tick(controller)
        controller.release()

    def up_to(self, percent: float) -> None:
        """Reach a percentage, and tick until something was counted there."""
        self.reach(percent)
        self.ticks(4)

    def ticks(self, count: int) -> None:
        controller = self.rig.controller()
        self.rig.tick(controller, count)
        controller.release()


def ramping(story: Story) -> None:
    story.up_to(25)


def held(story: Story) -> None:
    story.reach(10)
    story.rig.weather.sends = 0.0
    story.ticks(6)


def paused_by_breach(story: Story) -> None:
    story.up_to(10)
    story.rig.weather.errors = 30.0
    story.ticks(4)


def paused_by_a_person(story: Story) -> None:
    story.up_to(25)
    story.rig.person(Kind.PAUSE)
    story.ticks(3)


def complete_internally(story: Story) -> None:
    story.up_to(100)


def complete(story: Story) -> None:
    story.rig.person(Kind.OPEN)
    story.up_to(100)


def metrics_away(story: Story) -> None:
    story.up_to(10)
    story.rig.weather.problem = Reason.METRICS_UNREACHABLE
    story.rig.weather.detail = "Prometheus at 127.0.0.1:9090 does not answer (ConnectError)"
    story.ticks(3)


def disabled(_: Story) -> None:
    return None


STATES: dict[str, Callable[[Story], None]] = {
    "disabled": disabled,
    "ramping": ramping,
    "held": held,
    "paused-by-breach": paused_by_breach,
    "paused-by-a-person": paused_by_a_person,
    "complete-internally": complete_internally,
    "complete": complete,
    "metrics-away": metrics_away,
}


@contextmanager
def state(name: str, folder: Path, prometheus_url: str = AWAY) -> Iterator[Served]:
    """Serve the page of one feature in a state that it came to just now."""
    source = AWAY if name == "metrics-away" else prometheus_url
    folder.mkdir(exist_ok=True)
    with _told(name, folder / "trial", 0.0) as (_, took_s):
        began = time.time() - took_s
    with _told(name, folder / "shown", began) as (url, _), _serving(url, source) as served:
        yield served


def _serving(url: str, prometheus_url: str) -> AbstractContextManager[Served]:
    return serving(url, features=FEATURES, prometheus_url=prometheus_url)


@contextmanager
def _told(name: str, folder: Path, began: float) -> Iterator[tuple[str, float]]:
    """Tell a state's story; yields the Redis that it was told to and how long it took on its own clock."""
    folder.mkdir()
    with RedisServer(folder) as server, server.client() as client:
        weather = Weather(now=began or 1_000_000.0)
        start = weather.now
        STATES[name](Story(Rig(server.url, client, folder / "decisions.jsonl", weather, feature=LINKED)))
        yield server.url, weather.now - start


@contextmanager
def sixty_features(folder: Path, prometheus_url: str = AWAY) -> Iterator[Served]:
    """Serve the overview of many features, few of which want a person."""
    folder.mkdir(exist_ok=True)
    base = ROLLOUT_FEATURES["microsoft"]
    names = [f"{team}_{mail}" for team in _TEAMS for mail in _MAILS]
    features = {name: replace(base, name=name, action=f"{name}.send") for name in names}
    with (
        RedisServer(folder) as server,
        serving(server.url, features=features, prometheus_url=prometheus_url) as served,
    ):
        for i, name in enumerate(names):
            if i % 6 == 5:
                continue
            served.person(Kind.ENABLE, feature=name)
            served.person(Kind.SET, percent=(100.0, 100.0, 25.0, 100.0, 5.0)[i % 6], feature=name)
        for name in names[7::24]:
            served.person(Kind.PAUSE, feature=name, note="error reports from the help desk, ticket 4711")
        yield served


_TEAMS = ("billing", "orders", "support", "travel", "press", "hr", "legal", "events", "school", "clinic")
_MAILS = ("invoices", "reminders", "digests", "alerts", "welcome", "surveys")
