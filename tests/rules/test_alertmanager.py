"""The example is accepted by Alertmanager, pages for critical alerts, and gathers those of a feature."""

import subprocess
from pathlib import Path

import pytest
import yaml

from controller.features import ROLLOUT_FEATURES
from controller.rules.model import Alert
from controller.rules.rule_files import rule_files
from controller.rules.scale import Scale

EXAMPLE = Path(__file__).parents[2] / "docs" / "alertmanager-example.yml"
ALERTS = [one for file in rule_files(ROLLOUT_FEATURES.values(), Scale()) for one in file.alerts]


def amtool(*words: str) -> str:
    done = subprocess.run(["amtool", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_alertmanager_accepts_the_example() -> None:
    assert "SUCCESS" in amtool("check-config", str(EXAMPLE))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_critical_alerts_page_and_warnings_make_tickets(alert: Alert) -> None:
    labels = [f"{name}={value}" for name, value in alert.labels.items()]
    receiver = amtool("config", "routes", "test", f"--config.file={EXAMPLE}", *labels)
    assert receiver.strip() == {"critical": "pager", "warning": "tickets"}[alert.labels["severity"]]


def test_alerts_about_one_features_sends_arrive_together_and_those_of_another_apart() -> None:
    by = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))["route"]["group_by"]
    groups = {
        tuple(alert.labels.get(label, "") for label in by) for alert in ALERTS if "action" in alert.labels
    }
    assert len(groups) == len(ROLLOUT_FEATURES)
