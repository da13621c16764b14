"""Whether a freeze window is open at an instant; worked out here, so that deciding needs no calendar."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from controller.decision.feature import RolloutFeature
from controller.decision.freeze import DatedFreeze, Freeze, WeeklyFreeze


def open_freeze(feature: RolloutFeature, *clocks: float) -> str:
    """Return the name of the feature's first freeze window that is open by any of these clocks, else "".

    Clocks are unix seconds. A clock that was set must not lead out of a freeze, so the source's is asked too.
    """
    open_ = (freeze.name for freeze in feature.freezes if any(_holds(freeze, now) for now in clocks))
    return next(open_, "")


def _holds(freeze: Freeze, now: float) -> bool:
    if not isinstance(freeze, WeeklyFreeze):
        return isinstance(freeze, DatedFreeze) and freeze.start <= now < freeze.end
    local = datetime.fromtimestamp(now, UTC).astimezone(ZoneInfo(freeze.time_zone))
    on_the_clock = timedelta(hours=local.hour, minutes=local.minute, seconds=local.second).total_seconds()
    return local.weekday() in freeze.weekdays and freeze.start_s <= on_the_clock < freeze.end_s
