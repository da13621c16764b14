"""On real servers: counts are exact, queries are answered, alerts fire, notify and resolve."""

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx
import pytest
from click.testing import CliRunner
from kit.examples import sampled

from controller.alertcheck.cases.synthetic_series import Phase
from controller.alertcheck.live.exporter import Exporter, serving
from controller.alertcheck.live.run import run_live
from controller.alertcheck.result import failures
from controller.cli import rollout
from controller.contract import (
    EVIDENCE_DOUBT,
    EVIDENCE_ERRORS,
    EVIDENCE_GATE_REVISION,
    EVIDENCE_LATENCY_BUCKET,
    EVIDENCE_SENDS,
)
from controller.evidence.progress import Lengths, disjoint
from controller.features import ROLLOUT_FEATURES
from controller.rules.artifacts.dashboards import dashboards
from controller.rules.check import queries, queries_in
from controller.rules.rule_files import rule_files
from controller.rules.scale import Scale
from controller.sandbox.alerting import BACKENDS, Backend
from controller.sandbox.processes import Processes, free_port
from controller.sandbox.servers import Ports

ROOT = Path(__file__).parents[2]
FEATURES = list(ROLLOUT_FEATURES.values())
SCALE = Scale.of(window_s=1, scrape_s=0.5)
COUNTING = Scale.of(window_s=3, scrape_s=1.5)
"""Where every send is to be found again: what comes later than the rules' delay is lost, and VictoriaMetrics
shows a sample some time after it has stored it."""
LENGTHS = Lengths(COUNTING.window_s, COUNTING.scrape_s)
COUNTED: list[tuple[str, str, str, dict[str, str]]] = [
    (EVIDENCE_SENDS, "", "action_exec_total", {}),
    (EVIDENCE_ERRORS, "", "action_error_total", {}),
    *(
        (EVIDENCE_LATENCY_BUCKET, f',le="{edge}"', "action_latency_seconds_bucket", {"le": edge})
        for edge in ("0.5", "+Inf")
    ),
]
"""What is counted: a recorded series with matchers, and the sender's own metric with labels."""
FILES = rule_files(FEATURES, SCALE)
HERE = [
    name for name, binary in (("prometheus", "prometheus"), ("victoria", "vmalert")) if shutil.which(binary)
]
BUSY = Phase(0, sends_per_s=200, error_share=0.1, slow_share=0.2, refreshes_per_s={"ok": 3, "expired": 1})


@dataclass(frozen=True)
class Running:
    """A backend with the rules of seconds that scrapes a synthetic exporter."""

    backend: Backend
    exporter: Exporter
    client: httpx.Client

    def result(self, query: str) -> list[dict[str, object]]:
        answer = self.client.get(f"{self.backend.query_url}/api/v1/query", params={"query": query})
        assert answer.status_code == 200, f"{query}: {answer.text}"
        found: list[dict[str, object]] = answer.json()["data"]["result"]
        return found

    def counted(self, series: str, matchers: str = "") -> float:
        """Add up the recorded samples of a series whose windows share no time, as the controller does."""
        samples = self.samples(series, matchers)
        return math.fsum(samples[at] for at in disjoint(sorted(samples), 0.0, LENGTHS))

    def samples(self, series: str, matchers: str = "") -> dict[float, float]:
        """Return all recorded samples of a series by their time."""
        selector = f'{series}{{action="outlook.send"{matchers}}}[10m]'
        values = [one["values"] for one in self.result(selector)]
        pairs = [(at, float(value)) for found in values for at, value in found]  # type: ignore[attr-defined]
        # VictoriaMetrics gives the marks of staleness too, as NaN.
        return {at: number for at, number in pairs if not math.isnan(number)}

    def kept_the_beat(self, since: float) -> bool:
        """Whether every window since then ends where the next begins: a busy vmalert evaluates late."""
        ends = sorted(at for at in self.samples(EVIDENCE_SENDS) if at > since)
        return {round(b - a, 3) for a, b in pairwise(ends)} == {COUNTING.window_s}


@pytest.fixture(params=HERE)
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    with _running(request.param, tmp_path, SCALE) as found:
        yield found


@pytest.fixture(params=HERE)
def counting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    with _running(request.param, tmp_path, COUNTING) as found:
        yield found


@contextmanager
def _running(name: str, folder: Path, scale: Scale) -> Iterator[Running]:
    with ExitStack() as stack:
        processes = stack.enter_context(Processes(folder))
        exporter = Exporter(FEATURES, Phase(0))
        first, second, controller = stack.enter_context(serving(exporter))
        ports = Ports((first, second), controller, free_port())
        backend = BACKENDS[name](processes, rule_files(FEATURES, scale), scale, ports)
        yield Running(backend, exporter, stack.enter_context(httpx.Client(trust_env=False, timeout=10)))


def wait_until_quiet(running: Running, series: str = EVIDENCE_SENDS) -> None:
    """Wait until some windows in a row have counted nothing more."""
    last, since, deadline = -1.0, time.monotonic(), time.monotonic() + 300
    while time.monotonic() - since < 4 * COUNTING.window_s:
        assert time.monotonic() < deadline, "the counts never came to rest"
        now = running.counted(series)
        last, since = now, since if now == last else time.monotonic()
        time.sleep(0.2)


def total(running: Running, name: str, **matchers: str) -> float:
    """Add up what the exporter has counted itself."""
    wanted = {"action": "outlook.send", **matchers}.items()
    totals = running.exporter.totals()
    return math.fsum(
        value
        for (metric, labels), value in totals.items()
        if metric == name and wanted <= dict(labels).items()
    )


def test_recorded_counts_add_up_to_what_was_sent_through_scrape_gaps_and_restarts(counting: Running) -> None:
    deadline = time.monotonic() + 300
    while not counting.result(f'{EVIDENCE_SENDS}{{action="outlook.send"}}'):
        assert time.monotonic() < deadline, "no evidence was ever recorded"
        time.sleep(0.2)
    began = time.time() - COUNTING.window_s
    counting.exporter.change(BUSY)
    time.sleep(5)
    counting.exporter.change(BUSY, first_sender=False)
    time.sleep(2)
    counting.exporter.change(BUSY)
    time.sleep(3)
    for busy_s in (3.0, 0.3, 2.0):
        # What comes after a sender's last scrape is lost with it; so the senders rest before they restart.
        counting.exporter.change(Phase(0))
        time.sleep(3 * COUNTING.scrape_s)
        counting.exporter.restart()
        counting.exporter.change(BUSY)
        time.sleep(busy_s)
    counting.exporter.change(Phase(0))
    wait_until_quiet(counting)
    for series, matchers, metric, labels in COUNTED:
        counted, true = counting.counted(series, matchers), total(counting, metric, **labels)
        assert true / 2 < counted <= true * (1 + 1e-9)
        # VictoriaMetrics shows the samples of a scrape one after the other, on a busy machine too late.
        if counting.backend.rules_url == counting.backend.query_url and counting.kept_the_beat(began):
            assert counted == pytest.approx(true, rel=1e-9)


def test_every_query_is_answered_every_series_has_data_and_the_installation_is_found_sound(
    running: Running, tmp_path: Path
) -> None:
    running.exporter.change(
        Phase(
            0,
            50,
            0.1,
            errors_per_s={
                ("MS_AUTH_EXPIRED", "auth"): 1,
                ("MS_API_THROTTLED_429", "provider"): 0,
                ("MS_SEND_UNKNOWN", "provider"): 0,
            },
            gate_per_s={("open", "open"): 5},
            refreshes_per_s={"ok": 3, "expired": 1},
        )
    )
    recorded = {rule.name for file in FILES for rule in file.recordings}
    recorded -= {EVIDENCE_GATE_REVISION, EVIDENCE_DOUBT}  # not exported here; no doubt means no series
    missing, deadline = recorded, time.monotonic() + 300
    while missing and time.monotonic() < deadline:
        time.sleep(0.5)
        missing = {name for name in recorded if not running.result(name)}
    assert missing == set()
    pages = [*(ROOT / "runbooks").glob("*.md"), *(ROOT / "docs").glob("MS-*.md")]
    asked = [query for page in pages for query in queries_in(page.read_text(encoding="utf-8"))]
    asked += [query for one in dashboards(FEATURES).values() for query in one.queries()]
    asked += [query for file in FILES for rule in file.rules for query in queries(rule)]
    for query in asked:
        running.result(query)
    config = tmp_path / "rollout.toml"
    config.write_text(f'[controller]\nrules_url = "{running.backend.rules_url}"\n', encoding="utf-8")
    look = ["validate-alerts", "--prometheus", running.backend.query_url, "--config", str(config)]
    sound = CliRunner().invoke(rollout, [*look, "--window-s", "1", "--scrape-s", "0.5"])
    assert (sound.exit_code, sound.output.count("FAILED")) == (0, 0), sound.output
    elsewhere = CliRunner().invoke(rollout, look)
    assert elsewhere.exit_code == 1
    assert "is evaluated every 1 s, and must be every 30 s" in elsewhere.output


@pytest.mark.parametrize("backend", sampled(HERE, 1))
def test_each_alert_comes_is_told_and_goes_and_the_controller_pauses(backend: str) -> None:
    results, drawings = run_live(FEATURES, lambda _: None, backend, ROLLOUT_FEATURES["microsoft"])
    assert failures(results) == ()
    for name, drawing in drawings.items():
        assert ET.fromstring(drawing).tag.endswith("svg"), name  # noqa: S314 - our own drawing
        assert 'class="s ' in drawing
