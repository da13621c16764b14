"""The tutorial works: each of its commands, in its order, on real servers."""

import os
import sys
from pathlib import Path

from kit.tutorial import blocks, follow


def test_every_command_of_the_tutorial_works(tmp_path: Path) -> None:
    follow(blocks("sh")[:-1], tmp_path, {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"})


def test_the_tutorial_begins_and_ends_as_tested() -> None:
    assert len(blocks("sh")) >= 10
    assert blocks("sh")[-1] == "kill $(jobs -p)\n"
    assert len(blocks("bash")) == 2
