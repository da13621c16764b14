"""At 0.05 sends/s, all failing, an alert fires and the controller pauses; the plan's ratio shows 5 %."""

import json
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import redis
from click.testing import CliRunner
from kit.waiting import wait_until

from controller.alertcheck.cases.synthetic_series import Phase, traffic
from controller.alertcheck.live.exporter import Exporter, serving
from controller.alertcheck.promtool import input_series, run
from controller.cli import rollout
from controller.contract import flag_key
from controller.features import ROLLOUT_FEATURES
from controller.rules.rule_files import rule_files
from controller.rules.scale import Scale
from controller.sandbox.alerting import Backend, start_daemon
from controller.sandbox.processes import Processes
from controller.sandbox.servers import Ports, start_prometheus, start_redis

ROOT = Path(__file__).parents[2]
MICROSOFT = ROLLOUT_FEATURES["microsoft"]
FAILING = Phase(1800, sends_per_s=0.05, error_share=1)
PLAN_ALERTS = 'ALERTS{alertname=~"OutlookSendHigh.*"}'
NOTHING_SUCCEEDS = 'ALERTS{alertname="OutlookSendNothingSucceeds",alertstate="firing"}'


def test_in_production_the_floored_series_shows_5_percent_and_nothing_succeeds_fires() -> None:
    samples = traffic(MICROSOFT, [Phase(600, sends_per_s=0.05), FAILING], Scale())
    expected = {
        "abs(job:outlook_send_errors_rate:5m - 0.05) < bool 1e-6": 1,
        "abs(job:outlook_send_error_ratio:5m - 1) < bool 1e-6": 1,
        f"count({PLAN_ALERTS}) or vector(0)": 0,
        f"count({NOTHING_SUCCEEDS})": 1,
    }
    checks = [
        {"expr": expr, "eval_time": "40m", "exp_samples": [{"labels": "{}", "value": value}]}
        for expr, value in expected.items()
    ]
    document = {
        "rule_files": [
            str(ROOT / f"rules/prometheus-{kind}-microsoft.yml") for kind in ("recording", "alerts")
        ],
        "evaluation_interval": "30s",
        "group_eval_order": ["outlook_send_recording", "outlook_send_alerts"],
        "tests": [{"interval": "30s", "input_series": input_series(samples), "promql_expr_test": checks}],
    }
    assert run(document, "promtool") == []


def test_in_production_the_controller_pauses_within_five_ticks_of_the_first_failure(tmp_path: Path) -> None:
    trace, per_tick = tmp_path / "trace.jsonl", 0.05 * 30
    lines = [
        {"t": 30 * i, "sends": per_tick, "errors": per_tick if i > 20 else 0, "slow": 0} for i in range(60)
    ]
    trace.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    done = CliRunner().invoke(rollout, ["replay", "microsoft", "--trace", str(trace), "--json"])
    assert done.exit_code == 0, done.output
    reasons = [(record["kind"], record["reason"]) for record in map(json.loads, done.stdout.splitlines())]
    assert reasons[20] == ("hold", "gathering_evidence")
    assert ("pause", "slo_error_rate") in reasons[21:26]


def test_on_real_servers_the_alert_fires_and_the_controller_pauses(tmp_path: Path) -> None:
    scale = Scale.of(window_s=6)
    files = rule_files([MICROSOFT], scale)
    with ExitStack() as stack:
        processes = stack.enter_context(Processes(tmp_path))
        first, second, controller = stack.enter_context(serving(Exporter([MICROSOFT], FAILING)))
        url = start_prometheus(processes, files, scale, Ports((first, second), controller))
        redis_url = start_redis(processes)
        flags = redis.Redis.from_url(redis_url, decode_responses=True)
        stack.callback(flags.close)
        for flag, text in (("enabled", "true"), ("internal_only", "false"), ("rollout_percent", "1")):
            flags.set(flag_key("microsoft", flag), text)
        start_daemon(processes, Backend(url, url), redis_url, scale, "[features.microsoft]\n")
        client = stack.enter_context(httpx.Client(base_url=url, trust_env=False, timeout=10))

        def value(query: str) -> float | None:
            found = client.get("/api/v1/query", params={"query": query}).json()["data"]["result"]
            return float(found[0]["value"][1]) if found else None

        def paused_and_told() -> bool:
            time.sleep(0.5)
            return flags.get(flag_key("microsoft", "paused")) == "true" and bool(value(NOTHING_SUCCEEDS))

        wait_until(paused_and_told, 240, "the pause and the alert")
        assert value("job:outlook_send_error_ratio:5m") == pytest.approx(1)
        assert value("job:outlook_send_errors_rate:5m") == pytest.approx(0.05, rel=0.02)
        assert value(PLAN_ALERTS) is None
