"""The source distribution on a Debian that has nothing: one command plays the demo to its end."""

import subprocess
from pathlib import Path

from install.conftest import ROOT, built, inside


def test_make_demo_of_the_source_distribution_ends_well_on_a_bare_debian(
    bare_debian: Path, tmp_path: Path
) -> None:
    built(ROOT, tmp_path, "-t", "sdist")
    [archive] = tmp_path.glob("*.tar.gz")
    source = bare_debian / "src"
    source.mkdir()
    subprocess.run(["tar", "-C", source, "--strip-components=1", "-xzf", archive], check=True)
    done = inside(bare_debian, "cd /src && make demo")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "resume (manual)" in done.stdout
    assert "hold (complete)" in done.stdout
