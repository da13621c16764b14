"""A feature that is open and in no configuration: found among any keys, counted, shown, and never made so."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kit.servers import RedisServer
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from controller.config.settings import load_settings
from controller.daemon import process as module
from controller.daemon.process import Daemon
from controller.doctor.redis import look_at_redis
from controller.shared.redis_pool import open_redis
from controller.store.oversight import Oversight

ROLLOUT = Path(sys.executable).with_name("rollout")
TWO = '[features.microsoft]\n[features.news]\nprovider = "acme"\naction = "news.send"\n'
RENAMED = TWO.replace("features.news", "features.letters")


@pytest.fixture
def config(tmp_path: Path, redis_server: RedisServer) -> Path:
    path = tmp_path / "rollout.toml"
    path.write_text(written(redis_server, TWO))
    return path


def written(redis_server: RedisServer, features: str) -> str:
    away = 'prometheus_url = "http://127.0.0.1:1"\ninterval_s = 0.5\n'
    return f'[controller]\nredis_url = "{redis_server.url}"\n{away}{features}'


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    registry = CollectorRegistry()
    monkeypatch.setattr(module, "REGISTRY", registry)
    return registry


def rollout(*words: str) -> "subprocess.CompletedProcess[str]":
    env = {"PATH": os.environ["PATH"]}
    return subprocess.run([ROLLOUT, *words], env=env, capture_output=True, text=True, check=False)


def test_a_reload_that_would_leave_an_enabled_feature_unwatched_is_refused(
    redis_server: RedisServer, config: Path, registry: CollectorRegistry
) -> None:
    daemon = Daemon(load_settings(config), dry_run=False)
    daemon.tick()
    with redis_server.client() as client:
        client.set("flags:news:enabled", "true")
        for other in (RENAMED, "[features.microsoft]\n"):
            config.write_text(written(redis_server, other))
            daemon.reload()
            assert daemon.health.config_error.startswith("news is enabled and would be unwatched")
            assert "news" in daemon.settings.features
        assert registry.get_sample_value("rollout_reloads_total", {"outcome": "refused"}) == 2
        client.set("flags:news:enabled", "false")
        daemon.reload()
    assert (daemon.health.config_error, list(daemon.settings.features)) == ("", ["microsoft"])


def test_an_enabled_feature_in_no_configuration_is_counted_logged_once_and_shown_everywhere(
    redis_server: RedisServer, config: Path, registry: CollectorRegistry
) -> None:
    config.write_text(written(redis_server, "[features.microsoft]\n"))
    settings = load_settings(config)
    with redis_server.client() as client, capture_logs() as logs:
        daemon = Daemon(settings, dry_run=False)
        daemon.tick()
        assert registry.get_sample_value("rollout_unwatched_features") == 0
        ghost = {"enabled": "true", "internal_only": "false", "rollout_percent": "40", "paused": "false"}
        client.mset({f"flags:ghost:{name}": text for name, text in ghost.items()})
        client.set("flags:asleep:enabled", "false")
        daemon.tick()
        daemon.tick()
        assert daemon.health.unwatched == ("ghost",)
        assert registry.get_sample_value("rollout_unwatched_features") == 1
        errors = [line for line in logs if line["event"] == "unwatched_features"]
        assert [(line["log_level"], line["features"]) for line in errors] == [("error", "ghost")]
        [found] = [one for one in look_at_redis(settings) if one.subject == "unwatched features"]
        assert (found.verdict, "ghost" in found.seen) == ("bad", True)
        words = ("--config", str(config))
        told = rollout("status", *words).stdout
        assert "Unwatched at 40 %: in no configuration, so nobody pauses it" in told
        assert "anybody hurt now: Not known: nobody measures it." in told
        assert "rollout pause ghost --reason" in told
        [stand] = json.loads(rollout("status", "--json", *words).stdout)["unwatched"]
        assert (stand["feature"], stand["stage"], stand["rollout_percent"]) == ("ghost", "unwatched", 40.0)
        assert rollout("pause", "ghost", "--reason", "x", *words).returncode == 0
        assert client.get("flags:ghost:paused") == "true"
        rollout("disable", "ghost", "--reason", "x", *words)
        daemon.tick()
        assert registry.get_sample_value("rollout_unwatched_features") == 0


def test_a_feature_is_found_among_many_keys_over_several_looks(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        pipe = client.pipeline(transaction=False)
        for number in range(30_000):
            pipe.set(f"other:{number}", "x")
        pipe.set("flags:ghost:enabled", "true")
        pipe.execute()
    oversight = Oversight(open_redis(redis_server.url, 2.0), calls=5)
    looks = [oversight.unwatched(["microsoft"]) for _ in range(14)]
    assert oversight.whole
    assert looks[-1] == ("ghost",)
    first = looks.index(("ghost",))
    assert all(look == ("ghost",) for look in looks[first:])


def test_a_controller_with_another_configuration_says_so_and_the_leader_decides_what_is_the_same(
    redis_server: RedisServer, config: Path, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = Daemon(load_settings(config), dry_run=False)
    assert leader.tick().leader
    other = config.with_name("other.toml")
    other.write_text(config.read_text() + "slo_error_rate_threshold = 0.3\n")
    monkeypatch.setattr(module, "REGISTRY", elsewhere := CollectorRegistry())
    with capture_logs() as logs:
        standby = Daemon(load_settings(other), dry_run=False)
        assert not standby.tick().leader
        standby.tick()
    assert [line["log_level"] for line in logs if line["event"] == "config_differs"] == ["error"]
    assert (leader.health.config_agrees, standby.health.config_agrees) == (True, False)
    assert registry.get_sample_value("rollout_config_agrees") == 1
    assert elsewhere.get_sample_value("rollout_config_agrees") == 0
    for path, level in ((config, "ok"), (other, "bad")):
        [found] = [one for one in look_at_redis(load_settings(path)) if one.subject == "configuration"]
        assert found.verdict == level
    other.write_text(config.read_text() + '[features.news.links]\nrunbook = "https://wiki.example.com"\n')
    standby.reload()
    standby.tick()
    assert standby.health.config_agrees
