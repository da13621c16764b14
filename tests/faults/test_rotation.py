"""The journal under logrotate, with the configuration that is installed: nothing is lost or doubled."""

import os
import subprocess
from pathlib import Path

from click.testing import CliRunner
from worlds.fault_rig import Rig

from controller.cli import rollout
from controller.decision.model import Kind
from controller.journal.sinks import read_file, rotated_files

CONFIGURATION = Path(__file__).parents[2] / "systemd" / "logrotate.conf"


def rotate(rig: Rig) -> None:
    """Rotate now, as this user and not as root."""
    folder = rig.file.parent
    text = CONFIGURATION.read_text().replace("/var/lib/rollout-controller", str(folder))
    own = folder / "logrotate.conf"
    own.write_text(text.replace("    su root root\n", ""))
    own.chmod(0o644)
    found = os.environ["PATH"] + ":/usr/sbin:/sbin"
    command = ["logrotate", "--force", "--state", str(folder / "logrotate.state"), str(own)]
    done = subprocess.run(command, env={"PATH": found}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_decision_is_once_in_the_rotated_files_and_they_verify(rig: Rig) -> None:
    controller = rig.controller()
    rig.tick(controller)
    rig.person(Kind.ENABLE)
    for _ in range(4):
        rig.tick(controller, 15)
        rotate(rig)
    rig.tick(controller, 5)
    controller.release()
    rig.tick(rig.controller(), 5)
    files = rotated_files(rig.file)
    assert [file.suffix for file in files] == [".gz", ".gz", ".gz", ".1", ".jsonl"]
    kept = [record["id"] for file in files for record in read_file(file)]
    assert kept == [record["id"] for record in rig.stream()]
    places = {"ROLLOUT_REDIS_URL": rig.url, "ROLLOUT_JOURNAL": str(rig.file)}
    done = CliRunner().invoke(rollout, ["journal", "verify", "microsoft"], env=places)
    assert (done.exit_code, done.output) == (0, "microsoft: every change follows from the one before it\n")
