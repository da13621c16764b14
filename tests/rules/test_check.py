"""`rollout rules check` names whatever is wrong with rules, runbooks, pages and dashboards."""

import dataclasses
import json
import shutil
from pathlib import Path

import promql_parser
import pytest
from click.testing import CliRunner

from controller.alertcheck.promtool import run
from controller.cli import rollout
from controller.features import ROLLOUT_FEATURES
from controller.rules.artifacts.dashboards import dashboards
from controller.rules.artifacts.files import companion_texts
from controller.rules.artifacts.grafana import dashboard_json
from controller.rules.check import (
    check_companions,
    check_folder,
    known_metrics,
    queries,
    queries_in,
    unknown_names,
)
from controller.rules.model import RuleFile
from controller.rules.promql_names import vocabulary
from controller.rules.rule_files import rule_files
from controller.rules.scale import Scale
from controller.rules.yaml_text import yaml_text

ROOT = Path(__file__).parents[2]
FEATURES = list(ROLLOUT_FEATURES.values())
FILES = rule_files(FEATURES, Scale())
KNOWN = known_metrics(FILES)
EVERY_QUERY = sorted(
    {query for file in FILES for rule in file.rules for query in queries(rule)}
    | {query for one in dashboards(FEATURES).values() for query in one.queries()}
    | {
        query
        for path in [*(ROOT / "runbooks").glob("*.md"), *(ROOT / "docs").glob("MS-*.md")]
        for query in queries_in(path.read_text(encoding="utf-8"))
    }
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what is committed: rules, runbooks, docs."""
    for name in ("rules", "runbooks", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def test_what_is_committed_is_sound() -> None:
    done = CliRunner().invoke(rollout, ["rules", "check", "--rules", str(ROOT / "rules"), "--json"])
    assert json.loads(done.output)["problems"] == []
    assert done.exit_code == 0


def test_render_writes_what_check_accepts(tmp_path: Path) -> None:
    lengths = ["--window-s", "2", "--interval-s", "2", "--scrape-s", "1"]
    done = CliRunner().invoke(rollout, ["rules", "render", "--out", str(tmp_path), *lengths, "--json"])
    assert done.exit_code == 0
    assert {Path(row["file"]).name for row in json.loads(done.output)} == {file.name for file in FILES}
    done = CliRunner().invoke(rollout, ["rules", "check", "--rules", str(tmp_path), *lengths])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("> 0.01", "> 0.011", "expr is job:outlook_send_errors_rate:5m > 0.011"),
        ("for: 10m", "for: 9m", "for is 9m, and must be 10m"),
        ("rate:5m", "rate:4m", "expr is job:outlook_send_errors_rate:4m"),
        ("provider: microsoft", "provider: x", "labels is"),
        ("severity: warning", "severity: page", "labels is"),
        ("alert: OutlookSendHighErrorRateWarning", "alert: Other", "is missing"),
        ("interval: 30s", "interval: 1m", "interval is 1m, and must be 30s"),
        ("runbooks/outlook-send-high-error-rate.md", "runbooks/gone.md", "annotations is"),
    ],
)
def test_a_changed_rule_is_told_with_its_name_and_what_it_must_be(
    project: Path, old: str, new: str, told: str
) -> None:
    path = project / "rules" / "prometheus-alerts-microsoft.yml"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    problems = check_folder(project / "rules", FILES, FEATURES)
    assert {problem.file for problem in problems} == {path.name}
    assert (problems[0].rule, problems[0].text[: len(told)]) == ("OutlookSendHighErrorRateWarning", told)


def test_a_changed_comment_and_what_promtool_refuses_are_told(project: Path) -> None:
    path = project / "rules" / "prometheus-recording-google.yml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("# Sends per second.", "# Sends."), encoding="utf-8")
    (problem,) = check_folder(project / "rules", FILES, FEATURES)
    assert "differs from what is rendered, from line 7 on" in problem.text
    path.write_text(text.replace("clamp_min(", "clamp_mint("), encoding="utf-8")
    problems = check_folder(project / "rules", FILES, FEATURES)
    assert [problem.rule for problem in problems] == ["job:gmail_send_errors_rate:5m", ""]
    assert 'unknown function with name "clamp_mint"' in problems[1].text


def test_a_warning_at_another_limit_than_the_features_is_told() -> None:
    stricter = [dataclasses.replace(FEATURES[0], slo_error_rate_threshold=0.02, slo_latency_p95_ms=5)]
    problems = [one for one in check_folder(ROOT / "rules", FILES, stricter) if one.rule]
    assert [(one.rule, one.text.rpartition(": ")[2]) for one in problems] == [
        ("GmailSendHighErrorRateWarning", "0.02"),
        ("GmailSendHighLatencyWarning", "0.005"),
    ]


def test_a_missing_file_and_one_of_no_feature_are_told(project: Path) -> None:
    rules = project / "rules"
    (rules / "prometheus-alerts-google.yml").rename(rules / "prometheus-alerts-old.yml")
    texts = {problem.file: problem.text for problem in check_folder(rules, FILES, FEATURES)}
    assert "is missing" in texts["prometheus-alerts-google.yml"]
    assert "belongs to no feature" in texts["prometheus-alerts-old.yml"]


def companions(project: Path, files: tuple[RuleFile, ...] = FILES) -> set[str]:
    asked = [query for one in dashboards(FEATURES).values() for query in one.queries()]
    found = check_companions(project, companion_texts(FEATURES, files, Scale()), files, asked)
    return {problem.text for problem in found}


def test_a_runbook_that_is_gone_is_told(project: Path) -> None:
    (project / "runbooks" / "rollout-paused.md").unlink()
    assert "its runbook runbooks/rollout-paused.md is not there" in companions(project)


def test_a_query_of_a_page_that_names_what_nobody_exports_is_told(project: Path) -> None:
    path = project / "runbooks" / "rollout-paused.md"
    path.write_text(path.read_text(encoding="utf-8").replace("rollout_feature_paused\n", "rollout_paws\n"))
    assert "no metric or recorded series is called rollout_paws" in companions(project)


def test_a_series_that_nobody_reads_is_told(project: Path) -> None:
    lonely = dataclasses.replace(FILES[0].recordings[0], name="rollout:nobody_reads_this", reader="")
    group = dataclasses.replace(FILES[0].groups[0], rules=(*FILES[0].rules, lonely))
    files = (dataclasses.replace(FILES[0], groups=(group,)), *FILES[1:])
    assert "nobody reads it, and it does not say who would" in companions(project, files)


@pytest.mark.parametrize(
    ("expr", "problem"),
    [
        ("sum(rate(action_exec_totl[5m]))", "no metric or recorded series is called action_exec_totl"),
        ('action_exec_total{providr="x"}', "action_exec_total has no label providr"),
        ('action_exec_total{status="failed"}', 'status="failed" is never exported; statuses are ok, error'),
        ("sum by (code) (action_error_total)", "none of its metrics has a label code"),
    ],
)
def test_names_that_the_contract_does_not_have_are_told(expr: str, problem: str) -> None:
    assert problem in list(unknown_names(expr, KNOWN))


@pytest.mark.parametrize("query", EVERY_QUERY)
def test_every_query_parses_and_the_own_reader_finds_what_a_real_parser_finds(query: str) -> None:
    found = set[str]()

    def visit(node: object) -> None:
        name = getattr(getattr(node, "vector_selector", node), "name", None)
        if isinstance(name, str) and name:
            found.add(name)

    tree = promql_parser.parse(query)
    _walk(tree, visit)
    assert vocabulary(query).metrics == found
    assert list(unknown_names(query, KNOWN)) == []


def _walk(node: object, visit: object) -> None:
    """Visit a node of the parser's tree and everything below it."""
    assert callable(visit)
    if isinstance(node, promql_parser.VectorSelector):
        visit(node)
    for part in ("expr", "lhs", "rhs", "param", "args", "vector_selector", "selector"):
        below = getattr(node, part, None)
        for child in below if isinstance(below, list) else [below]:
            if child is not None and not isinstance(child, (str, int, float)):
                _walk(child, visit)


def test_dashboards_are_json_that_grafana_imports_with_each_panel_in_its_place() -> None:
    for name, dashboard in dashboards(FEATURES).items():
        document = json.loads(dashboard_json(dashboard))
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in document["panels"]]
        assert len(set(places)) == len(places), name
        assert document["annotations"]["list"][0]["expr"]
        assert (ROOT / "docs" / "dashboards" / name).read_text(encoding="utf-8") == dashboard_json(dashboard)


def test_a_dashboard_begins_with_the_state_now_and_draws_a_pause_as_a_state() -> None:
    for dashboard in dashboards(FEATURES).values():
        panels = json.loads(dashboard_json(dashboard))["panels"]
        assert [panel["type"] for panel in panels[:7]] == ["stat"] * 6 + ["timeseries"]
        assert [panel["gridPos"]["y"] for panel in panels[:7]] == [0] * 6 + [4]
        drawn = [panel for panel in panels if panel["fieldConfig"]["defaults"]["unit"] == "percent"]
        assert drawn
        for panel in drawn:
            ends = panel["fieldConfig"]["defaults"]
            assert (ends["min"], ends["max"]) == (0, 100)
            assert all(target["legendFormat"] != "paused" for target in panel["targets"])
        states = [panel for panel in panels if panel["type"] == "state-timeline"]
        assert any("paused" in str(panel["fieldConfig"]["defaults"]["mappings"]) for panel in states)


def test_the_controllers_dashboard_lets_a_reader_choose_features() -> None:
    document = json.loads(dashboard_json(dashboards(FEATURES)["rollout.json"]))
    [choice] = [one for one in document["templating"]["list"] if one["name"] == "feature"]
    assert (choice["multi"], choice["includeAll"], choice["type"]) == (True, True, "query")
    assert (
        sum("$feature" in target["expr"] for panel in document["panels"] for target in panel["targets"]) >= 4
    )


@pytest.mark.parametrize(
    ("enabled", "paused", "is_in", "state"), [(1, 0, 25, 1), (1, 1, 0, 2), (0, 0, 0, 0), (0, 1, 0, 0)]
)
def test_on_a_dashboard_nobody_is_in_while_a_feature_is_paused_or_disabled(
    enabled: int, paused: int, is_in: int, state: int
) -> None:
    panels = {panel.title: panel.queries[0][0] for panel in dashboards(FEATURES)["microsoft.json"].panels}
    values = {"percent": 25, "enabled": enabled, "paused": paused}
    series = [
        {"series": f'rollout_feature_{name}{{feature="microsoft"}}', "values": f"{value}x5"}
        for name, value in values.items()
    ]
    checks = [
        {"expr": panels[title], "eval_time": "1m", "exp_samples": [{"labels": "{}", "value": value}]}
        for title, value in (("Who is in", is_in), ("State", state))
    ]
    test = {"interval": "1m", "input_series": series, "promql_expr_test": checks}
    assert run({"rule_files": [], "evaluation_interval": "1m", "tests": [test]}, "promtool") == []


def test_a_dashboard_marks_the_first_decision_of_its_kind_and_each_further_one_but_no_hold() -> None:
    (mark,) = (expr for _, expr, _ in dashboards(FEATURES)["microsoft.json"].marks)

    def decisions(values: str, **labels: str) -> dict[str, str]:
        words = ",".join(f'{label}="{value}"' for label, value in labels.items())
        return {"series": f"rollout_decisions_total{{{words}}}", "values": values}

    series = [
        decisions("_x7 1x20 2x20", feature="microsoft", kind="pause", reason="outage"),
        decisions("_x7 1x20 2x20", feature="google", kind="pause", reason="outage"),
        decisions("0+1x60", feature="microsoft", kind="hold", reason="baking"),
    ]
    checks = [
        {
            "expr": f"count({mark}) or vector(0)",
            "eval_time": at,
            "exp_samples": [{"labels": "{}", "value": n}],
        }
        for at, n in (("60s", 0), ("90s", 1), ("200s", 0), ("300s", 1), ("400s", 0))
    ]
    test = {"interval": "10s", "input_series": series, "promql_expr_test": checks}
    assert run({"rule_files": [], "evaluation_interval": "10s", "tests": [test]}, "promtool") == []


def test_rules_from_another_folder_are_those_of_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(rollout, ["rules", "check"]).exit_code == 0


def test_without_promtool_the_check_ends_with_exit_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = CliRunner().invoke(rollout, ["rules", "check", "--rules", str(ROOT / "rules")])
    assert done.exit_code == 3
    assert "promtool is not on PATH" in done.output


def test_yaml_is_the_same_each_time() -> None:
    again = rule_files(reversed(FEATURES), Scale())
    assert [yaml_text(file) for file in again] == [yaml_text(file) for file in FILES]
