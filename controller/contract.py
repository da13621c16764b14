"""The names that the controller, the adapter and the rules agree on; each has its one home here.

Nothing but the standard library is imported, so that any process may read this file cheaply.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

FLAG_NAMES = ("enabled", "internal_only", "rollout_percent", "paused")

LEASE_KEY = "rollout:lease"
EPOCH_KEY = "rollout:epoch"
CONFIG_HASH_KEY = "rollout:config"
"""Names what the leader decides by, so that a controller with another configuration sees it."""
LIVE_SIGHT_KEY = "rollout:live"
"""What the leader reports of the live counts that it looks at; gone LIVE_SIGHT_S after the last look."""
LIVE_SIGHT_S = 10
FLAGS_CHANNEL = "rollout:flags"
"""Pub/sub channel of hints. A message is the name of a feature whose flags changed; it carries no value."""


def flag_key(feature: str, flag: str) -> str:
    """Return the key of one flag."""
    return f"flags:{feature}:{flag}"


_ENABLED_KEY = re.compile(r"flags:(.+):enabled\Z", re.DOTALL)


def enabled_feature(key: str) -> str:
    """Return the feature that a key says is enabled or not; empty for any other key."""
    found = _ENABLED_KEY.match(key)
    return found[1] if found else ""


def flag_keys(feature: str) -> tuple[str, str, str, str]:
    """Return the keys of the four flags in the order of FLAG_NAMES."""
    enabled, internal_only, rollout_percent, paused = (flag_key(feature, flag) for flag in FLAG_NAMES)
    return enabled, internal_only, rollout_percent, paused


def revision_key(feature: str) -> str:
    """Return the key of the flags' revision."""
    return f"flags:{feature}:revision"


def state_key(feature: str) -> str:
    """Return the key of what the next decision needs."""
    return f"rollout:state:{feature}"


def decisions_key(feature: str) -> str:
    """Return the key of the stream of decisions."""
    return f"rollout:decisions:{feature}"


def applied_key(feature: str) -> str:
    """Name the list of decision ids written lately, which makes a write that is sent twice harmless."""
    return f"rollout:applied:{feature}"


def live_key(feature: str) -> str:
    """Name the hash in which each sender process keeps what it has counted, by `HOST:PID:START`."""
    return f"rollout:live:{feature}"


def reply_key(digest: str) -> str:
    """Name what was answered to an API call that carried an Idempotency-Key."""
    return f"rollout:reply:{digest}"


def notice_key(receiver: str, notice: str) -> str:
    """Name which record told a receiver of something that stands in many: a long hold, a new leader."""
    return f"rollout:notice:{receiver}:{notice}"


SENDER_JOB = "rollout-sender"
"""The scrape job of the sender processes."""

ACTION_EXEC_TOTAL = "action_exec_total"
ACTION_ERROR_TOTAL = "action_error_total"
ACTION_LATENCY_SECONDS = "action_latency_seconds"
STRUCTURED_ERROR_TOTAL = "structured_error_total"
ROLLOUT_GATE_TOTAL = "rollout_gate_total"
ROLLOUT_GATE_REVISION = "rollout_gate_revision"
ROLLOUT_GATE_PERCENT = "rollout_gate_percent"
MS_TOKEN_REFRESH_TOTAL = "ms_token_refresh_total"  # noqa: S105 - the name of a metric
"""Refreshes of access tokens at Microsoft; `outcome` is `ok` or the error's code, as `unavailable`."""
MS_TOKEN_LOCK_WAIT_SECONDS = "ms_token_lock_wait_seconds"  # noqa: S105 - the name of a metric
MS_TOKEN_AGE_SECONDS = "ms_token_age_seconds"  # noqa: S105 - the name of a metric
GOOGLE_TOKEN_REFRESH_TOTAL = "google_token_refresh_total"  # noqa: S105 - the name of a metric
"""As above, at Google."""
GOOGLE_TOKEN_LOCK_WAIT_SECONDS = "google_token_lock_wait_seconds"  # noqa: S105 - the name of a metric
GOOGLE_TOKEN_AGE_SECONDS = "google_token_age_seconds"  # noqa: S105 - the name of a metric

ROLLOUT_TICKS_TOTAL = "rollout_ticks_total"
ROLLOUT_TICK_DURATION_SECONDS = "rollout_tick_duration_seconds"
ROLLOUT_LAST_TICK_TIMESTAMP_SECONDS = "rollout_last_tick_timestamp_seconds"
ROLLOUT_DECISIONS_TOTAL = "rollout_decisions_total"
ROLLOUT_FEATURE_PERCENT = "rollout_feature_percent"
ROLLOUT_FEATURE_PAUSED = "rollout_feature_paused"
ROLLOUT_HELD_SECONDS = "rollout_held_seconds"
ROLLOUT_LEADER = "rollout_leader"
ROLLOUT_JOURNAL_DISAGREEMENT = "rollout_journal_disagreement"
"""Records that only the stream or only the file holds and that could not be given back yet."""
ROLLOUT_FEATURE_ENABLED = "rollout_feature_enabled"
ROLLOUT_FEATURE_REVISION = "rollout_feature_revision"
ROLLOUT_EVIDENCE_AGE_SECONDS = "rollout_evidence_age_seconds"
"""Age of the newest recorded sample; NaN while there is none."""
ROLLOUT_NEIGHBOUR_UP = "rollout_neighbour_up"
"""`neighbour` is redis, prometheus or journal (the file)."""
ROLLOUT_NEIGHBOUR_ERRORS_TOTAL = "rollout_neighbour_errors_total"
"""Ticks at which the dependency failed."""
ROLLOUT_RELOADS_TOTAL = "rollout_reloads_total"
"""`outcome` is ok or refused."""
ROLLOUT_CLOCK_STEPS_TOTAL = "rollout_clock_steps_total"
ROLLOUT_UNWATCHED_FEATURES = "rollout_unwatched_features"
"""Features that are enabled in Redis and in no configuration of this controller."""
ROLLOUT_CONFIG_AGREES = "rollout_config_agrees"
"""1 while this controller decides by what the leader decides by."""

ROLLOUT_LIVE_DIFFERENCE = "rollout_live_difference"
"""Share by which live counts are more (negative: less) than the windows of ten minutes; NaN if not known."""

METRIC_LABELS: dict[str, tuple[str, ...]] = {
    ACTION_EXEC_TOTAL: ("provider", "action", "status"),
    ACTION_ERROR_TOTAL: ("provider", "action"),
    ACTION_LATENCY_SECONDS: ("provider", "action", "status"),
    STRUCTURED_ERROR_TOTAL: ("provider", "action", "code", "source"),
    ROLLOUT_GATE_TOTAL: ("feature", "outcome", "reason"),
    ROLLOUT_GATE_REVISION: ("feature",),
    ROLLOUT_GATE_PERCENT: ("feature",),
    MS_TOKEN_REFRESH_TOTAL: ("outcome",),
    MS_TOKEN_LOCK_WAIT_SECONDS: (),
    MS_TOKEN_AGE_SECONDS: ("token",),
    GOOGLE_TOKEN_REFRESH_TOTAL: ("outcome",),
    GOOGLE_TOKEN_LOCK_WAIT_SECONDS: (),
    GOOGLE_TOKEN_AGE_SECONDS: ("token",),
    ROLLOUT_TICKS_TOTAL: ("outcome",),
    ROLLOUT_TICK_DURATION_SECONDS: (),
    ROLLOUT_LAST_TICK_TIMESTAMP_SECONDS: (),
    ROLLOUT_DECISIONS_TOTAL: ("feature", "kind", "reason"),
    ROLLOUT_FEATURE_PERCENT: ("feature",),
    ROLLOUT_FEATURE_PAUSED: ("feature",),
    ROLLOUT_HELD_SECONDS: ("feature",),
    ROLLOUT_LEADER: (),
    ROLLOUT_JOURNAL_DISAGREEMENT: ("feature",),
    ROLLOUT_FEATURE_ENABLED: ("feature",),
    ROLLOUT_FEATURE_REVISION: ("feature",),
    ROLLOUT_EVIDENCE_AGE_SECONDS: ("feature",),
    ROLLOUT_NEIGHBOUR_UP: ("neighbour",),
    ROLLOUT_NEIGHBOUR_ERRORS_TOTAL: ("neighbour",),
    ROLLOUT_RELOADS_TOTAL: ("outcome",),
    ROLLOUT_CLOCK_STEPS_TOTAL: (),
    ROLLOUT_UNWATCHED_FEATURES: (),
    ROLLOUT_CONFIG_AGREES: (),
    ROLLOUT_LIVE_DIFFERENCE: ("feature",),
}
STATUSES = ("ok", "error")

LATENCY_EDGES_S = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""Edges of the latency histogram. 0.5 and 2.0 are the limits of the plan's alerts: without an edge exactly
there a constant 1.2 s reads as 2.4 s."""
CRITICAL_LATENCY_TIMES = 4
"""How many times its limit a p95 must be for the critical alert: 2 s where 500 ms is the limit."""

EVIDENCE_SENDS = "rollout:evidence_sends"
"""Sends by (provider, action) since the last evaluation of the rule; neighbouring windows never overlap."""
EVIDENCE_ERRORS = "rollout:evidence_errors"
EVIDENCE_LATENCY_BUCKET = "rollout:evidence_latency_bucket"
"""Sends by (provider, action, le), cumulative over le as in a histogram; +Inf counts all timed sends."""
EVIDENCE_GATE_REVISION = "rollout:evidence_gate_revision"
"""The lowest revision that any live sender obeys, by feature."""
EVIDENCE_DOUBT = "rollout:evidence_doubt"
"""What keeps the counts of one window from being all that was sent in it: `why`, and which target. Absent
where there is no doubt."""
EVIDENCE_SERIES = (
    EVIDENCE_SENDS,
    EVIDENCE_ERRORS,
    EVIDENCE_LATENCY_BUCKET,
    EVIDENCE_GATE_REVISION,
    EVIDENCE_DOUBT,
)


class Doubt(StrEnum):
    """Why the counts of a window may be less than what was sent: the label `why` of EVIDENCE_DOUBT.

    The most telling first.
    """

    SEVERAL = "several"
    """Several processes answer behind one target."""
    LABELS = "labels"
    """Counters carry labels that their target has not."""
    UNEQUAL = "unequal"
    """Sends, timed sends and failed sends of a target do not fit together."""
    EDGE = "edge"
    """Not every sender has this edge of the latency histogram."""
    LATE = "late"
    """A target is scraped less often than the rules expect."""
    FAILED = "failed"
    """A scrape failed."""
    MET = "met"
    """A target is scraped for the first time, and its process is not new."""
    RESTARTED = "restarted"
    """Another process answers than at the scrape before."""
    GONE = "gone"
    """A target is no longer scraped."""


@lru_cache
def evidence_step_ms(window_s: float, scrape_s: float) -> int:
    """Return the step of the evidence rules: divides the window, and no shorter than a scrape interval.

    Raises ValueError where a window is shorter than a scrape interval.
    """
    window_ms, scrape_ms = round(window_s * 1000), round(scrape_s * 1000)
    if not 0 < scrape_ms <= window_ms:
        raise ValueError(f"a window of {window_s:g} s is shorter than the scrape interval of {scrape_s:g} s")
    steps = next(n for n in range(window_ms // scrape_ms, 0, -1) if window_ms % n == 0)
    return window_ms // steps


def evidence_delay_s(scrape_s: float) -> float:
    """How far the evidence rules stay behind the present, so that each scrape they need has been stored.

    No scrape may take longer: this is the longest `scrape_timeout` with which no send is lost.
    """
    return max(scrape_s / 2, min(scrape_s, 2.0))


def evidence_reach_s(window_s: float, scrape_s: float) -> float:
    """How far behind its timestamp the oldest send in a sample of evidence may lie.

    The window, the delay, up to one step because steps lie on whole multiples, and one more because the
    scrape before the first step may be that old.
    """
    return window_s + evidence_delay_s(scrape_s) + 2 * evidence_step_ms(window_s, scrape_s) / 1000


def latency_edges_s(limits_s: tuple[float, ...] = ()) -> tuple[float, ...]:
    """Return the histogram's edges in seconds: each limit, each critical latency, and one above them all.

    A quantile beyond the last edge reads as that edge: an alert right there would never fire.
    """
    critical_s = {CRITICAL_LATENCY_TIMES * limit_s for limit_s in limits_s}
    edges_s = {*LATENCY_EDGES_S, *limits_s, *critical_s}
    return tuple(sorted(edges_s | {1.5 * top_s for top_s in critical_s if top_s == max(edges_s)}))


_COUNT = re.compile(r"[0-9]{1,15}\Z", re.ASCII)
_PERCENT = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3})?\Z", re.ASCII)
_BOOLEANS = {"true": True, "false": False}


def parse_percent(text: str | None) -> float | None:
    """Read `rollout_percent`: ASCII digits, at most one dot and three decimals, 0 to 100; else None."""
    if text is None or not _PERCENT.match(text):
        return None
    percent = float(text)
    return percent if percent <= 100 else None


def parse_count(text: str | None) -> int:
    """Read a revision or an epoch: up to 15 ASCII digits, which a script of Redis reckons with exactly.

    Anything else (no key, `1e400`, `-1`) is 0, as the scripts read it too.
    """
    return int(text) if text is not None and _COUNT.match(text) else 0


def format_percent(percent: float) -> str:
    """Write a percentage as the flags hold it: at most three decimals, none that say nothing."""
    return f"{percent:.3f}".rstrip("0").rstrip(".")


@dataclass(frozen=True, slots=True)
class Flags:
    """The four flags of one feature as they are obeyed, read together.

    What cannot be understood is closed, each flag in its own way, and named in `unreadable`;
    a key that is not there is closed too, and named in `missing`.
    """

    enabled: bool = False
    internal_only: bool = True
    rollout_percent: float = 0.0
    paused: bool = True
    revision: int = 0
    unreadable: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


CLOSED = Flags(missing=FLAG_NAMES)


@lru_cache(4096)
def parse_flags(texts: tuple[str | None, ...], revision: str | None = None) -> Flags:
    """Read the texts of the four keys, in the order of FLAG_NAMES; None is a missing key.

    Lately read ones are kept: from tick to tick few flags change.
    """
    enabled, internal_only, percent, paused = texts
    values = (
        _BOOLEANS.get(enabled or ""),
        _BOOLEANS.get(internal_only or ""),
        parse_percent(percent),
        _BOOLEANS.get(paused or ""),
    )
    named = tuple(zip(FLAG_NAMES, texts, values, strict=True))
    return Flags(
        enabled=values[0] is True,
        internal_only=values[1] is not False,
        rollout_percent=values[2] or 0.0,
        paused=values[3] is not False,
        revision=parse_count(revision),
        unreadable=tuple(name for name, text, value in named if value is None and text is not None),
        missing=tuple(name for name, text, _ in named if text is None),
    )


def format_flags(flags: Flags) -> tuple[str, str, str, str]:
    """Write flags as the four texts, in the order of FLAG_NAMES."""
    return (
        str(flags.enabled).lower(),
        str(flags.internal_only).lower(),
        format_percent(flags.rollout_percent),
        str(flags.paused).lower(),
    )
