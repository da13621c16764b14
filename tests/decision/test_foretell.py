"""`rollout plan`, `rollout simulate` and `rollout explain`."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner, Result
from kit.servers import RedisServer
from worlds.snapshots import FEATURE, at_step, changed, proven_healthy, record

from controller.cli import rollout
from controller.decision.byhand import by_hand
from controller.decision.decide import decide
from controller.decision.judging.judge import feature_tests
from controller.decision.model import Kind, Snapshot
from controller.decision.sequential.wallet import Wallet
from controller.journal.sinks import FileJournal
from controller.shared.redis_pool import open_redis
from controller.store.redis_store import RedisFlagStore
from controller.whatif.forecast import breach, forecast
from controller.whatif.simulate import Traffic, binomial, poisson, ramp

TESTS = feature_tests(FEATURE, 10.0)


def run(*command: str, **env: str) -> Result:
    return CliRunner().invoke(rollout, list(command), env=env)


def as_json(*command: str) -> dict[str, Any]:
    result = run(*command, "--json")
    assert result.exit_code == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_a_plan_at_five_sends_a_second_is_as_the_design_reckons() -> None:
    plan = as_json("plan", "microsoft", "--rps", "5")
    minutes = [step["lasts_s"] / 60 for step in plan["steps"][:-1]]
    assert minutes == pytest.approx([26, 10, 10, 10, 11], abs=1)
    assert plan["total_s"] / 3600 == pytest.approx(1.1, abs=0.1)
    assert [step["sends_needed"] for step in plan["steps"]] == [76, 76, 215, 606, 1557, 1557]
    assert plan["blind_steps"] == []


def test_a_plan_says_which_steps_are_blind_and_what_would_help() -> None:
    plan = as_json("plan", "microsoft", "--rps", "0.05")
    assert plan["blind_steps"] == [1.0]
    text = run("plan", "microsoft", "--rps", "0.05").stdout
    assert "Blind at 1 %" in text
    assert "beginning at 5 % instead saves" in text


def test_a_plan_says_what_a_step_proves_and_what_the_last_one_sees() -> None:
    text = run("plan", "microsoft", "--rps", "5").stdout
    assert "26 min" in text
    assert "proven below 2 % (2x)" in text
    assert "100 % stays: its smallest breach is what shows within 24 h." in text
    day = as_json("plan", "microsoft", "--rps", "5")["steps"][-1]["smallest"]
    assert day["after_s"] <= 86_400
    assert (
        day["error_rate"] < as_json("plan", "microsoft", "--rps", "5")["steps"][-2]["smallest"]["error_rate"]
    )


@pytest.mark.parametrize("rps", ["nan", "inf", "1e10", "-1", "many"])
def test_a_traffic_that_cannot_be_is_refused(rps: str) -> None:
    result = run("plan", "microsoft", "--rps", rps)
    assert result.exit_code == 2
    assert "--rps" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_plan_without_traffic_never_ends_and_is_still_json() -> None:
    plan = as_json("plan", "microsoft", "--rps", "0")
    assert plan["total_s"] is None
    assert plan["blind_steps"] == list(FEATURE.steps)


def test_a_plan_that_cannot_ask_ends_with_exit_code_3() -> None:
    result = run("plan", "microsoft", ROLLOUT_PROMETHEUS_URL="http://127.0.0.1:1")
    assert result.exit_code == 3
    assert "--rps" in result.stderr


@pytest.mark.parametrize(("times", "sends"), [(10, 41), (3, 490), (1.5, 5979)])
def test_a_breach_is_foretold_at_the_sends_that_the_tests_need(times: float, sends: float) -> None:
    found = breach(TESTS, Wallet().staked(6, 8), times * 0.01, 1 / 10)
    assert found is not None
    assert found.sends == pytest.approx(sends, rel=0.02)


def test_no_rate_within_the_limit_is_ever_foretold_as_a_breach() -> None:
    assert breach(TESTS, Wallet().staked(6, 8), 0.009, 5.0) is None


def test_the_forecast_of_a_breach_is_what_a_course_of_average_counts_does() -> None:
    step = forecast(FEATURE, 5.0, 10.0).steps[-1]
    assert step.tenfold is not None
    assert step.tenfold.after_s == 40.0
    assert step.smallest is not None
    assert 0.01 < step.smallest.error_rate < 0.02


def test_the_same_seed_simulates_the_same_ramps() -> None:
    command = ("simulate", "microsoft", "--rps", "50", "--error-rate", "0.003", "--ramps", "3")
    assert as_json(*command) == as_json(*command)
    assert as_json(*command, "--seed", "2") != as_json(*command)


def test_healthy_ramps_complete_and_broken_ones_pause() -> None:
    healthy = as_json("simulate", "microsoft", "--rps", "50", "--error-rate", "0.003", "--ramps", "10")
    assert (healthy["completed"], healthy["paused_falsely"]) == (10, 0)
    broken = as_json("simulate", "microsoft", "--rps", "50", "--error-rate", "0.1", "--ramps", "10")
    assert (broken["completed"], broken["paused"], broken["paused_falsely"]) == (0, 10, 0)
    assert broken["pause_reasons"] == {"slo_error_rate": 10}


def test_slow_ramps_pause_for_latency() -> None:
    slow = as_json(
        "simulate", "microsoft", "--rps", "50", "--error-rate", "0", "--slow-share", "0.4", "--ramps", "5"
    )
    assert slow["pause_reasons"] == {"slo_latency": 5}


def test_at_ten_times_the_limit_and_five_sends_a_second_few_sends_fail() -> None:
    traffic = Traffic(5.0, 0.1, constant=True)
    ends = [ramp(FEATURE, traffic, seed=str(seed), hours=1, window_s=10.0) for seed in range(200)]
    assert all(end.paused_at is not None for end in ends)
    assert sum(end.failed for end in ends) / len(ends) <= 20


@pytest.mark.parametrize("sends_per_s", [0.5, 5.0, 50.0])
def test_healthy_ramps_are_not_paused(sends_per_s: float) -> None:
    """A sample of what the benchmark tries on thousands of ramps."""
    traffic = Traffic(sends_per_s, 0.003, 0.015, constant=True)
    ends = [ramp(FEATURE, traffic, seed=str(seed), hours=24, window_s=10.0) for seed in range(60)]
    assert [end.paused_at for end in ends] == [None] * 60
    assert all(end.completed for end in ends)


@pytest.mark.parametrize("sends_per_s", [5.0, 50.0])
def test_ramps_at_twice_the_limit_do_not_complete(sends_per_s: float) -> None:
    traffic = Traffic(sends_per_s, 0.02, 0.01, constant=True)
    ends = [ramp(FEATURE, traffic, seed=str(seed), hours=24, window_s=10.0) for seed in range(60)]
    assert not any(end.completed for end in ends)


@pytest.mark.parametrize(("n", "p"), [(150, 0.01), (20, 0.5), (30, 0.9), (1, 0.3)])
def test_drawn_binomials_have_the_right_mean_and_spread(n: int, p: float) -> None:
    rng = Random(1)
    drawn = [binomial(rng, n, p) for _ in range(20_000)]
    mean = sum(drawn) / len(drawn)
    assert mean == pytest.approx(n * p, rel=0.03)
    assert sum((k - mean) ** 2 for k in drawn) / len(drawn) == pytest.approx(n * p * (1 - p), rel=0.05)
    assert 0 <= min(drawn) <= max(drawn) <= n


@pytest.mark.parametrize("mean", [0.2, 15.0, 1500.0])
def test_drawn_poissons_have_the_right_mean_and_spread(mean: float) -> None:
    rng = Random(2)
    drawn = [poisson(rng, mean) for _ in range(10_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(mean, rel=0.05)
    assert sum((k - mean) ** 2 for k in drawn) / len(drawn) == pytest.approx(mean, rel=0.06)


def journal(folder: Path, snapshot: Snapshot, **changes: Any) -> Path:
    path = folder / "decisions.jsonl"
    FileJournal(path).keep(record(snapshot, decide(snapshot), **changes))
    return path


def test_a_decision_is_told_and_recomputed_from_a_file(tmp_path: Path) -> None:
    path = journal(tmp_path, proven_healthy())
    result = run("explain", "microsoft-1-a", "--journal", str(path), "--verify")
    assert result.exit_code == 0
    assert "controller stepped microsoft up from 5 % to 10 %." in result.stdout
    assert "Proven healthy at 5 %: 0 of 1,000 sends failed" in result.stdout
    assert "the same" in result.stdout


def test_a_decision_that_comes_out_differently_is_exit_code_1(tmp_path: Path) -> None:
    path = journal(tmp_path, proven_healthy())
    path.write_text(path.read_text(encoding="utf-8").replace('"sends":1000', '"sends":10'), encoding="utf-8")
    result = run("explain", "microsoft-1-a", "--journal", str(path), "--verify")
    assert result.exit_code == 1
    assert "kind: recorded 'step_up', recomputed 'hold'" in result.stdout


def test_a_torn_record_is_told_as_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    whole = record(proven_healthy(), decide(proven_healthy()))
    del whole["config"]["steps"]
    whole["config"]["slo_error_rate_threshold"] = None
    FileJournal(path).keep(whole)
    result = run("explain", "microsoft-1-a", "--journal", str(path), "--verify", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["verified"] is False


@pytest.mark.parametrize("kind", [Kind.PAUSE, Kind.RESUME, Kind.SET, Kind.ENABLE, Kind.DISABLE])
def test_what_a_person_did_is_told_with_the_reason_given(tmp_path: Path, kind: Kind) -> None:
    snapshot = at_step()
    percent = 50.0 if kind is Kind.SET else None
    decision = by_hand(kind, snapshot.flags, FEATURE, snapshot.state, snapshot.now, percent=percent)
    path = tmp_path / "decisions.jsonl"
    FileJournal(path).keep(record(snapshot, decision, actor="alice", note="trying") | {"evidence": None})
    text = run("explain", "microsoft-1-a", "--journal", str(path)).stdout
    assert 'because: "trying"' in text
    assert "alice" in text


def test_no_such_decision_is_exit_code_1_and_no_redis_is_3(tmp_path: Path) -> None:
    path = journal(tmp_path, at_step())
    assert run("explain", "nope", "--journal", str(path)).exit_code == 1
    away = "redis://127.0.0.1:1/0"
    assert run("explain", "nope", ROLLOUT_REDIS_URL=away).exit_code == 3
    assert run("explain", "nope", ROLLOUT_REDIS_URL=away, ROLLOUT_JOURNAL=str(path)).exit_code == 1


def test_a_decision_is_found_in_redis(redis_server: RedisServer) -> None:
    store = RedisFlagStore(open_redis(redis_server.url, 1.0))
    snapshot = changed(at_step(), evidence={"alerts": ("A",)})
    store.append("microsoft", json.dumps(record(snapshot, decide(snapshot))))
    result = run("explain", "microsoft-1-a", "--verify", "--json", ROLLOUT_REDIS_URL=redis_server.url)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["verified"] is True
