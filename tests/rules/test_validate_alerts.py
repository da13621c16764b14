"""`rollout validate-alerts` passes on what is committed, and names what is broken."""

import json
import re
from pathlib import Path
from string import Template
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from controller.alertcheck.completion import TEXTS, page_of
from controller.alertcheck.result import Result, junit_text
from controller.alertcheck.text import duration_text
from controller.cli import rollout

ROOT = Path(__file__).parents[2]


def validate(*options: str) -> tuple[int, str]:
    done = CliRunner().invoke(rollout, ["validate-alerts", *options])
    return done.exit_code, done.stdout


@pytest.mark.long
def test_what_is_committed_passes_with_a_result_for_every_alert_and_junit(tmp_path: Path) -> None:
    report = tmp_path / "alerts.xml"
    exit_code, output = validate("--rules", str(ROOT / "rules"), "--json", "--junit", str(report))
    answer = json.loads(output)
    assert exit_code == 0
    assert answer["failed"] == 0
    cases = {(one["rule"], one["case"]) for one in answer["results"]}
    assert ("OutlookSendNothingSucceeds", "fires and resolves") in cases
    assert ("OutlookSendHighErrorRateWarning", "no traffic") in cases
    assert len(ET.parse(report).getroot().findall("testcase")) == answer["passed"]  # noqa: S314 - our own file


@pytest.mark.long
def test_a_threshold_that_was_changed_is_named(tmp_path: Path) -> None:
    config, rules = tmp_path / "rollout.toml", tmp_path / "rules"
    config.write_text("[features.google]\n", encoding="utf-8")
    options = ["--config", str(config), "--json"]
    assert CliRunner().invoke(rollout, ["rules", "render", "--out", str(rules), *options]).exit_code == 0
    path = rules / "prometheus-alerts-google.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("p95:5m > 2", "p95:5m > 2.2"))
    exit_code, output = validate("--rules", str(rules), *options)
    wrong = {one["rule"] for one in json.loads(output)["results"] if not one["passed"]}
    assert exit_code == 1
    assert wrong == {"GmailSendHighLatencyCritical"}


@pytest.mark.long
def test_any_feature_of_a_configuration_is_rendered_checked_and_validated_whatever_its_limits(
    tmp_path: Path,
) -> None:
    config, rules = tmp_path / "rollout.toml", tmp_path / "rules"
    config.write_text(
        """
        [features.microsoft]
        slo_error_rate_threshold = 0.1
        slo_latency_p95_ms = 333
        [features.third-one]
        provider = "elsewhere"
        action = "letter.post_late"
        slo_error_rate_threshold = 0.4
        slo_latency_p95_ms = 10000
        """,
        encoding="utf-8",
    )
    options = ["--config", str(config), "--json"]
    for command in (["render", "--out", str(rules)], ["check", "--rules", str(rules)]):
        done = CliRunner().invoke(rollout, ["rules", *command, *options])
        assert done.exit_code == 0, done.output
    exit_code, output = validate("--rules", str(rules), *options)
    assert [one for one in json.loads(output)["results"] if not one["passed"]] == []
    assert exit_code == 0
    recorded = (rules / "prometheus-recording-third-one.yml").read_text(encoding="utf-8")
    assert recorded.count("- record: job:letter_post_late_") >= 15


def test_without_promtool_it_ends_with_exit_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert validate("--rules", str(ROOT / "rules"))[0] == 3


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    assert validate("--rules", str(tmp_path / "none"))[0] == 2


def test_a_prometheus_that_does_not_answer_ends_with_exit_code_3() -> None:
    assert validate("--prometheus", "http://127.0.0.1:1")[0] == 3


def test_junit_tells_failures_with_their_detail() -> None:
    text = junit_text(
        [Result("A", "fires", passed=True), Result("B", "fires", False, "at 600 s: []")], "s", 1
    )
    root = ET.fromstring(text)  # noqa: S314 - our own text
    assert root.attrib["failures"] == "1"
    failure = root.find("testcase/failure")
    assert failure is not None
    assert failure.attrib["message"] == "at 600 s: []"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0625, "62.5ms"),
        (2.09, "2.09s"),
        (65, "1m 5s"),
        (3723, "1h 2m 3s"),
        (90_000, "1d 1h 0m 0s"),
    ],
)
def test_durations_read_as_prometheus_writes_them(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize("text", sorted(TEXTS.glob("phase-*.md")), ids=lambda text: text.stem)
def test_a_completion_page_names_only_what_is_there(text: Path) -> None:
    page = (ROOT / "docs" / page_of(text)).read_text(encoding="utf-8")
    named = set[str](re.findall(r"`((?:tests|docs)/[\w./-]+)`", page))
    pictures = {f"docs/{path}" for path in re.findall(r"\((evidence/[\w.-]+)\)", page)}
    assert len(pictures) == (4 if text.stem == "phase-1" else 0)
    assert [path for path in sorted(named | pictures) if not (ROOT / path).exists()] == []
    assert "FAILED" not in page


def test_each_phase_of_the_plan_has_its_page_as_it_is_written() -> None:
    texts = {page_of(text): Template(text.read_text("utf-8")) for text in TEXTS.glob("phase-*.md")}
    assert sorted(texts) == [f"PHASE-{number}-COMPLETION.md" for number in range(1, 6)]
    of_a_run = texts.pop("PHASE-1-COMPLETION.md").template
    page = (ROOT / "docs" / "PHASE-1-COMPLETION.md").read_text("utf-8").splitlines()
    assert [line for line in of_a_run.splitlines() if "$" not in line and line not in page] == []
    for name, text in texts.items():
        assert text.substitute() == (ROOT / "docs" / name).read_text("utf-8")
