"""The leader's guard: looks at the live counts of all features once a second, and pauses on harm they prove.

It decides with the same function as a tick and writes with the same script, without a lease. It steps
nothing up, and what it adds up lives in its memory alone: a later leader bets on no second before its own.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import structlog

from controller.contract import evidence_delay_s
from controller.decision.byhand import external_change
from controller.decision.decide import decide
from controller.decision.feature import RolloutFeature
from controller.decision.judging.live import USUAL_S, is_outage, live_findings, with_seconds
from controller.decision.judging.live_late import LOOK_S, newest, seen_s
from controller.decision.model import LIVE, Evidence, Kind, LiveState, Snapshot, State, Verdict, Window
from controller.decision.ramp import is_open
from controller.evidence.live import LiveCounter
from controller.evidence.live_difference import LiveDifference
from controller.features import config_hash
from controller.journal.sinks import Journal
from controller.loop.writes import FeatureTick, WriteBuilder, refusal
from controller.shared.log_on_change import LogOnChange
from controller.store.flag_store import (
    FlagStore,
    Stored,
    StoreError,
    WriteOutcome,
    read_state,
    write_with_retry,
)
from controller.store.live_sight import LiveSight, sights_text

LATE_S = 5 * LOOK_S
"""What was counted between two looks further apart is no longer live."""
_TRIES = 3
"""A decision is made again where flags or state changed meanwhile, at most so often."""


class LiveStore(FlagStore, Protocol):
    """A flag store that holds live counts, too."""

    def read_live(
        self, features: Sequence[str], outdated: Mapping[str, Sequence[str]], told: str
    ) -> tuple[list[Stored], list[Mapping[str, str]]]:
        """Read flags, state and live counts of each feature in one round trip; raises StoreError."""


@dataclass(slots=True)
class _Watch:
    """What is kept of one feature between two looks."""

    difference: LiveDifference
    counter: LiveCounter = field(default_factory=LiveCounter)
    seconds: deque[Window] = field(default_factory=deque)
    """The newest seconds in which anybody could be in."""
    live: LiveState = field(default_factory=LiveState)
    start: tuple[float, int] | None = None
    """Names the newest start of the tests; None before any was seen."""
    read: tuple[str | None, State] | None = None
    """The state as it was read last, so that it is not parsed at every look."""

    def state(self, stored: Stored) -> State:
        """Return the stored state."""
        if self.read is None or self.read[0] != stored.state:
            self.read = stored.state, read_state(stored)[0]
        return self.read[1]

    def follow(self, state: State, at: float, *, missed: bool) -> None:
        """Begin again where the tests began since the last look; with `missed` nobody knows when."""
        start = (state.ramp_started_at, state.live.starts)
        if start != self.start or missed:
            seen = self.start is not None and not missed
            self.live = LiveState(state.live.starts, begun_at=at if seen else 0.0, judged_to=at)
            self.start = start
            self.seconds.clear()


class LiveGuard:
    """Looks once a second, from one thread."""

    def __init__(
        self,
        features: Mapping[str, RolloutFeature],
        *,
        store: LiveStore,
        journal: Journal,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
        window_s: float,
        scrape_s: float,
        deadline_s: float,
    ) -> None:
        self._store = store
        self._journal = journal
        self._wall = wall
        self._monotonic = monotonic
        self._ahead_s = wall() - monotonic()
        self._window_s, self._scrape_s = window_s, scrape_s
        self._writes = WriteBuilder(dry_run=False, deadline_s=deadline_s)
        self._looked_at = float("-inf")
        self._outdated: dict[str, list[str]] = {}
        self._recorded: deque[Mapping[str, Evidence]] = deque(maxlen=16)
        """What ticks saw since the last look."""
        self._said = LogOnChange()
        self._log = structlog.get_logger("live")
        self.trouble = ""
        """Why the live counts cannot be read now; empty while they can."""
        self._watches: dict[str, _Watch] = {}
        self.use(features)

    def use(self, features: Mapping[str, RolloutFeature]) -> None:
        """Look at these features from the next look on."""
        self._hashes = {name: config_hash(feature) for name, feature in features.items()}
        self._watches = {name: self._watches.get(name) or self._watch() for name in features}
        self._features = dict(features)
        self._writes.use(features)

    def _watch(self) -> _Watch:
        return _Watch(LiveDifference(self._window_s, evidence_delay_s(self._scrape_s)))

    def compare(self, recorded: Mapping[str, Evidence]) -> None:
        """Take what a tick saw of each feature, to be compared at the next look; any thread may call this."""
        self._recorded.append(recorded)

    @property
    def sights(self) -> dict[str, LiveSight]:
        """What there is to see of each feature's live counts."""
        now = self._looked_at
        return {
            name: LiveSight(
                processes=watch.counter.processes,
                age_s=now - watch.counter.changed_at if watch.counter.changed_at else None,
                difference=watch.difference.share,
            )
            for name, watch in self._watches.items()
        }

    def look(self) -> list[dict[str, Any]]:
        """Look at all features once; return the records of what was paused."""
        features, watches = self._features, self._watches
        now = self._monotonic()
        try:
            read = self._store.read_live(list(features), self._outdated, sights_text(self.sights))
        except StoreError as error:
            self._note_trouble(str(error))
            return []
        self._note_trouble("")
        missed, self._looked_at = now - self._looked_at > LATE_S, now
        self._outdated = {}
        records: list[dict[str, Any]] = []
        for stored, fields in zip(*read, strict=True):
            records += self._look_at(
                features[stored.feature], watches[stored.feature], stored, fields, missed
            )
        self._compare()
        return records

    def _compare(self) -> None:
        while self._recorded:
            for name, evidence in self._recorded.popleft().items():
                if name in self._watches and evidence.problem is None:
                    ahead_s = self._looked_at + self._ahead_s - evidence.now
                    self._watches[name].difference.add_windows(evidence.windows, ahead_s)

    def _look_at(
        self,
        feature: RolloutFeature,
        watch: _Watch,
        stored: Stored,
        fields: Mapping[str, str],
        missed: bool,
    ) -> list[dict[str, Any]]:
        """Judge one feature; one that fails in it keeps no other from being looked at."""
        try:
            harmed = self._harmed(feature, watch, stored, fields, missed=missed)
            return self._decide_and_write(stored, watch) if harmed else []
        except Exception as error:  # noqa: BLE001 - a state of another version, a store that went away
            if self._said.is_new(f"look {stored.feature}", repr(error)):
                self._log.error("live_look_failed", feature=stored.feature, error=repr(error))
            return []

    def _harmed(
        self,
        feature: RolloutFeature,
        watch: _Watch,
        stored: Stored,
        fields: Mapping[str, str],
        *,
        missed: bool,
    ) -> bool:
        """Take one feature's newest second, and tell whether it asks for a decision."""
        now, at = self._looked_at, self._looked_at + self._ahead_s
        second = watch.counter.look(fields, now)
        if outdated := watch.counter.outdated(now, self._wall()):
            self._outdated[stored.feature] = outdated
        watch.follow(watch.state(stored), at, missed=missed)
        if missed:
            watch.difference.restart()
        watch.difference.add_second(at, second.sends)
        if missed or not is_open(stored.flags):
            watch.seconds.clear()
            return False
        watch.seconds.append(
            Window(
                at=at,
                sends=second.sends,
                errors=second.errors,
                timed=second.sends,
                slow=second.slow,
                failed_mailboxes=second.failed_mailboxes,
            )
        )
        while watch.seconds[0].at < at - seen_s(feature):
            watch.seconds.popleft()
        added = with_seconds(feature, watch.live, [watch.seconds[-1]])
        bad = second.errors or second.slow
        harmed = bool(bad) and _proves_harm(feature, added, watch.seconds)
        if not harmed:
            watch.live = added
        return harmed

    def _decide_and_write(self, stored: Stored, watch: _Watch) -> list[dict[str, Any]]:
        for _ in range(_TRIES):
            case = self._case(stored, watch)
            if case.decision.kind is not Kind.PAUSE:
                return []
            pending = self._writes.of(case, None)
            (outcome,) = write_with_retry(self._store, [pending.write])
            if outcome is WriteOutcome.APPLIED:
                self._journal.keep(*pending.records)
                return list(pending.records)
            (stored,) = self._store.read([stored.feature])
        refused = refusal(pending, outcome)
        if refused is not None:
            self._journal.keep(refused)
        return []

    def _case(self, stored: Stored, watch: _Watch) -> FeatureTick:
        feature, state = self._features[stored.feature], watch.state(stored)
        snapshot = Snapshot(
            now=self._wall(),
            feature=feature,
            flags=stored.flags,
            evidence=self._evidence(feature, watch),
            state=replace(state, live=watch.live),
            config_hash=self._hashes[stored.feature],
            window_s=self._window_s,
        )
        return FeatureTick(stored, snapshot, decide(snapshot), external_change(state, stored.flags))

    def _evidence(self, feature: RolloutFeature, watch: _Watch) -> Evidence:
        at, seconds = watch.seconds[-1].at, watch.seconds
        windows = newest(seconds, USUAL_S) if is_outage(feature, seconds) else seconds
        return Evidence(
            now=at,
            windows=tuple(windows),
            judged_to=at,
            sample_age_s=self._looked_at - watch.counter.changed_at,
            targets=watch.counter.processes,
            source=LIVE,
        )

    def _note_trouble(self, trouble: str) -> None:
        self.trouble = trouble
        if self._said.is_new("read", trouble) and trouble:
            self._log.warning("live_counts_unread", error=trouble)


def _proves_harm(feature: RolloutFeature, live: LiveState, seconds: Sequence[Window]) -> bool:
    found = live_findings(feature, live, seconds)
    return is_outage(feature, seconds) or any(one.verdict is Verdict.BREACHED for one in found)
