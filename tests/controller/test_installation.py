"""The two import names are common words: an installation in which they are not ours is refused."""

import subprocess
import sys
from pathlib import Path

from controller.daemon.installation import foreign_claims


def test_a_sound_installation_has_no_foreign_claims() -> None:
    assert foreign_claims() == []


def test_the_daemon_refuses_to_run_beside_another_distribution_of_the_same_name(tmp_path: Path) -> None:
    metadata = tmp_path / "impostor-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: impostor\nVersion: 1.0\n")
    (metadata / "top_level.txt").write_text("adapter\n")
    done = subprocess.run(
        [sys.executable, "-m", "controller", "run", "--once"],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "another distribution installs adapter (impostor)" in done.stderr
    assert done.stderr.count("\n") == 1
