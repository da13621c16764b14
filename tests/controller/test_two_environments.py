"""Two environments under one job in one Prometheus, each with a daemon and a Redis of its own."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from kit.servers import PrometheusServer, RedisServer, free_port
from kit.waiting import wait_until
from worlds.addresses import Address, Sender

from controller.config.settings import ControllerSettings, load_settings
from controller.contract import Flags
from controller.decision.model import Kind
from controller.journal.sinks import Journals
from controller.loop.manual import operate
from controller.rules.rule_files import rule_files
from controller.rules.scale import Scale
from controller.rules.scope import Scope
from controller.rules.yaml_text import yaml_text
from controller.sandbox.processes import Processes
from controller.shared.redis_pool import open_redis
from controller.store.redis_store import RedisFlagStore

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
SOON_S = 90.0
FAILING = {"prod": 0.0, "staging": 0.3}
CONFIG = """
[controller]
redis_url = "{redis_url}"
prometheus_url = "{prometheus_url}"
listen = "127.0.0.1:{port}"
interval_s = 1
window_s = 1
scrape_s = 0.5
journal = "{folder}/{env}.jsonl"
selector = {{ env = "{env}" }}

[features.microsoft]
bake_s = 2
steps = [10, 50, 100]
"""
PROMETHEUS = """
global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 1s}}
rule_files: ["{folder}/prod-rules/*.yml", "{folder}/staging-rules/*.yml"]
scrape_configs:
  - job_name: rollout-sender
    static_configs:
"""


class Environment:
    """One daemon, with its own Redis, that watches the senders of one environment."""

    def __init__(self, name: str, settings: ControllerSettings) -> None:
        self.name, self.settings = name, settings
        self.feature = settings.features["microsoft"]
        self.store = RedisFlagStore(open_redis(settings.redis_url, 1.0))

    def enable(self, now: float) -> None:
        operate(self.store, Journals(), self.feature, Kind.ENABLE, actor="test", note="a ramp", now=now)

    @property
    def flags(self) -> Flags:
        return self.store.read(["microsoft"])[0].flags


@pytest.fixture
def environments(tmp_path: Path) -> Iterator[dict[str, Environment]]:
    with ExitStack() as stack:
        processes = stack.enter_context(Processes(tmp_path))
        addresses = {env: Address(Sender(failing)) for env, failing in FAILING.items()}
        for address in addresses.values():
            stack.callback(address.close)
        targets = "".join(
            f'      - {{targets: ["127.0.0.1:{address.port}"], labels: {{env: {env}}}}}\n'
            for env, address in addresses.items()
        )
        prometheus = PrometheusServer(tmp_path, PROMETHEUS.format(folder=tmp_path) + targets)
        found = {}
        for env in FAILING:
            redis = stack.enter_context(RedisServer(tmp_path))
            config = tmp_path / f"{env}.toml"
            config.write_text(
                CONFIG.format(
                    env=env,
                    folder=tmp_path,
                    port=free_port(),
                    redis_url=redis.url,
                    prometheus_url=prometheus.url,
                ),
                encoding="utf-8",
            )
            found[env] = Environment(env, load_settings(config, environ={}))
            place = tmp_path / f"{env}-rules"
            place.mkdir()
            for file in rule_files([found[env].feature], Scale.of(1, 1, 0.5), Scope(labels=(("env", env),))):
                (place / file.name).write_text(yaml_text(file), encoding="utf-8")
            command = [sys.executable, "-m", "controller", "run", "--config", str(config), "--no-adapter"]
            processes.start(env, free_port(), command)
        stack.enter_context(prometheus)
        yield found


def test_the_healthy_environment_goes_to_all_users_while_the_broken_one_beside_it_is_paused(
    environments: dict[str, Environment],
) -> None:
    for one in environments.values():
        one.enable(time.time())
    wait_until(lambda: environments["staging"].flags.paused, SOON_S, "the pause of staging")
    wait_until(lambda: environments["prod"].flags.rollout_percent == 100, SOON_S, "100 % of production")
    assert not environments["prod"].flags.paused
    assert environments["staging"].flags.rollout_percent <= 10
