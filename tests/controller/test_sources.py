"""What every source of evidence must say of a world that breaks, on real servers: a hold with its reason."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kit.servers import PrometheusServer, free_port
from kit.waiting import wait_until
from worlds.snapshots import FEATURE, at_step, changed

from controller.contract import EVIDENCE_ERRORS, EVIDENCE_LATENCY_BUCKET, EVIDENCE_SENDS
from controller.decision.decide import decide
from controller.decision.judging.judge import feature_tests
from controller.decision.judging.slo_tests import with_window
from controller.decision.model import METRICS_PROBLEMS, Decision, Evidence, Kind, Reason, SloState, State
from controller.evidence.progress import Lengths
from controller.evidence.prometheus import PrometheusSource
from controller.evidence.windows import EvidenceRequest
from controller.rules.rule_files import rule_files
from controller.rules.scale import Scale
from controller.rules.yaml_text import yaml_text
from controller.sandbox.alerting import BACKENDS, Backend
from controller.sandbox.processes import Process, Processes
from controller.sandbox.servers import Ports
from controller.whatif.recorded import Recorded

SCALE = Scale.of(window_s=1, scrape_s=0.5)
SOON_S = 60.0
SENDERS = ("sender-0", "sender-1")
HERE = {
    "prometheus": ("prometheus", "prometheus", "tsdb"),
    "victoria": ("victoria-metrics", "vmalert", "victoria"),
}
"""Of each backend: the process that stores, the one that evaluates rules, and the folder on disk."""
_TESTS = feature_tests(FEATURE, SCALE.window_s)
PROVEN = {
    "error_rate": with_window(_TESTS.error_rate, SloState(), 5000, 0, proves_health=True),
    "latency": with_window(_TESTS.latency, SloState(), 5000, 0, proves_health=True),
}


@dataclass
class World:
    """A backend that scrapes two senders, and a source that reads it."""

    name: str
    processes: Processes
    backend: Backend
    source: PrometheusSource
    judged_to: float = 0.0

    @property
    def storage(self) -> Process:
        return self.processes.all[HERE[self.name][0]]

    @property
    def evaluator(self) -> Process:
        return self.processes.all[HERE[self.name][1]]

    @property
    def disk(self) -> Path:
        return self.processes.folder / HERE[self.name][2]

    @property
    def rules(self) -> Path:
        return self.processes.folder / "rules"

    def read(self) -> Evidence:
        """Read what lies behind the last reading, as one tick does after the other."""
        state = changed(at_step(), state={"judged_to": self.judged_to, "counted_from": 0.0}).state
        evidence = self.source.read([EvidenceRequest(FEATURE, 0, state)], time.time(), 5.0)[FEATURE.name]
        self.judged_to = evidence.judged_to
        return evidence

    def decide(self, percent: float = 5.0) -> Decision:
        """Decide a step that is proven healthy and baked, so that only what is read now can hold it."""
        evidence = self.read()
        state = {**PROVEN, "counted_from": evidence.now - 3600, "judged_to": evidence.judged_to}
        return decide(changed(at_step(percent), evidence=evidence, state=state, window_s=SCALE.window_s))

    def steps_up(self) -> bool:
        return self.decide().kind is Kind.STEP_UP

    def holds(self, reason: Reason, words: str, percent: float = 5.0) -> Callable[[], bool]:
        def held() -> bool:
            decision = self.decide(percent)
            return (decision.kind, decision.reason) == (Kind.HOLD, reason) and words in decision.detail

        return held

    def write_rules(self, *changes: tuple[str, str]) -> None:
        """Write the rule files, with some words changed, and have them loaded."""
        for file in rule_files([FEATURE], SCALE):
            text = yaml_text(file)
            for old, new in changes:
                text = text.replace(old, new)
            (self.rules / file.name).write_text(text, encoding="utf-8")
        self.evaluator.signal(signal.SIGHUP)

    def drop_rules(self) -> None:
        (self.rules / "prometheus-recording-rollout.yml").unlink()
        self.evaluator.signal(signal.SIGHUP)


@pytest.fixture(scope="module", params=sorted(name for name in HERE if shutil.which(HERE[name][0])))
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with Processes(tmp_path_factory.mktemp("sources")) as processes:
        ports = Ports((free_port(), free_port()), free_port(), free_port())
        for name, port in zip(SENDERS, ports.senders, strict=True):
            script = str(Path(__file__).parents[1] / "kit" / "metric_sender.py")
            processes.start(name, port, [sys.executable, script, str(port)])
        backend = BACKENDS[request.param](processes, rule_files([FEATURE], SCALE), SCALE, ports)
        lengths = Lengths(SCALE.window_s, SCALE.scrape_s)
        source = PrometheusSource(backend.query_url, lengths, rules_url=backend.rules_url)
        yield World(request.param, processes, backend, source)
        source.close()


@pytest.fixture
def world(running: World) -> World:
    """Return a world in which nothing is broken: a step that is proven is taken."""
    wait_until(running.steps_up, SOON_S, "a step on healthy metrics")
    return running


def test_a_killed_sender_is_incomplete_and_named_until_it_is_back(world: World) -> None:
    sender = world.processes.all[SENDERS[1]]
    sender.signal(signal.SIGKILL)
    wait_until(world.holds(Reason.METRICS_INCOMPLETE, f"127.0.0.1:{sender.port}"), SOON_S, "the hold")
    time.sleep(5 * SCALE.window_s)
    assert world.holds(Reason.METRICS_INCOMPLETE, f"127.0.0.1:{sender.port}")()
    world.processes.start_again(SENDERS[1])
    wait_until(world.steps_up, SOON_S, "a step with both senders")


def test_a_scrape_that_hangs_is_incomplete_and_the_sender_named(world: World) -> None:
    sender = world.processes.all[SENDERS[0]]
    sender.signal(signal.SIGSTOP)
    wait_until(world.holds(Reason.METRICS_INCOMPLETE, f"127.0.0.1:{sender.port}"), SOON_S, "the hold")
    sender.signal(signal.SIGCONT)
    wait_until(world.steps_up, SOON_S, "a step with both senders")


def test_rules_that_were_deleted_hold_the_first_step_too_until_they_are_loaded_again(world: World) -> None:
    world.drop_rules()
    for percent in (5.0, 0.0):
        held = world.holds(Reason.METRICS_INCOMPLETE, "rules are not loaded: rollout:evidence_sends", percent)
        wait_until(held, SOON_S, f"the hold at {percent:g} %")
    world.write_rules()
    wait_until(world.steps_up, SOON_S, "a step with the rules")


def test_a_value_that_is_twenty_seconds_old_is_stale_although_all_else_is_there(world: World) -> None:
    world.write_rules((f"interval: {SCALE.window_s:g}s", "interval: 1h"))
    wait_until(lambda: (world.read().sample_age_s or 0) > 20, SOON_S, "an old value")
    assert "s old, more than 4 s" in world.decide().detail
    world.write_rules()
    wait_until(world.steps_up, SOON_S, "a step on new values")


def test_an_emptied_disk_holds_until_it_has_measured_anew_and_nothing_is_counted_twice(world: World) -> None:
    before = world.read().judged_to
    world.storage.signal(signal.SIGKILL)
    wait_until(world.holds(Reason.METRICS_UNREACHABLE, "cannot be reached"), SOON_S, "the hold")
    world.storage.popen.wait(5)
    shutil.rmtree(world.disk)
    time.sleep(3 * SCALE.window_s)
    world.processes.start_again(world.storage.name)
    seen: list[Evidence] = []

    def measured_anew() -> bool:
        seen.append(world.read())
        return bool(seen[-1].windows)

    wait_until(measured_anew, SOON_S, "a new window")
    assert {one.problem for one in seen[:-1]} <= METRICS_PROBLEMS
    ends = [window.at for one in seen for window in one.windows]
    assert before < ends[0]
    assert len(ends) == len(set(ends))
    assert sum(one.unmeasured_s for one in seen) >= 3 * SCALE.window_s


def test_an_alert_of_the_feature_holds_while_it_is_only_pending(world: World) -> None:
    labels = "{provider: microsoft, action: outlook.send}"
    rule = f"{{alert: OwnAlert, expr: vector(time()) < {time.time() + 8:.0f}, for: 1h, labels: {labels}}}"
    text = f"groups: [{{name: own, interval: 1s, rules: [{rule}]}}]\n"
    (world.rules / "own.yml").write_text(text, encoding="utf-8")
    world.evaluator.signal(signal.SIGHUP)
    wait_until(world.holds(Reason.ALERT_FIRING, "OwnAlert"), SOON_S, "the hold")
    wait_until(world.steps_up, SOON_S, "a step without the alert")


def test_a_judged_instant_from_a_clock_that_was_ahead_is_given_up_where_no_sample_is(world: World) -> None:
    world.judged_to = time.time() + 3600
    evidence = world.read()
    assert (evidence.problem, evidence.windows) == (None, ())
    assert evidence.judged_to < time.time()


def test_what_was_recorded_is_there_to_be_replayed(world: World) -> None:
    time.sleep(5 * SCALE.window_s)
    recorded = Recorded(world.backend.query_url)
    ticks = recorded.ticks(FEATURE, 4 * SCALE.window_s, SCALE.window_s)
    assert 3 <= len(ticks) <= 5
    assert all(tick.sends > 0 and not tick.missing for tick in ticks)
    sends_per_s, percent = recorded.sends_per_s(FEATURE, SCALE.window_s)
    assert sends_per_s is not None
    assert sends_per_s > 0
    assert percent is None, "these senders have no gate"


def test_a_prometheus_that_holds_samples_of_its_future_repeats_nothing(tmp_path: Path) -> None:
    """As after its clock was set back: it shows again what was judged, and records nothing."""
    now = time.time() // 1
    labels = 'provider="microsoft",action="outlook.send"'
    ends = range(-600, 3600, 30)
    lines = [
        f"# TYPE {name} unknown\n"
        + "".join(f"{name}{{{labels}{more}}} 9 {now + at:.3f}\n" for more in edges for at in ends)
        for name, edges in (
            (EVIDENCE_SENDS, ("",)),
            (EVIDENCE_ERRORS, ("",)),
            (EVIDENCE_LATENCY_BUCKET, (',le="0.5"', ',le="+Inf"')),
        )
    ]
    (tmp_path / "future.om").write_text("".join(lines) + "# EOF\n", encoding="utf-8")
    promtool = shutil.which("promtool")
    assert promtool
    blocks = [promtool, "tsdb", "create-blocks-from", "openmetrics", "future.om", "tsdb"]
    subprocess.run(blocks, check=True, capture_output=True, cwd=tmp_path)
    with PrometheusServer(tmp_path, "scrape_configs: []\n") as prometheus:
        source = PrometheusSource(prometheus.url, Lengths(30, 10))
        judged, judged_ahead = (
            source.read([EvidenceRequest(FEATURE, 0, State(judged_to=at))], time.time(), 5.0)[FEATURE.name]
            for at in (now - 300, now + 1800)
        )
        source.close()
    assert len(judged.windows) >= 9
    assert (judged_ahead.windows, judged_ahead.judged_to) == ((), now + 1800)
