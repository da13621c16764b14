"""The manifests and the image say the same as the program: ports, probes, paths, variables."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from controller.cli import COMMANDS, rollout
from controller.commands.serve import serve
from controller.config.lookup import LOOKED_FOR
from controller.config.settings import ControllerSettings, load_settings

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy" / "kubernetes" / "base"
IMAGE = (ROOT / "Containerfile").read_text(encoding="utf-8")


def documents() -> Iterator[dict[str, Any]]:
    for path in sorted((ROOT / "deploy" / "kubernetes").rglob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


def pod(name: str) -> dict[str, Any]:
    [found] = [one for one in documents() if one["kind"] == "Deployment" and one["metadata"]["name"] == name]
    spec: dict[str, Any] = found["spec"]["template"]["spec"]
    return spec


PODS = [("rollout-controller", 8003, "ROLLOUT_LISTEN"), ("rollout-sender", 8004, "ROLLOUT_SENDER_LISTEN")]


OF_THE_OPERATOR = {"PodMonitor", "PrometheusRule", "Kustomization"}


@pytest.mark.parametrize("version", ["1.29", "1.33"])
def test_every_manifest_is_what_kubernetes_takes(version: str) -> None:
    checked = [one for one in documents() if one["kind"] not in OF_THE_OPERATOR]
    assert len(checked) >= 8
    for one in checked:
        kubernetes_validate.validate(one, version, strict=True)


def test_the_overlay_is_built_of_what_kubernetes_takes() -> None:
    overlay = ROOT / "deploy" / "kubernetes" / "overlays" / "production"
    built = subprocess.run(["kubectl", "kustomize", overlay], capture_output=True, text=True, check=True)
    made = list(yaml.safe_load_all(built.stdout))
    for one in made:
        assert one["metadata"]["namespace"] == "mail"
        if one["kind"] not in OF_THE_OPERATOR:
            kubernetes_validate.validate(one, "1.33", strict=True)
    [config] = [one["metadata"]["name"] for one in made if one["kind"] == "ConfigMap"]
    mounted = [
        volume["configMap"]["name"]
        for one in made
        if one["kind"] == "Deployment"
        for volume in one["spec"]["template"]["spec"]["volumes"]
        if "configMap" in volume
    ]
    assert mounted == [config] * 2


@pytest.mark.parametrize(("name", "port", "variable"), PODS)
def test_a_pod_listens_where_it_is_asked(name: str, port: int, variable: str) -> None:
    [container] = pod(name)["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert container["ports"] == [{"name": "http", "containerPort": port}]
    assert environment[variable] == f"0.0.0.0:{port}"
    assert f"{variable}=0.0.0.0:{port}" in IMAGE
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert environment["ROLLOUT_CONFIG"] == str(LOOKED_FOR[-1])


@pytest.mark.parametrize(("name", "port", "variable"), PODS)
def test_a_pod_runs_without_rights_and_ends_in_time(name: str, port: int, variable: str) -> None:
    spec = pod(name)
    [container] = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert spec["terminationGracePeriodSeconds"] >= {"rollout-controller": 5, "rollout-sender": 35}[name]
    assert f"USER {spec['securityContext']['runAsUser']}" in IMAGE


def test_secrets_are_files_that_the_program_reads() -> None:
    for name, _, _ in PODS:
        [container] = pod(name)["containers"]
        folders = [one["mountPath"] for one in container["volumeMounts"] if one["name"] == "secrets"]
        files = {one["name"]: one["value"] for one in container["env"] if one["name"].endswith("_FILE")}
        assert len(files) >= 2
        assert all(path.startswith(folders[0]) for path in files.values())


def test_the_configuration_of_the_manifests_is_sound() -> None:
    settings = load_settings(BASE / "rollout.toml", {})
    assert list(settings.features) == ["microsoft"]
    assert settings.interval_s == ControllerSettings().interval_s


def test_the_image_runs_commands_that_exist() -> None:
    [command] = re.findall(r'^CMD \["([a-z]+)"', IMAGE, flags=re.MULTILINE)
    assert command in COMMANDS
    for name, _, _ in PODS:
        [container] = pod(name)["containers"]
        assert container["args"][0] in COMMANDS
    listen = next(option for option in serve.params if option.name == "listen")
    assert getattr(listen, "envvar", None) == "ROLLOUT_SENDER_LISTEN"


def test_prometheus_meets_each_process_by_its_own_address_under_the_name_that_the_rules_ask_for() -> None:
    monitors = {one["metadata"]["name"]: one for one in documents() if one["kind"] == "PodMonitor"}
    for name, _, _ in PODS:
        [endpoint] = monitors[name]["spec"]["podMetricsEndpoints"]
        assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": name}]
    assert not [one for one in documents() if one["kind"] == "ServiceMonitor"]
    assert next(one for one in documents() if one["kind"] == "Deployment")["spec"]["replicas"] == 2


def test_the_rules_are_rendered_for_prometheus_operator_too(tmp_path: Path) -> None:
    assert CliRunner().invoke(rollout, ["files", "--out", str(tmp_path)]).exit_code == 0
    rule = yaml.safe_load((tmp_path / "deploy/kubernetes/prometheusrule.yaml").read_text("utf-8"))
    separate = [
        group
        for path in sorted((tmp_path / "rules").glob("*.yml"))
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
    ]
    assert rule["kind"] == "PrometheusRule"
    by_name = {group["name"]: group for group in rule["spec"]["groups"]}
    assert by_name == {group["name"]: group for group in separate}
    assert len(by_name) == len(rule["spec"]["groups"])
