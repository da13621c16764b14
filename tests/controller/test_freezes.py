"""When a freeze window is open: on the clocks of its time zone, through the nights when they are changed."""

from dataclasses import replace
from datetime import datetime

import pytest

from controller.decision.freeze import DatedFreeze, WeeklyFreeze
from controller.features import ROLLOUT_FEATURES
from controller.loop.freezes import open_freeze

FRIDAY, SUNDAY = 4, 6
EVENING = WeeklyFreeze((FRIDAY,), 16 * 3600, 86_400, "Europe/Berlin", "evening")
NIGHT = WeeklyFreeze((SUNDAY,), 2 * 3600, 4 * 3600, "Europe/Berlin", "night")
HOLIDAYS = DatedFreeze(
    datetime.fromisoformat("2026-12-24T00:00:00+01:00").timestamp(),
    datetime.fromisoformat("2026-12-27T00:00:00+01:00").timestamp(),
    "holidays",
)
FEATURE = replace(ROLLOUT_FEATURES["microsoft"], freezes=(EVENING, NIGHT, HOLIDAYS))


@pytest.mark.parametrize(
    ("instant", "name"),
    [
        ("2026-07-03T13:59:59Z", ""),
        ("2026-07-03T14:00:00Z", "evening"),
        ("2026-07-03T21:59:59Z", "evening"),
        ("2026-07-03T22:00:00Z", ""),
        ("2026-01-09T14:59:59Z", ""),
        ("2026-01-09T15:00:00Z", "evening"),
        ("2026-03-29T00:59:59Z", ""),  # 01:59:59; one second later it is 03:00
        ("2026-03-29T01:00:00Z", "night"),
        ("2026-03-29T02:00:00Z", ""),
        ("2026-10-25T00:00:00Z", "night"),  # 02:00, and an hour later 02:00 again
        ("2026-10-25T01:00:00Z", "night"),
        ("2026-10-25T02:59:59Z", "night"),
        ("2026-10-25T03:00:00Z", ""),
        ("2026-12-23T22:59:59Z", ""),
        ("2026-12-23T23:00:00Z", "holidays"),
        ("2026-12-26T22:59:59Z", "holidays"),
        ("2026-12-26T23:00:00Z", ""),
    ],
)
def test_a_freeze_is_open_from_its_beginning_until_right_before_its_end(instant: str, name: str) -> None:
    assert open_freeze(FEATURE, datetime.fromisoformat(instant).timestamp()) == name
