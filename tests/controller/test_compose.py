"""The containers of deploy/compose are what the program and its image are; what they mount is there."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from controller.cli import rollout
from controller.config.settings import load_settings
from controller.contract import SENDER_JOB

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "compose"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))["services"]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]


def mounts(name: str) -> dict[str, Path]:
    """Return what a service mounts from the tree, by its place in the container."""
    pairs = [text.split(":")[:2] for text in SERVICES[name]["volumes"]]
    return {inside: (FOLDER / outside).resolve() for outside, inside in pairs if outside.startswith(".")}


@pytest.mark.parametrize("name", sorted(name for name, one in SERVICES.items() if "volumes" in one))
def test_what_a_container_mounts_is_there(name: str) -> None:
    for outside in mounts(name).values():
        assert outside.exists(), outside


def test_every_place_that_names_the_image_names_this_version() -> None:
    texts = [path.read_text("utf-8") for path in (ROOT / "deploy").rglob("*.yaml")]
    named = [one for text in texts for one in re.findall(r"(?:rollout-controller:|newTag: )([\d.]+)", text)]
    assert len(named) >= 4
    assert set(named) == {VERSION}


def test_prometheus_scrapes_each_sender_where_it_listens() -> None:
    jobs = yaml.safe_load((FOLDER / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in jobs}
    senders = [name for name in SERVICES if name.startswith("sender-")]
    ports = {name: SERVICES[name]["command"][3] for name in senders}
    assert targets[SENDER_JOB] == [f"{name}:{ports[name]}" for name in senders]
    listen = SERVICES["controller"]["environment"]["ROLLOUT_LISTEN"].rpartition(":")[2]
    assert targets["rollout-controller"] == [f"controller:{listen}"]
    assert SERVICES["controller"]["ports"] == [f"127.0.0.1:{listen}:{listen}"]


def test_the_configuration_leads_to_the_other_containers() -> None:
    settings = load_settings(FOLDER / "rollout.toml", {})
    assert settings.redis_url.startswith("redis://redis:6379/")
    assert settings.prometheus_url == "http://prometheus:9090"
    assert {"redis", "prometheus"} <= SERVICES.keys()
    assert mounts("controller")["/etc/rollout-controller/rollout.toml"] == FOLDER / "rollout.toml"


def test_the_daemon_takes_its_command_and_its_environment() -> None:
    service = SERVICES["controller"]
    environment = {name: value for name, value in service["environment"].items() if name != "ROLLOUT_CONFIG"}
    assert load_settings(FOLDER / "rollout.toml", environment).listen == "0.0.0.0:8003"
    assert CliRunner().invoke(rollout, [*service["command"], "--help"]).exit_code == 0


def test_prometheus_and_alertmanager_take_their_configurations(tmp_path: Path) -> None:
    (tmp_path / "rules").symlink_to(mounts("prometheus")["/etc/prometheus/rules"])
    config = tmp_path / "prometheus.yml"
    config.write_bytes(mounts("prometheus")["/etc/prometheus/prometheus.yml"].read_bytes())
    checked = subprocess.run(
        ["promtool", "check", "config", str(config)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "6 rule files" in checked.stdout or "rule files found" in checked.stdout


def test_what_is_not_for_others_is_open_on_loopback_alone() -> None:
    published = [port for one in SERVICES.values() for port in one.get("ports", ())]
    assert len(published) >= 5
    assert all(port.startswith("127.0.0.1:") for port in published)
