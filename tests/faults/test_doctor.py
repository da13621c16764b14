"""`rollout doctor`, `config`, `reload` and `journal verify`, on real servers."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from kit.servers import RedisServer
from kit.waiting import wait_until
from worlds.fault_rig import Rig
from worlds.live import World

from controller.cli import rollout
from controller.contract import decisions_key, flag_key
from controller.decision.model import Kind
from controller.doctor import surroundings
from controller.doctor.holds import hold_in_words
from controller.doctor.surroundings import look_at_providers


def run(*arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(rollout, [str(argument) for argument in arguments], env=environment)


def findings(*arguments: object, **environment: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = run("doctor", "--json", *arguments, **environment)
    return done.exit_code, {finding["subject"]: finding for finding in json.loads(done.stdout)}


class TestWithEverything:
    """One world with persistence, rules and senders, in which all is as it should be."""

    @pytest.fixture
    def world(self, tmp_path: Path) -> Iterator[World]:
        with World(tmp_path, "--appendonly", "yes", senders=1) as world:
            world.redis.client().config_set("appendonly", "yes")
            yield world

    def test_all_is_well(self, world: World) -> None:
        daemon = world.daemons["a"].start().wait_ready()
        edges = "latency edges of microsoft"
        wait_until(lambda: findings("--config", daemon.config)[1][edges]["verdict"] == "ok", 20)
        code, found = findings("--config", daemon.config)
        assert code == 0
        assert {f["verdict"] for f in found.values()} <= {"ok", "note"}
        assert found["daemon"]["verdict"] == "ok"
        assert "leader" in found["daemon"]["seen"]

    def test_a_reload_by_command_says_how_it_went(self, world: World) -> None:
        daemon = world.daemons["a"].start().wait_ready()
        done = run("reload", "--config", daemon.config)
        assert (done.exit_code, done.stdout) == (0, "reloaded: microsoft\n")
        daemon.config.write_text(daemon.config.read_text() + "bake_s = -1\n")
        done = run("reload", "--config", daemon.config)
        assert done.exit_code == 2
        assert f"{daemon.config}:" in done.stderr
        assert daemon.ready()["reloads"] == 1

    def test_a_missing_edge_and_missing_rules_are_named(self, world: World) -> None:
        daemon = world.daemons["a"]
        text = daemon.config.read_text()
        daemon.config.write_text(text + "slo_latency_p95_ms = 123\n\n[features.google]\n")
        wait_until(
            lambda: findings("--config", daemon.config)[1]["latency edges of microsoft"]["verdict"] == "bad",
            15,
        )
        code, found = findings("--config", daemon.config)
        assert code == 1
        assert "not loaded" in found["rules"]["seen"]


def test_without_servers_the_answer_is_3_and_says_which() -> None:
    code, found = findings(
        ROLLOUT_REDIS_URL="redis://127.0.0.1:1/0",
        ROLLOUT_PROMETHEUS_URL="http://127.0.0.1:1",
    )
    assert code == 3
    assert found["redis"]["verdict"] == found["prometheus"]["verdict"] == "away"


def test_a_reload_without_a_daemon_exits_3() -> None:
    assert run("reload", ROLLOUT_LISTEN="127.0.0.1:1").exit_code == 3


def redis_findings(server: RedisServer) -> dict[str, dict[str, Any]]:
    return findings(ROLLOUT_REDIS_URL=server.url, ROLLOUT_PROMETHEUS_URL="http://127.0.0.1:1")[1]


def test_a_redis_without_persistence_and_one_that_evicts_are_found(
    rig: Rig, redis_server: RedisServer
) -> None:
    assert redis_findings(redis_server)["redis persistence"]["verdict"] == "bad"
    assert redis_findings(redis_server)["redis eviction"]["verdict"] == "ok"
    rig.client.config_set("maxmemory-policy", "allkeys-lru")
    rig.client.config_set("appendonly", "yes")
    found = redis_findings(redis_server)
    assert found["redis persistence"]["verdict"] == "ok"
    assert found["redis eviction"]["verdict"] == "bad"
    assert "noeviction" in found["redis eviction"]["do"]


def test_a_replica_and_flags_that_are_not_understood_are_found(rig: Rig, redis_server: RedisServer) -> None:
    rig.tick(rig.controller())
    rig.edit(enabled="yes")
    rig.client.delete(flag_key("microsoft", "paused"))
    assert "enabled" in redis_findings(redis_server)["flags of microsoft"]["seen"]
    rig.client.replicaof("127.0.0.1", "1")
    found = redis_findings(redis_server)
    assert found["redis role"]["verdict"] == found["redis rights"]["verdict"] == "bad"


def test_looking_leaves_nothing_behind(rig: Rig, redis_server: RedisServer) -> None:
    redis_findings(redis_server)
    assert rig.client.keys("*") == []


NOWHERE = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("provider", "told"),
    [
        (
            "microsoft",
            {"MS_CLIENT_ID": "x", "MS_TENANT_ID": "y", "MS_GRAPH_URL": NOWHERE, "MS_AUTHORITY": NOWHERE},
        ),
        ("google", {"GOOGLE_CLIENT_ID": "x", "GOOGLE_API_URL": NOWHERE, "GOOGLE_TOKEN_URL": NOWHERE}),
        (
            "google",
            {"GOOGLE_SERVICE_ACCOUNT_FILE": "x", "GOOGLE_API_URL": NOWHERE, "GOOGLE_TOKEN_URL": NOWHERE},
        ),
    ],
)
def test_a_provider_is_asked_only_where_it_is_switched_on(provider: str, told: dict[str, str]) -> None:
    assert [finding.verdict for finding in look_at_providers({})] == ["note", "note"]
    asked = look_at_providers({f"PROVIDER_{provider.upper()}_ENABLED": "true", **told})
    assert sorted(finding.verdict for finding in asked) == ["away", "away", "note"]


def test_a_provider_without_its_settings_is_not_ok() -> None:
    on = {"PROVIDER_GOOGLE_ENABLED": "true", "GOOGLE_API_URL": NOWHERE, "GOOGLE_TOKEN_URL": NOWHERE}
    [missing] = [finding for finding in look_at_providers(on) if finding.verdict == "bad"]
    assert "GOOGLE_CLIENT_ID" in missing.seen


@pytest.mark.parametrize(("provider", "prefix"), [("MICROSOFT", "MS"), ("GOOGLE", "GOOGLE")])
def test_a_file_that_holds_no_certificate_is_named(provider: str, prefix: str) -> None:
    environ = {f"PROVIDER_{provider}_ENABLED": "true", f"{prefix}_CA_FILE": __file__}
    *_, last = [one for one in look_at_providers(environ) if provider.lower() in one.subject]
    assert (last.verdict, f"{prefix}_CA_FILE" in last.seen) == ("bad", True)


@pytest.mark.parametrize(("provider", "prefix"), [("MICROSOFT", "MS"), ("GOOGLE", "GOOGLE")])
def test_a_token_for_tests_is_noted_and_needs_no_sign_in(provider: str, prefix: str) -> None:
    environ = {
        f"PROVIDER_{provider}_ENABLED": "true",
        "INTEGRATION_TESTS_ENABLED": "true",
        f"{prefix}_INTEGRATION_TOKEN": "sandbox-x",
        "MS_GRAPH_URL": NOWHERE,
        "GOOGLE_API_URL": NOWHERE,
    }
    found = [finding for finding in look_at_providers(environ) if provider.lower() in finding.subject]
    assert [finding.verdict for finding in found] == ["note"]
    assert "for tests alone" in found[0].seen
    asked = [one.subject for one in look_at_providers(environ) if one.verdict == "away"]
    assert asked == [{"MS": "graph", "GOOGLE": "gmail"}[prefix]]


def test_a_machine_without_systemd_is_no_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(surroundings, "_SYSTEMD_RUNS", tmp_path / "none")
    assert [finding.verdict for finding in surroundings.look_at_units()] == ["note"]


def test_the_configuration_is_shown_without_its_secrets(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret-token\n")
    shown = run(
        "config",
        "show",
        "--json",
        ROLLOUT_REDIS_URL="redis://ann:s3cret-word@127.0.0.1:6379/0",
        ROLLOUT_API_TOKEN_FILE=str(tmp_path / "token"),
    )
    assert "s3cret" not in shown.output
    rows = {row["setting"]: row for row in json.loads(shown.stdout)["settings"]}
    assert rows["redis_url"]["value"] == "redis://ann:***@127.0.0.1:6379/0"
    assert rows["api_token"] == {
        "setting": "api_token",
        "value": "*** (set)",
        "from": "ROLLOUT_API_TOKEN_FILE",
    }
    assert rows["interval_s"]["from"] == "default"


def test_a_configuration_that_cannot_be_used_is_refused_with_its_line(tmp_path: Path) -> None:
    config = tmp_path / "rollout.toml"
    config.write_text("[controller]\ninterval_s = 30\nlease = 3\n")
    done = run("config", "check", "--config", config)
    assert done.exit_code == 2
    assert f"{config}:3" in done.stderr
    config.write_text("[controller]\ninterval_s = 30\nlease_s = 5\n")
    assert "shorter than interval_s" in run("config", "check", "--config", config).stderr
    config.write_text("[features.microsoft]\nbake_s = 30\n")
    assert run("config", "check", "--config", config).exit_code == 0


class TestJournal:
    """The chain of a ramp, and what breaks it."""

    @pytest.fixture
    def ramp(self, rig: Rig) -> Rig:
        controller = rig.controller()
        rig.tick(controller)
        rig.person(Kind.ENABLE)
        rig.tick(controller, 60)
        rig.edit(rollout_percent="7")
        rig.tick(controller, 2)
        rig.person(Kind.PAUSE)
        rig.tick(controller)
        return rig

    def verify(self, rig: Rig) -> Result:
        places = {"ROLLOUT_REDIS_URL": rig.url, "ROLLOUT_JOURNAL": str(rig.file)}
        return run("journal", "verify", "microsoft", **places)

    def test_a_whole_ramp_with_a_hand_edit_holds_together(self, ramp: Rig) -> None:
        done = self.verify(ramp)
        assert (done.exit_code, done.output) == (
            0,
            "microsoft: every change follows from the one before it\n",
        )

    def test_a_record_taken_out_of_the_file_is_named(self, ramp: Rig) -> None:
        lines = ramp.file.read_text().splitlines(keepends=True)
        step = next(n for n, line in enumerate(lines) if '"kind":"step_up"' in line)
        ramp.file.write_text("".join(lines[:step] + lines[step + 1 :]))
        done = self.verify(ramp)
        assert done.exit_code == 1
        assert json.loads(lines[step])["id"] in done.stdout

    def test_flags_that_are_not_as_recorded_are_named(self, ramp: Rig) -> None:
        ramp.edit(paused="false")
        done = self.verify(ramp)
        assert done.exit_code == 1
        assert "newest record" in done.stdout

    def test_a_record_that_was_tampered_with_decides_otherwise_again(self, ramp: Rig) -> None:
        key = decisions_key("microsoft")
        entries: Any = ramp.client.xrange(key)
        ramp.client.delete(key)
        for _, fields in entries:
            changed = fields["record"].replace('"kind":"step_up"', '"kind":"set"')
            ramp.client.xadd(key, {"record": changed})
        assert self.verify(ramp).exit_code == 1

    def test_without_redis_the_file_is_checked_and_the_answer_is_3(
        self, ramp: Rig, redis_server: RedisServer
    ) -> None:
        redis_server.kill()
        assert self.verify(ramp).exit_code == 3

    def test_history_falls_back_to_the_file_and_says_so(self, ramp: Rig, redis_server: RedisServer) -> None:
        kinds = [record["kind"] for record in ramp.stream()]
        ramp.file.rename(ramp.file.with_name("decisions.jsonl.1"))
        redis_server.kill()
        done = run(
            "history",
            "microsoft",
            "--since",
            "30000d",
            "--json",
            ROLLOUT_REDIS_URL=ramp.url,
            ROLLOUT_JOURNAL=str(ramp.file),
        )
        assert done.exit_code == 0
        assert [record["kind"] for record in json.loads(done.stdout)] == kinds
        assert "this is from" in done.stderr


def test_what_a_feature_is_held_on_is_repeated_with_since_when() -> None:
    noon = datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()
    held = [
        {"kind": "hold", "reason": "metrics_incomplete", "at": noon + 30 * k, "detail": "a:1 restarted"}
        for k in range(23)
    ]
    baking = {"kind": "hold", "reason": "baking", "at": noon - 30, "detail": ""}
    since = datetime.fromtimestamp(noon).astimezone()
    words = f"hold metrics_incomplete since {since:%H:%M} (23 ticks): a:1 restarted"
    assert hold_in_words([baking, *held], noon + 700) == words
    assert hold_in_words([*held, baking], noon + 700) == ""
    assert hold_in_words([], noon) == ""
    assert f"since {since:%Y-%m-%d %H:%M} (1 tick)" in hold_in_words(held[:1], noon + 3 * 86_400)
