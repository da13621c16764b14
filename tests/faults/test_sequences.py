"""Random courses of faults on two controllers, two senders, a real Redis and a real Prometheus.

`make test` runs one; `make soak` runs SOAK_SEQUENCES of them. A seed names a course.
"""

from pathlib import Path

import pytest
from kit.examples import amount
from worlds.fault_story import Story
from worlds.live import World

SEQUENCES = amount("SEQUENCES", soak=200, usually=1)
FIRST = amount("FIRST_SEED", soak=1, usually=1)
LENGTH_S = amount("LENGTH_S", soak=20, usually=20)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEQUENCES))
def test_whatever_fails_nobody_steps_up_by_mistake_and_no_decision_is_lost(tmp_path: Path, seed: int) -> None:
    with World(tmp_path) as world:
        story = Story(world, seed)
        try:
            story.run(LENGTH_S)
            story.recover()
            problems = [*story.harm, *story.course().problems()]
            assert not problems, "\n".join([*story.told, "", *problems])
        finally:
            story.close()
