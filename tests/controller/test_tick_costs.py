"""What a tick costs its dependencies: the same few requests and round trips for any number of features."""

from pathlib import Path

import pytest
from worlds.tick import tick_world

REQUESTS, ROUND_TRIPS = 3, 3
"""The source's clock, the samples, the rules; the lease, the flags, the decisions."""


@pytest.mark.parametrize("count", [1, 200])
def test_a_tick_asks_as_often_for_many_features_as_for_one(tmp_path: Path, count: int) -> None:
    with tick_world(tmp_path, count) as world:
        assert world.turns(world.ticking()) == (REQUESTS, ROUND_TRIPS)


def test_every_feature_has_its_record_in_stream_and_file_though_the_log_leaves_it_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = tmp_path / "decisions.jsonl"
    with tick_world(tmp_path, 20, journal) as world:
        controller = world.ticking()
        before, said = len(journal.read_text().splitlines()), capsys.readouterr()
        report = world.tick(controller)
        with world.redis.client() as client:
            kept = [client.xlen(key) for key in client.scan_iter("rollout:decisions:*", 100)]
        assert len(report.records) == 20
        assert len(journal.read_text().splitlines()) == before + 20
        assert sum(kept) == before + 20
        assert "baking" in said.out + said.err
        assert "baking" not in "".join(capsys.readouterr())
