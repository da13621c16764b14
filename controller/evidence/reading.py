"""One reading of a source of metrics: everything that it told, for all features. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from controller.evidence.doubts import DoubtSeen, Labels, target_names
from controller.evidence.twins import copies
from controller.rules.scope import DEFAULT_SCOPE, Scope

Series = Mapping[float, float]
"""Values by their own timestamp, unix seconds of the source's clock, in rising order."""
Pair = tuple[str, str]
"""(provider, action)."""


@dataclass(frozen=True, slots=True)
class Target:
    """One sender as the source sees it."""

    up: bool
    scraped_at: float
    started: float = 0.0
    """When its process began; 0 where it does not tell."""
    labels: Labels = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PrometheusReading:
    """Everything that one reading gave, for all features."""

    now: float
    sends: Mapping[Pair, Series] = field(default_factory=dict)
    errors: Mapping[Pair, Series] = field(default_factory=dict)
    buckets: Mapping[Pair, Mapping[float, Series]] = field(default_factory=dict)
    gate_revisions: Mapping[str, Series] = field(default_factory=dict)
    targets: Mapping[str, Target] = field(default_factory=dict)
    """By their names for people."""
    doubts: Mapping[float, Sequence[DoubtSeen]] = field(default_factory=dict)
    """By the end of the window."""
    twins: Mapping[tuple[str, str], bool] = field(default_factory=dict)
    """Targets that are one process; false where their counters have not shown it yet."""
    intervals_s: Mapping[str, float] = field(default_factory=dict)
    """Scrape intervals as seen, of targets that are scraped too seldom."""
    lacking: Mapping[Pair, Sequence[str]] = field(default_factory=dict)
    """Senders without the edge at a feature's limit, where others have it."""
    scope: Scope = DEFAULT_SCOPE
    alerts: Mapping[Pair, tuple[str, ...]] = field(default_factory=dict)
    rules_missing: tuple[str, ...] = ()
    doubled: frozenset[Pair] = frozenset()
    """Pairs for which several series came where one is expected."""
    ahead: bool = False
    """The source holds samples from after its own time: its clock was set back, so it records nothing, and
    what seems new was measured before."""
    down: tuple[str, ...] = field(init=False)
    """The targets that do not answer."""
    input_age_s: float | None = field(init=False)
    """Age of the oldest last scrape of those that do; None where none does."""
    trouble: str = field(init=False)
    """What is missing for every feature, in words."""
    names: Mapping[frozenset[tuple[str, str]], str] = field(init=False)
    copies: int = field(init=False)
    """How many times one send may be counted."""

    def __post_init__(self) -> None:
        """Look at the targets once for all features: there may be a thousand of each."""
        down = tuple(sorted(name for name, target in self.targets.items() if not target.up))
        ages = [self.now - target.scraped_at for target in self.targets.values() if target.up]
        object.__setattr__(self, "down", down)
        object.__setattr__(self, "input_age_s", max(ages, default=None))
        object.__setattr__(self, "trouble", self._trouble())
        object.__setattr__(self, "copies", copies(self.twins))
        object.__setattr__(self, "names", target_names([one.labels for one in self.targets.values()]))

    def _trouble(self) -> str:
        if self.rules_missing:
            return f"rules are not loaded: {', '.join(self.rules_missing)}"
        if not self.targets:
            return f"no target of {self.scope} is scraped"
        if self.down:
            return f"senders do not answer: {', '.join(self.down)}"
        if self.twins:
            (one, other), proven = max(self.twins.items(), key=itemgetter(1))
            verb = "are" if proven else "may be"
            return f"{one} and {other} {verb} one process, so its sends count twice: scrape it once"
        return ""
