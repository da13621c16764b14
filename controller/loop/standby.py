"""What a standby adds up by its own configuration, where the leader decides by another one."""

from controller.decision.decide import assess
from controller.decision.model import Decision, Kind, Snapshot, State


class StandbyStates:
    """The states of features that the leader weighs otherwise.

    The state in the store belongs to the leader's configuration. A standby that began with it at each tick
    would begin its tests at each tick, and prove no harm.
    """

    def __init__(self) -> None:
        self._kept: dict[str, State] = {}

    def state(self, name: str, stored: State, config_hash: str, *, leads: bool) -> State:
        """Return the state to decide from: the stored one, unless another configuration left it."""
        if leads or stored.config_hash in ("", config_hash):
            self._kept.pop(name, None)
            return stored
        return self._kept.setdefault(name, stored)

    def has(self, name: str) -> bool:
        """Whether the leader weighs this feature otherwise."""
        return name in self._kept

    def note(self, snapshot: Snapshot, decision: Decision) -> None:
        """Keep what was added up; a step that only a leader may take is as if it was not decided."""
        if self.has(snapshot.feature.name):
            holds = decision.kind is Kind.HOLD
            self._kept[snapshot.feature.name] = decision.state if holds else assess(snapshot).state
