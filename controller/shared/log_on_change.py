"""Logs changes from tick to tick: dependencies lost and back, lasting troubles, a clock that jumps."""

import structlog

_STEP_S = 1.0
"""A clock that is only being drawn straight moves less than this between two looks."""


class OutageLog:
    """Logs each dependency's loss once, and its return once with how long it took."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[float, str]] = {}
        self._log = structlog.get_logger("daemon")

    def note(self, dependency: str, trouble: str, monotonic: float) -> None:
        """Note what is wrong with a dependency now; an empty text says nothing is."""
        since = self._since.get(dependency)
        if trouble and since is None:
            self._since[dependency] = (monotonic, trouble)
            self._log.error("dependency_lost", dependency=dependency, error=trouble)
        elif since is not None and not trouble:
            del self._since[dependency]
            lost_at, was = since
            self._log.warning(
                "dependency_back", dependency=dependency, lost_for_s=round(monotonic - lost_at, 1), was=was
            )


class LogOnChange:
    """Remembers what was said of something, so that what stays wrong is said once and not at every tick."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def is_new(self, of: str, trouble: str) -> bool:
        """Whether this has to be said; an empty text says that nothing is wrong any more."""
        was, self._said[of] = self._said.get(of, ""), trouble
        return bool(trouble) and trouble != was


class ClockWatch:
    """Notices that the wall clock was set, by the clock that only runs forward."""

    def __init__(self, wall: float, monotonic: float) -> None:
        self._offset = wall - monotonic

    def stepped_s(self, wall: float, monotonic: float) -> float:
        """Return how far the clock was set since the last look, 0 when it only ran."""
        step_s = wall - monotonic - self._offset
        self._offset = wall - monotonic
        return step_s if abs(step_s) > _STEP_S else 0.0
