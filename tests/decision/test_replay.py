"""`rollout replay`: traces and recorded evidence, decided as the daemon would."""

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from kit.servers import free_port

from controller.cli import rollout
from controller.contract import EVIDENCE_ERRORS, EVIDENCE_LATENCY_BUCKET, EVIDENCE_SENDS
from controller.decision.record import verify
from controller.whatif import recorded
from controller.whatif.recorded import joined
from controller.whatif.trace import TraceError, read_trace

Line = dict[str, Any]


def healthy(many: int, *, start: float = 0.0, sends: float = 150) -> list[Line]:
    return [{"t": start + 30 * i, "sends": sends, "errors": 0.45, "slow": 2} for i in range(many)]


def broken(many: int, *, start: float) -> list[Line]:
    return [{"t": start + 30 * i, "sends": 150, "errors": 20, "slow": 2} for i in range(many)]


def replayed(folder: Path, lines: Iterable[Line | str], *options: str, config: str = "") -> Result:
    trace, toml = folder / "trace.jsonl", folder / "rollout.toml"
    trace.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines), encoding="utf-8")
    toml.write_text(config, encoding="utf-8")
    command = ["replay", "microsoft", "--trace", str(trace), "--config", str(toml), *options]
    return CliRunner().invoke(rollout, command)


def records(folder: Path, lines: Iterable[Line | str], config: str = "") -> list[dict[str, Any]]:
    result = replayed(folder, lines, "--json", config=config)
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def told(records: list[dict[str, Any]]) -> list[tuple[str, str, float]]:
    return [(r["kind"], r["reason"], r["to"]["rollout_percent"]) for r in records]


def test_a_healthy_trace_climbs_to_the_end_one_record_for_each_line(tmp_path: Path) -> None:
    lines = healthy(150, start=1_700_000_000)
    decided = records(tmp_path, lines)
    assert [record["at"] for record in decided] == [line["t"] for line in lines]
    ups = [entry for entry in told(decided) if entry[0] == "step_up"]
    assert ups == [
        ("step_up", "first_step", 1.0),
        ("step_up", "healthy", 5.0),
        ("step_up", "healthy", 10.0),
        ("step_up", "healthy", 25.0),
        ("step_up", "healthy", 50.0),
        ("step_up", "healthy", 100.0),
    ]
    assert told(decided)[-1] == ("hold", "complete", 100.0)


def test_a_step_lasts_just_its_bake_time_when_traffic_is_plenty(tmp_path: Path) -> None:
    decided = records(tmp_path, healthy(150))
    ups = [record["at"] for record in decided if record["kind"] == "step_up"]
    assert ups == [600.0 * i for i in range(6)]


def test_after_a_pause_it_goes_on_to_the_last_line(tmp_path: Path) -> None:
    decided = told(records(tmp_path, [*healthy(3), *broken(10, start=90)]))
    assert len(decided) == 13
    paused = decided.index(("pause", "slo_error_rate", 1.0))
    assert paused == 6
    assert decided[paused + 1 :] == [("hold", "paused", 1.0)] * (12 - paused)


def test_every_record_of_a_replay_recomputes(tmp_path: Path) -> None:
    assert all(verify(record) == [] for record in records(tmp_path, [*healthy(40), *broken(5, start=1200)]))


def test_a_line_without_data_holds_with_a_reason_of_the_metrics(tmp_path: Path) -> None:
    lines = [{"t": 0, "missing": True}, *healthy(3, start=30), {"t": 120, "missing": True}]
    decided = records(tmp_path, lines)
    assert decided[0]["reason"].startswith("metrics_")
    assert decided[0]["to"]["rollout_percent"] == 0
    assert decided[-1]["reason"].startswith("metrics_")


def test_a_line_of_silence_is_no_traffic(tmp_path: Path) -> None:
    lines = [*healthy(1), {"t": 30, "sends": 0, "errors": 0, "slow": 0}]
    assert told(records(tmp_path, lines))[-1] == ("hold", "no_traffic", 1.0)


def test_the_very_first_line_counts_where_the_feature_begins_above_zero(tmp_path: Path) -> None:
    config = "[features.microsoft]\ninitial_percent = 5\nbake_s = 0\n"
    decided = records(tmp_path, [{"t": 7, "sends": 400.5, "errors": 0.25, "slow": 0}], config)
    assert told(decided) == [("step_up", "healthy", 10.0)]


def test_an_open_freeze_window_holds_at_its_hours(tmp_path: Path) -> None:
    freeze = (
        "[features.microsoft]\n"
        'freezes = [{start = 2026-12-24T00:00:00Z, end = 2026-12-27T00:00:00Z, name = "holidays"}]\n'
    )
    decided = records(tmp_path, healthy(2, start=1_798_156_800), freeze)
    assert told(decided)[0] == ("hold", "frozen", 0.0)
    assert "holidays" in decided[0]["detail"]


BAD = [
    ("{not json", "Expecting property name"),
    ("[1, 2]", "not an object"),
    ('{"t": 60, "sends": 1, "errors": 0}', '"slow" must be a number, not null'),
    ('{"t": 60, "sends": -1, "errors": 0, "slow": 0}', "must not be negative"),
    ('{"t": 60, "sends": "9", "errors": 0, "slow": 0}', "must be a number"),
    ('{"t": 60, "sends": NaN, "errors": 0, "slow": 0}', "must be a finite number"),
    ('{"t": 60, "sends": 5, "errors": 50, "slow": 0}', "cannot be among 5 sends"),
    ('{"t": 30, "sends": 5, "errors": 0, "slow": 0}', "does not come after 30"),
    ('{"t": 60, "missing": "yes"}', '"missing" must be true or false'),
    ('{"sends": 5, "errors": 0, "slow": 0}', '"t" must be a number'),
]


@pytest.mark.parametrize(("line", "complaint"), BAD)
def test_a_bad_line_is_refused_with_its_number(tmp_path: Path, line: str, complaint: str) -> None:
    result = replayed(tmp_path, [*healthy(2), line])
    assert result.exit_code == 2
    assert "line 3" in result.stderr
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_few_more_errors_than_sends_are_what_extrapolation_gives() -> None:
    [tick] = read_trace(['{"t": 0, "sends": 10, "errors": 10.4, "slow": 0}'])
    assert tick.errors == 10.4
    with pytest.raises(TraceError):
        list(read_trace(['{"t": 0, "sends": 10, "errors": 13, "slow": 0}']))


def test_two_policies_are_compared(tmp_path: Path) -> None:
    lines = [*healthy(4), {"t": 120, "sends": 5, "errors": 1, "slow": 0}, *healthy(200, start=150)]
    result = replayed(tmp_path, lines, "--policy", "sequential", "--policy", "threshold")
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["sequential", "100", "%"] in [row[:3] for row in rows]
    assert ["threshold", "1", "%"] in [row[:3] for row in rows]


@pytest.mark.parametrize("options", [(), ("--trace", "x", "--since", "7d")])
def test_either_a_trace_or_a_time_is_asked_for(options: tuple[str, ...]) -> None:
    result = CliRunner().invoke(rollout, ["replay", "microsoft", *options])
    assert result.exit_code == 2
    assert "either --trace FILE or --since" in result.stderr


def test_a_prometheus_out_of_reach_ends_with_exit_code_3() -> None:
    url = "http://127.0.0.1:1"
    result = CliRunner().invoke(rollout, ["replay", "microsoft", "--since", "1h", "--prometheus", url])
    assert result.exit_code == 3
    assert url in result.stderr


def test_a_plot_is_one_file_that_needs_no_other(tmp_path: Path) -> None:
    plot = tmp_path / "timeline.html"
    lines = [*healthy(1200), *broken(10, start=36_000)]
    assert replayed(tmp_path, lines, "--plot", str(plot)).exit_code == 0
    html = plot.read_text(encoding="utf-8")
    assert html.count("<svg") == 3
    assert 'class="pause"' in html
    assert "prefers-color-scheme: dark" in html
    assert not any(outside in html for outside in ("http://", "https://", "src=", "@import", "<script"))
    assert len(html) < 300_000


def test_a_timeline_is_not_written_under_the_name_of_a_picture(tmp_path: Path) -> None:
    result = replayed(tmp_path, healthy(3), "--plot", str(tmp_path / "timeline.png"))
    assert result.exit_code == 2
    assert "name it .html" in result.stderr
    assert not (tmp_path / "timeline.png").exists()


def test_samples_that_are_missing_become_ticks_without_data() -> None:
    counts = dict.fromkeys((0.0, 30.0, 150.0), 10.0)
    series = {"sends": counts, "errors": counts, "timed": counts, "fast": {**counts, 30.0: 4.0}}
    ticks = list(joined(series, 30.0))
    assert [(tick.at, tick.missing) for tick in ticks] == [
        (0.0, False),
        (30.0, False),
        (60.0, True),
        (90.0, True),
        (120.0, True),
        (150.0, False),
    ]
    assert ticks[1].slow == 6.0


def open_metrics(start: float, end: float) -> str:
    """Write recorded evidence: healthy at first, then an hour of ten times the limit at the end."""
    labels = 'provider="microsoft",action="outlook.send"'
    series: dict[str, list[str]] = {EVIDENCE_SENDS: [], EVIDENCE_ERRORS: [], EVIDENCE_LATENCY_BUCKET: []}
    at = start
    while at < end:
        errors = 15 if at > end - 3600 else 0
        series[EVIDENCE_SENDS].append(f"{EVIDENCE_SENDS}{{{labels}}} 150 {at:.3f}")
        series[EVIDENCE_ERRORS].append(f"{EVIDENCE_ERRORS}{{{labels}}} {errors} {at:.3f}")
        for edge, count in (("0.5", 149), ("2.0", 150), ("+Inf", 150)):
            series[EVIDENCE_LATENCY_BUCKET].append(
                f'{EVIDENCE_LATENCY_BUCKET}{{{labels},le="{edge}"}} {count} {at:.3f}'
            )
        at += 30
    blocks = [f"# TYPE {name} unknown\n" + "\n".join(lines) + "\n" for name, lines in series.items()]
    return "".join(blocks) + "# EOF\n"


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[str]:
    """Run a Prometheus that recorded evidence from nine hours ago to four hours ago."""
    now = time.time() // 30 * 30
    (tmp_path / "evidence.om").write_text(open_metrics(now - 9 * 3600, now - 4 * 3600), encoding="utf-8")
    (tmp_path / "prometheus.yml").write_text("scrape_configs: []\n", encoding="utf-8")
    source, data = str(tmp_path / "evidence.om"), str(tmp_path / "data")
    blocks = ["tsdb", "create-blocks-from", "openmetrics", source, data]
    promtool, server = shutil.which("promtool"), shutil.which("prometheus")
    assert promtool
    assert server
    subprocess.run([promtool, *blocks], check=True, capture_output=True)
    port = free_port()
    command = [
        server,
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_until_ready(f"http://127.0.0.1:{port}/-/ready")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(url)


def test_what_a_real_prometheus_recorded_is_replayed(
    prometheus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "POINTS_A_CHUNK", 97)
    result = CliRunner().invoke(
        rollout, ["replay", "microsoft", "--since", "10h", "--prometheus", prometheus, "--json"]
    )
    assert result.exit_code == 0, result.stderr
    decided = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(decided) == 600
    assert all(record["evidence"]["windows"][0]["sends"] == 150 for record in decided)
    assert decided[0]["evidence"]["windows"][0]["slow"] == 1
    kinds = [record["kind"] for record in decided if record["kind"] != "hold"]
    assert kinds == ["step_up"] * 6 + ["pause"]


def test_a_prometheus_that_recorded_nothing_says_so(prometheus: str) -> None:
    result = CliRunner().invoke(rollout, ["replay", "google", "--since", "1h", "--prometheus", prometheus])
    assert result.exit_code == 2
    assert "recorded no sends of google gmail.send" in result.stderr


def test_a_plan_without_traffic_to_measure_asks_for_it(prometheus: str) -> None:
    result = CliRunner().invoke(rollout, ["plan", "google"], env={"ROLLOUT_PROMETHEUS_URL": prometheus})
    assert result.exit_code == 1
    assert "give --rps" in result.stderr


COMPARED = """
[features.google]
[features.microsoft]
reference = "google"
delta = 1.5
"""


def test_a_trace_may_tell_what_the_reference_sent_and_is_compared_with_it(tmp_path: Path) -> None:
    beside = {"reference_sends": 1500, "reference_errors": 1}
    lines = [line | {"sends": 1500, "errors": 9} | beside for line in healthy(40)]
    decided = records(tmp_path, lines, COMPARED)
    assert ("hold", "worse_than_reference", 1.0) in told(decided)
    assert not any(kind == "pause" for kind, _, _ in told(decided))
    assert all(verify(record) == [] for record in decided)
    without = records(tmp_path, [line | {"sends": 1500, "errors": 9} for line in healthy(40)], COMPARED)
    assert "worse_than_reference" not in {reason for _, reason, _ in told(without)}


def test_more_failures_of_the_reference_than_it_sent_are_refused(tmp_path: Path) -> None:
    line = healthy(1)[0] | {"reference_sends": 1, "reference_errors": 30}
    assert "line 1: 30 errors of the reference" in replayed(tmp_path, [line]).stderr
