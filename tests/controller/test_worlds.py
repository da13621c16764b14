"""Worlds that users have, on a real Prometheus: what cannot be is not believed, and its cause is named.

One process serves every target of this module: what stands behind an address is changed while it runs.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from kit.examples import sampled
from kit.servers import PrometheusServer
from kit.waiting import wait_until
from worlds.addresses import PER_S, Address, Sender
from worlds.snapshots import FEATURE

from controller.decision.model import Evidence, Reason, State
from controller.evidence.progress import Lengths
from controller.evidence.prometheus import PrometheusSource
from controller.evidence.windows import EvidenceRequest
from controller.rules.rule_files import rule_files
from controller.rules.scale import Scale
from controller.rules.scope import Scope
from controller.rules.yaml_text import yaml_text

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
SCALE = Scale.of(window_s=1, scrape_s=0.5)
SOON_S = 90.0
SHARES = sampled((0.03, 0.0, 0.3), 1)
STAGING = 0.6


class World:
    """A Prometheus over one address, found through a file of targets, and two environments in one job."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.address, self.staging = Address(Sender()), Address(Sender(STAGING))
        stack.callback(self.address.close)
        stack.callback(self.staging.close)
        self._targets = folder / "targets.json"
        self.find({"env": "prod"})
        for scope in SCOPES.values():
            place = folder / scope.labels[0][1]
            place.mkdir()
            for file in rule_files([FEATURE], SCALE, scope):
                (place / file.name).write_text(yaml_text(file), encoding="utf-8")
        self.prometheus = stack.enter_context(
            PrometheusServer(folder, CONFIG.format(rules=folder, targets=self._targets))
        )
        self.sources = {
            name: PrometheusSource(self.prometheus.url, Lengths(SCALE.window_s, SCALE.scrape_s), scope=scope)
            for name, scope in SCOPES.items()
        }
        self.judged_to: dict[str, float] = {}
        self.seen: list[Evidence] = []
        """What was read of production."""

    def find(self, *labels: dict[str, str], host: str = "127.0.0.1") -> None:
        """Have Prometheus find the address under these labels, once for each; the staging one beside it."""
        groups = [
            f'{{"targets": ["{one.pop("host", host)}:{self.address.port}"], "labels": {json_of(one)}}}'
            for one in map(dict, labels)
        ]
        staging = f'{{"targets": ["127.0.0.1:{self.staging.port}"], "labels": {{"env": "staging"}}}}'
        text = f"[{', '.join([*groups, staging])}]"
        new = self._targets.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.rename(self._targets)

    def read(self, env: str = "prod") -> Evidence:
        """Read what lies behind the last reading, as one tick does after the other."""
        state = State(judged_to=self.judged_to.get(env, 0.0))
        asked = [EvidenceRequest(FEATURE, 0, state)]
        evidence = self.sources[env].read(asked, time.time(), 5.0)[FEATURE.name]
        self.judged_to[env] = evidence.judged_to
        self.seen += [evidence] if env == "prod" else []
        return evidence

    def holds(self, words: str) -> Callable[[], bool]:
        def held() -> bool:
            evidence = self.read()
            return evidence.problem is Reason.METRICS_INCOMPLETE and words in evidence.detail

        return held

    def sound(self) -> bool:
        evidence = self.read()
        return evidence.problem is None and any(window.sends > 0 for window in evidence.windows)


def json_of(labels: dict[str, str]) -> str:
    return "{" + ", ".join(f'"{name}": "{value}"' for name, value in labels.items()) + "}"


SCOPES = {env: Scope(labels=(("env", env),)) for env in ("prod", "staging")}
CONFIG = """
global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 1s}}
rule_files: ["{rules}/prod/*.yml", "{rules}/staging/*.yml"]
scrape_configs:
  - job_name: rollout-sender
    file_sd_configs: [{{files: ["{targets}"], refresh_interval: 1s}}]
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path_factory.mktemp("worlds"), stack)


@pytest.fixture(params=SHARES)
def failing(request: pytest.FixtureRequest) -> float:
    """Return the share of failing sends of the processes that answer."""
    share: float = request.param
    return share


@pytest.fixture
def world(running: World, failing: float) -> Iterator[World]:
    """Return a world in which nothing is broken; whatever happens then, no window looks worse than it was."""
    running.address.senders = [Sender(failing)]
    running.find({"env": "prod"})
    wait_until(running.sound, SOON_S, "evidence without a doubt")
    running.seen.clear()
    yield running
    windows = [window for evidence in running.seen for window in evidence.windows]
    errors, sends = sum(window.errors for window in windows), sum(window.sends for window in windows)
    assert errors <= failing * sends + len(windows)
    assert sum(window.slow for window in windows) == 0


def counted(world: World, ticks: int = 4) -> tuple[list[Evidence], float]:
    """Read for some windows, and return what was read and how many sends were counted."""
    seen = []
    for _ in range(ticks):
        time.sleep(SCALE.window_s)
        seen.append(world.read())
    return seen, sum(window.sends for one in seen for window in one.windows)


def test_workers_behind_one_address_are_named_and_nothing_of_them_is_believed(
    world: World, failing: float
) -> None:
    age_s = 3600.0
    world.address.senders = [Sender(failing, age_s + k) for k in range(3)]
    wait_until(
        world.holds(f"several processes answer behind 127.0.0.1:{world.address.port}"), SOON_S, "the hold"
    )
    seen, sends = counted(world)
    assert {one.problem for one in seen} == {Reason.METRICS_INCOMPLETE}
    assert sends <= 5 * PER_S, "not the life of a worker"


def test_the_hold_is_over_once_each_process_is_asked_alone(world: World, failing: float) -> None:
    world.address.senders = [Sender(failing, 3600.0 + k) for k in range(2)]
    wait_until(world.holds("several processes"), SOON_S, "the hold")
    world.address.senders = world.address.senders[:1]
    wait_until(world.sound, SOON_S, "evidence without a doubt")


def test_a_new_label_of_a_running_process_counts_its_life_never(world: World, failing: float) -> None:
    world.address.senders = [Sender(failing, age_s=3600.0)]
    wait_until(world.sound, SOON_S, "evidence without a doubt")
    world.find({"env": "prod", "pod": "mail-1"})
    wait_until(world.holds(""), SOON_S, "the hold")
    _, sends = counted(world)
    assert sends < 10 * PER_S, "not the 720,000 of an hour"
    wait_until(world.sound, SOON_S, "evidence without a doubt")


def test_one_process_under_two_names_is_found_and_named(world: World, failing: float) -> None:
    world.address.senders = [Sender(failing, age_s=3600.0)]
    wait_until(world.sound, SOON_S, "evidence without a doubt")
    world.find({"env": "prod"}, {"env": "prod", "host": "localhost"})
    wait_until(world.holds("are one process, so its sends count twice"), SOON_S, "the hold")
    seen, _ = counted(world)
    rates = [window.sends for one in seen for window in one.windows]
    assert max(rates) < 1.5 * PER_S * SCALE.window_s
    world.find({"env": "prod"})
    wait_until(world.sound, SOON_S, "evidence without a doubt")


def test_a_sender_without_the_edge_is_named_and_its_sends_are_not_slow(world: World, failing: float) -> None:
    world.address.senders = [Sender(failing, edges=("0.4",))]
    wait_until(world.holds("no edge at 0.5 s"), SOON_S, "the hold")
    evidence, _ = counted(world)
    assert sum(window.slow for one in evidence for window in one.windows) == 0


def test_a_crash_loop_is_named_and_what_it_counted_is_never_more_than_it_sent(
    world: World, failing: float
) -> None:
    began, sends = time.time(), 0.0
    for _ in range(4):
        world.address.senders = []
        time.sleep(0.7)
        world.address.senders = [Sender(failing)]
        time.sleep(1.6)
        evidence = world.read()
        sends += sum(window.sends for window in evidence.windows)
        assert evidence.problem in {Reason.METRICS_INCOMPLETE, Reason.METRICS_STALE}
    assert sends <= PER_S * (time.time() - began + 4 * SCALE.window_s)
    wait_until(world.sound, SOON_S, "evidence without a doubt")


def test_scaling_to_zero_and_back_is_named_meanwhile(world: World) -> None:
    world.find()
    wait_until(world.holds("no target of the job rollout-sender with env prod"), SOON_S, "the hold")
    world.find({"env": "prod"})
    wait_until(world.sound, SOON_S, "evidence without a doubt")


def test_two_environments_of_one_job_do_not_add_up(world: World, failing: float) -> None:
    wait_until(lambda: world.read("staging").problem is None, SOON_S, "evidence of staging")
    for env, true in (("prod", failing), ("staging", STAGING)):
        windows = [window for _ in range(6) for window in reads(world, env).windows]
        assert windows
        shares = [window.errors / window.sends for window in windows if window.sends]
        assert all(abs(share - true) < 0.1 for share in shares)
        assert all(window.sends < 1.7 * PER_S * SCALE.window_s for window in windows)


def reads(world: World, env: str) -> Evidence:
    time.sleep(SCALE.window_s / 2)
    return world.read(env)


def test_windows_that_no_rule_recorded_are_counted_afterwards(world: World) -> None:
    before = world.judged_to["prod"]
    file = next(Path(world._targets.parent / "prod").glob("prometheus-recording-rollout.yml"))
    text = file.read_text(encoding="utf-8")
    file.write_text("groups: []\n", encoding="utf-8")
    reload(world)
    time.sleep(4 * SCALE.window_s)
    file.write_text(text, encoding="utf-8")
    reload(world)
    back = time.time()
    seen: list[Evidence] = []

    def caught_up() -> bool:
        seen.append(world.read())
        return seen[-1].problem is None and any(window.at > back for window in seen[-1].windows)

    wait_until(caught_up, SOON_S, "evidence without a doubt")
    ends = [window.at for one in seen for window in one.windows]
    sends = sum(window.sends for one in seen for window in one.windows)
    assert len(ends) >= 4
    assert sends == pytest.approx(PER_S * (ends[-1] - before), rel=0.2)


def reload(world: World) -> None:
    process = world.prometheus._process
    assert process is not None
    process.send_signal(signal.SIGHUP)


def test_prometheus_away_for_a_while_is_named_and_over_when_it_is_back(world: World) -> None:
    world.prometheus.kill()
    assert world.read().problem is Reason.METRICS_UNREACHABLE
    time.sleep(5 * SCALE.window_s)
    world.prometheus.start()
    wait_until(lambda: world.read().problem is Reason.METRICS_INCOMPLETE, SOON_S, "a hold that names it")
    wait_until(world.sound, SOON_S, "evidence without a doubt")
