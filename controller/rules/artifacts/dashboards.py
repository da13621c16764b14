"""The dashboards as tables of panels: one per feature, and one for the controller."""

from collections.abc import Sequence

from controller.contract import (
    EVIDENCE_DOUBT,
    EVIDENCE_ERRORS,
    EVIDENCE_GATE_REVISION,
    EVIDENCE_LATENCY_BUCKET,
    EVIDENCE_SENDS,
    ROLLOUT_DECISIONS_TOTAL,
    ROLLOUT_FEATURE_ENABLED,
    ROLLOUT_FEATURE_PAUSED,
    ROLLOUT_FEATURE_PERCENT,
    ROLLOUT_HELD_SECONDS,
    ROLLOUT_JOURNAL_DISAGREEMENT,
    ROLLOUT_LAST_TICK_TIMESTAMP_SECONDS,
    ROLLOUT_LEADER,
    ROLLOUT_NEIGHBOUR_UP,
    ROLLOUT_TICK_DURATION_SECONDS,
    ROLLOUT_TICKS_TOTAL,
)
from controller.decision.feature import RolloutFeature
from controller.decision.model import SLOW_SHARE_LIMIT
from controller.rules.artifacts.grafana import NUMBER, STATES, Dashboard, DashboardPanel
from controller.rules.names import Names
from controller.rules.recording import SIGN_IN_METRICS
from controller.rules.scope import DEFAULT_SCOPE, Scope, matcher

_NO_HOLD = 'kind!="hold"'
_STATE_WORDS = (("disabled", "#808080"), ("on", "green"), ("paused", "red"))
_YES_NO = (("no", "red"), ("yes", "green"))


def dashboards(features: Sequence[RolloutFeature], scope: Scope = DEFAULT_SCOPE) -> dict[str, Dashboard]:
    """Return every dashboard by its file's name."""
    own = {f"{feature.name}.json": feature_dashboard(feature, scope) for feature in features}
    return own | {"rollout.json": controller_dashboard(scope)}


def feature_dashboard(feature: RolloutFeature, scope: Scope) -> Dashboard:
    """Return the dashboard of one feature."""
    names = Names.of(feature, scope)
    return Dashboard(
        f"rollout-{feature.name}"[:40],
        f"Rollout of {feature.name}: {names.title}",
        (
            *_now(feature, names),
            *_ramp(feature, names),
            *_slos(feature, names),
            *_evidence(feature, names),
            *_causes(names),
        ),
        _marks(scope, matcher("feature", feature.name)),
    )


def _state(label: str, by: str = "") -> str:
    """Return 0 for disabled, 1 for on and 2 for paused."""
    return f"max{by} ({ROLLOUT_FEATURE_ENABLED}{label}) * (1 + max{by} ({ROLLOUT_FEATURE_PAUSED}{label}))"


def _who_is_in(label: str, by: str = "") -> str:
    """Return the percentage of users who are in: nobody while it is paused or disabled."""
    return f"max{by} ({ROLLOUT_FEATURE_PERCENT}{label}) * ({_state(label, by)} == bool 1)"


def _now(feature: RolloutFeature, names: Names) -> tuple[DashboardPanel, ...]:
    label = names.scope.recorded(matcher("feature", feature.name))
    return (
        DashboardPanel("State", ((_state(label), "state"),), form=NUMBER, states=_STATE_WORDS),
        DashboardPanel("Who is in", ((_who_is_in(label), "in"),), "percent", form=NUMBER, high=100.0),
        DashboardPanel(
            "Failed",
            ((names.recorded("error_ratio"), "share"),),
            "percentunit",
            feature.slo_error_rate_threshold,
            form=NUMBER,
        ),
        DashboardPanel(
            "p95", ((names.recorded("latency_p95"), "p95"),), "s", feature.latency_limit_s, form=NUMBER
        ),
        DashboardPanel(
            "Sends", ((f"sum({names.recorded('exec_rate_by_status')})", "sends"),), "reqps", form=NUMBER
        ),
        DashboardPanel("Held for", ((f"max({ROLLOUT_HELD_SECONDS}{label})", "held"),), "s", form=NUMBER),
    )


def _ramp(feature: RolloutFeature, names: Names) -> tuple[DashboardPanel, ...]:
    label = names.scope.recorded(matcher("feature", feature.name))
    return (
        DashboardPanel(
            "Ramp",
            (
                (_who_is_in(label), "who is in"),
                (f"max({ROLLOUT_FEATURE_PERCENT}{label})", "as set; in once it is on and not paused"),
            ),
            "percent",
            high=100.0,
        ),
        DashboardPanel("State over time", ((_state(label), "state"),), form=STATES, states=_STATE_WORDS),
        DashboardPanel(
            "Gate answers",
            ((names.recorded("gate_outcomes_rate"), "{{outcome}} {{reason}}"),),
            "reqps",
        ),
    )


def _slos(feature: RolloutFeature, names: Names) -> tuple[DashboardPanel, ...]:
    return (
        DashboardPanel("Sends", ((names.recorded("exec_rate_by_status"), "{{status}}"),), "reqps"),
        DashboardPanel(
            "Error ratio",
            (
                (names.recorded("error_ratio"), "exact"),
                (names.recorded("errors_rate"), "the plan's, floored"),
            ),
            "percentunit",
            feature.slo_error_rate_threshold,
        ),
        DashboardPanel(
            "Latency",
            (
                (names.recorded("latency_p50"), "p50"),
                (names.recorded("latency_p95"), "p95"),
                (names.recorded("latency_p99"), "p99"),
            ),
            "s",
            feature.latency_limit_s,
        ),
        DashboardPanel(
            f"Sends slower than {feature.slo_latency_p95_ms:g} ms",
            ((names.recorded("slow_ratio"), "share"),),
            "percentunit",
            SLOW_SHARE_LIMIT,
        ),
        DashboardPanel("p95 by result", ((names.recorded("latency_p95_by_result"), "{{status}}"),), "s"),
        DashboardPanel(
            "Error budget burn",
            tuple(
                (names.recorded("error_budget_burn", window), window) for window in ("5m", "30m", "1h", "6h")
            ),
            "none",
            1.0,
        ),
    )


def _evidence(feature: RolloutFeature, names: Names) -> tuple[DashboardPanel, ...]:
    pair, own = names.scope.recorded(*names.pair), names.scope.recorded(matcher("feature", feature.name))
    return (
        DashboardPanel(
            "Evidence: counts per window",
            ((f"{EVIDENCE_SENDS}{pair}", "sends"), (f"{EVIDENCE_ERRORS}{pair}", "errors")),
            about="What the controller decides by: exact counts of windows that never overlap.",
        ),
        DashboardPanel(
            "Evidence: timed sends per window, cumulative",
            ((f"{EVIDENCE_LATENCY_BUCKET}{pair}", "at most {{le}} s"),),
        ),
        DashboardPanel(
            "Lowest revision that a sender obeys",
            ((f"{EVIDENCE_GATE_REVISION}{own}", "revision"),),
            "none",
        ),
        DashboardPanel(
            "Doubts: why a window proves no health",
            ((f"sum by (why) ({EVIDENCE_DOUBT}{names.scope.recorded()} * 0 + 1)", "{{why}}"),),
            "none",
        ),
    )


def _causes(names: Names) -> tuple[DashboardPanel, ...]:
    refreshes = (
        (
            DashboardPanel(
                "Token refreshes that failed",
                (
                    (names.recorded("token_refresh_error_ratio", "15m"), "share"),
                    (names.recorded("token_refresh_failures", "15m"), "number over 15m"),
                ),
            ),
        )
        if names.provider in SIGN_IN_METRICS
        else ()
    )
    return (
        DashboardPanel(
            "Errors by code", ((f"topk(5, {names.recorded('error_rate_by_code')})", "{{code}}"),), "reqps"
        ),
        DashboardPanel(
            "Errors by source", ((names.recorded("error_rate_by_source"), "{{source}}"),), "reqps"
        ),
        DashboardPanel(
            "Throttled, signed out, unknown",
            (
                (names.recorded("throttled_rate"), "throttled"),
                (names.recorded("auth_error_rate"), "signed out"),
                (names.recorded("unknown_rate"), "nobody knows"),
            ),
            "reqps",
        ),
        *refreshes,
    )


def controller_dashboard(scope: Scope) -> Dashboard:
    own, by = scope.recorded(), " by (feature)"
    chosen = scope.recorded('feature=~"$feature"')
    seconds, ticks = (f"rate({ROLLOUT_TICK_DURATION_SECONDS}_{part}{own}[5m])" for part in ("sum", "count"))
    return Dashboard(
        "rollout-controller",
        "Rollout controller",
        (
            *_all_now(scope),
            DashboardPanel("Who is in", ((_who_is_in(chosen, by), "{{feature}}"),), "percent", high=100.0),
            DashboardPanel("State", ((_state(chosen, by), "{{feature}}"),), form=STATES, states=_STATE_WORDS),
            DashboardPanel(
                "Decisions",
                (
                    (
                        f"sum by (feature, kind, reason) (increase({ROLLOUT_DECISIONS_TOTAL}{chosen}[5m]))",
                        "{{feature}} {{kind}} {{reason}}",
                    ),
                ),
            ),
            DashboardPanel(
                "Held", ((f"max by (feature) ({ROLLOUT_HELD_SECONDS}{chosen})", "{{feature}}"),), "s"
            ),
            DashboardPanel(
                "Ticks", ((f"sum by (outcome) (rate({ROLLOUT_TICKS_TOTAL}{own}[5m]))", "{{outcome}}"),), "ops"
            ),
            DashboardPanel("Length of a tick", ((f"sum({seconds}) / sum({ticks})", "mean"),), "s"),
            DashboardPanel(
                "Since the last good tick",
                ((f"time() - max({ROLLOUT_LAST_TICK_TIMESTAMP_SECONDS}{own})", "seconds"),),
                "s",
            ),
            DashboardPanel(
                "Dependencies that answer",
                ((f"min by (neighbour) ({ROLLOUT_NEIGHBOUR_UP}{own})", "{{neighbour}}"),),
                form=STATES,
                states=_YES_NO,
            ),
            DashboardPanel("Leaders", ((f"sum({ROLLOUT_LEADER}{own})", "leaders"),), "none"),
            DashboardPanel("Senders", ((f"up{scope.senders()}", "{{instance}}"),), "none"),
            DashboardPanel(
                "Flags and journal disagree",
                ((f"max by (feature) ({ROLLOUT_JOURNAL_DISAGREEMENT}{chosen})", "{{feature}}"),),
                form=STATES,
                states=(("agree", "green"), ("disagree", "red")),
            ),
        ),
        _marks(scope, 'feature=~"$feature"'),
        f"label_values({ROLLOUT_FEATURE_PERCENT}{own}, feature)",
    )


def _all_now(scope: Scope) -> tuple[DashboardPanel, ...]:
    own = scope.recorded()
    return (
        DashboardPanel(
            "Features on", ((f"sum(max by (feature) ({ROLLOUT_FEATURE_ENABLED}{own}))", "on"),), form=NUMBER
        ),
        DashboardPanel(
            "Paused",
            ((f"sum(max by (feature) ({ROLLOUT_FEATURE_PAUSED}{own}))", "paused"),),
            limit=1.0,
            form=NUMBER,
        ),
        DashboardPanel("Held longest", ((f"max({ROLLOUT_HELD_SECONDS}{own})", "held"),), "s", form=NUMBER),
        DashboardPanel(
            "A controller leads",
            ((f"clamp_max(sum({ROLLOUT_LEADER}{own}), 1)", "leads"),),
            form=NUMBER,
            states=_YES_NO,
        ),
        DashboardPanel(
            "Since the last good tick",
            ((f"time() - max({ROLLOUT_LAST_TICK_TIMESTAMP_SECONDS}{own})", "seconds"),),
            "s",
            form=NUMBER,
        ),
        DashboardPanel(
            "Everything answers",
            ((f"min({ROLLOUT_NEIGHBOUR_UP}{own})", "answers"),),
            form=NUMBER,
            states=_YES_NO,
        ),
    )


def _marks(scope: Scope, *matchers: str) -> tuple[tuple[str, str, str], ...]:
    changes = f"{ROLLOUT_DECISIONS_TOTAL}{scope.recorded(_NO_HOLD, *matchers)}"
    # increase() does not see the first decision of its kind and reason: that creates the counter.
    made = f"increase({changes}[1m]) > 0 or ({changes} unless {changes} offset 1m)"
    return (
        (
            "Decisions",
            f"sum by (feature, kind, reason) ({made})",
            "{{feature}}: {{kind}}, {{reason}}",
        ),
    )
