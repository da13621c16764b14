"""`rollout gate`: its exit codes, its JSON, and one line for each error."""

import json
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner, Result
from kit.servers import RedisServer

from adapter.commands.gate import gate
from controller.contract import flag_keys


@pytest.fixture
def open_redis(redis_server: RedisServer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    redis_client.mset(dict(zip(flag_keys("microsoft"), ("true", "true", "50", "false"), strict=True)))
    monkeypatch.setenv("ROLLOUT_REDIS_URL", redis_server.url)
    monkeypatch.setenv("INTERNAL_DOMAINS", "corp.example")
    monkeypatch.delenv("ROLLOUT_CONFIG", raising=False)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(gate, arguments)


def test_it_exits_0_for_open_and_1_for_closed(open_redis: None) -> None:
    assert run("microsoft", "user-2").exit_code == 0
    assert run("microsoft", "user-1").exit_code == 1
    assert run("microsoft", "user-2", "--recipient", "a@corp.example").exit_code == 0
    assert run("microsoft", "user-2", "--recipient", "x@elsewhere.example").exit_code == 1


def test_its_json_has_the_answer_and_what_it_follows_from(open_redis: None) -> None:
    told = json.loads(run("microsoft", "user-2", "--recipient", "x@elsewhere.example", "--json").stdout)
    assert (told["open"], told["reason"], told["bucket"]) == (False, "external_recipient", 25_623)
    assert (told["threshold"], told["rollout_percent"], told["internal_only"]) == (50_000, 50, True)
    assert told["external_recipients"] == ["x@elsewhere.example"]


def test_its_text_says_at_which_percentage_the_user_is_in(open_redis: None) -> None:
    assert "in at 25.624 % and above" in run("microsoft", "user-2").stdout


def test_ids_from_stdin_are_all_answered_and_open_means_all_of_them(open_redis: None) -> None:
    both, one = (
        CliRunner().invoke(gate, ["microsoft", "-", "--json"], input=ids)
        for ids in ("user-1\nuser-2\n", "user-2")
    )
    told = {user["user_id"]: user["open"] for user in json.loads(both.stdout)}
    assert (told, both.exit_code, one.exit_code) == ({"user-1": False, "user-2": True}, 1, 0)
    assert (
        "user-1  closed  not_in_rollout"
        in CliRunner().invoke(gate, ["microsoft", "-"], input="user-1").stdout
    )


def test_an_unknown_feature_is_a_mistake_in_usage(open_redis: None) -> None:
    result = run("microsft", "user-1")
    assert result.exit_code == 2
    assert "did you mean microsoft?" in result.stderr


def test_a_redis_out_of_reach_is_exit_code_3_and_one_line(
    open_redis: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLOUT_REDIS_URL", "redis://127.0.0.1:1/0")
    result = run("microsoft", "user-1")
    assert result.exit_code == 3
    assert len(result.stderr.splitlines()) == 1


def test_the_address_of_redis_may_stand_in_the_file(
    open_redis: None, redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROLLOUT_REDIS_URL")
    config = tmp_path / "rollout.toml"
    config.write_text(f'[controller]\nredis_url = "{redis_server.url}"\n')
    assert run("microsoft", "user-2", "--config", str(config)).exit_code == 0
