"""What comes with the program is written into one folder, and a stranger in our place is named."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from controller.cli import rollout
from controller.shared.shipped import shipped

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(rollout, [*arguments])
    return result.exit_code, result.stdout, result.stderr


def test_one_command_writes_everything_that_an_installation_needs(tmp_path: Path) -> None:
    code, stdout, _ = run("files", "--out", str(tmp_path), "--json")
    assert code == 0
    written = {str(Path(name).relative_to(tmp_path)) for name in json.loads(stdout)}
    assert written >= {
        "rules/prometheus-alerts-rollout.yml",
        "runbooks/rollout-paused.md",
        "docs/dashboards/rollout.json",
        "docs/alertmanager-example.yml",
        "docs/operations.md",
        "systemd/rollout-controller.service",
        "systemd/logrotate.conf",
    }
    assert (tmp_path / "systemd/logrotate.conf").read_bytes() == (
        ROOT / "systemd/logrotate.conf"
    ).read_bytes()
    assert run("rules", "check", "--rules", str(tmp_path / "rules"))[0] == 0


def test_a_file_that_differs_is_not_written_over_unless_it_is_said(tmp_path: Path) -> None:
    assert run("files", "--out", str(tmp_path))[0] == 0
    mine = tmp_path / "runbooks" / "rollout-paused.md"
    mine.write_text("ours")
    code, _, stderr = run("files", "--out", str(tmp_path))
    assert (code, mine.read_text()) == (2, "ours")
    assert "say --force" in stderr
    assert run("files", "--out", str(tmp_path), "--force")[0] == 0
    assert mine.read_text() != "ours"


def test_what_is_shipped_is_there() -> None:
    assert (shipped("systemd") / "rollout-controller.service").is_file()


@pytest.mark.parametrize("name", ["controller", "adapter"])
def test_a_package_of_a_stranger_in_our_place_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise RuntimeError('foreign code ran')")
    done = subprocess.run(
        [sys.executable, "-c", "import rollout_controller; rollout_controller.main()", "--version"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"the package {name!r} that Python finds ({tmp_path / name}) is not ours" in done.stderr
