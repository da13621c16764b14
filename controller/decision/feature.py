"""What is rolled out, and how: the configuration of one rollout, frozen."""

from dataclasses import dataclass

from msgspec import UNSET, UnsetType

from controller.contract import CRITICAL_LATENCY_TIMES
from controller.decision.freeze import Freeze


@dataclass(frozen=True, slots=True)
class Links:
    """Where a person on call looks next: URLs, or empty. Nothing is decided by them."""

    runbook: str = ""
    dashboard: str = ""
    release: str = ""


@dataclass(frozen=True, slots=True)
class RolloutFeature:
    """One rollout: what is rolled out, its SLO limits, its step plan and its policy."""

    name: str
    provider: str
    """Whose sends are measured, as in the label `provider`."""
    action: str
    """Which sends are measured, as in the label `action`."""
    initial_percent: float = 0.0
    """`rollout_percent` is created with this."""
    slo_error_rate_threshold: float = 0.01
    """Limit of the share of failed sends."""
    slo_latency_p95_ms: float = 500.0
    """Limit of the 95th percentile of latency."""
    slo_very_slow_threshold: float | UnsetType = UNSET
    """Limit of the share of sends slower than 4 x `slo_latency_p95_ms`, as in 0.01; not judged unless set."""
    steps: tuple[float, ...] = (1.0, 5.0, 10.0, 25.0, 50.0, 100.0)
    """The percentages, rising."""
    bake_s: float | tuple[float, ...] = 600.0
    """A step lasts at least so long; a list has one time for each step."""
    policy: str = "sequential"
    """`sequential`, or `threshold` for comparison."""
    on_breach: str = "pause"
    """`pause`, or `step_back` to the step below."""
    salt: str = ""
    """Salt of the users' buckets; the feature's name when empty."""
    max_failed_sends_per_step: int | None = None
    """Harm budget: more failed sends at one step pause; none unless set."""
    approval_steps: tuple[float, ...] = ()
    """Percentages that are not stepped up to without a person's approval."""
    freezes: tuple[Freeze, ...] = ()
    """Times without a step up."""
    hold_on_alert: bool = True
    """No step up while an alert of the feature is pending or firing."""
    pause_on_alert: bool = False
    """A critical alert that Alertmanager reports here pauses at once."""
    longest_hold_s: float = 86_400.0
    """A hold that lasts longer is worth a notice."""
    alpha: float = 0.05
    """Chance of a false pause over the whole ramp."""
    step_up_error: float = 0.05
    """Share of the users, on average, whom one step exposes although an SLO is violated by the margin."""
    blip_s: float = 3.0
    """What lasts no longer never pauses by itself."""
    margin: float = 2.0
    """A step up is proof that the rate is below margin x limit."""
    longest_ramp_s: float = 86_400.0
    """Length over which the late-change test keeps its share of alpha."""
    reference: str = ""
    """Another feature of this configuration: a breach says whether that one is breached too."""
    delta: float | UnsetType = UNSET
    """No step up while it is proven to fail more than so many times as often as its `reference`, as in 1.5;
    not compared unless set."""
    links: Links = Links()
    """Where a person on call looks next: `runbook`, `dashboard` and `release`, each a URL."""

    def bake_s_at(self, percent: float) -> float:
        """Return the bake time of the step at `percent`; between two steps, that of the one below."""
        if not isinstance(self.bake_s, tuple):
            return self.bake_s
        below = sum(step <= percent for step in self.steps)
        return self.bake_s[max(below, 1) - 1]

    @property
    def latency_limit_s(self) -> float:
        """The limit of 95 % of the sends, seconds."""
        return self.slo_latency_p95_ms / 1000

    @property
    def very_slow_limit_s(self) -> float:
        """The latency above which a send is very slow, seconds."""
        return CRITICAL_LATENCY_TIMES * self.latency_limit_s

    @property
    def latency_edges_s(self) -> tuple[float, ...]:
        """The edges that the histogram of every sender must have, seconds."""
        judged = (self.very_slow_limit_s,) if self.slo_very_slow_threshold else ()
        return (self.latency_limit_s, *judged)

    @property
    def bucket_salt(self) -> str:
        """What is hashed with a user's id."""
        return self.salt or self.name
