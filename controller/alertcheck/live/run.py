"""The live validation: real servers, each fault in turn, each alert seen to come, to be told and to go."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import redis

from controller.alertcheck.cases.synthetic_series import Phase
from controller.alertcheck.live.exporter import Exporter, serving
from controller.alertcheck.live.pictures import pictures
from controller.alertcheck.result import Result
from controller.contract import flag_key
from controller.decision.feature import RolloutFeature
from controller.rules.model import Alert
from controller.rules.names import Names
from controller.rules.rule_files import rule_files
from controller.rules.scale import Scale
from controller.sandbox.alerting import (
    BACKENDS,
    Backend,
    start_alertmanager,
    start_daemon,
)
from controller.sandbox.processes import Processes
from controller.sandbox.servers import Ports, start_redis
from controller.sandbox.webhook import AlertKey, ReceivedNotices, receiving
from controller.shared.redis_pool import open_redis

SCALE = Scale.of(window_s=0.5, interval_s=0.5, scrape_s=0.5)
"""`5m` lasts 5 s here, `for: 10m` 10 s: all of it takes about two minutes."""
POLL_S = 0.1
FIRE_WITHIN_S, RESOLVE_WITHIN_S = 45.0, 60.0
QUIET_S = SCALE.stretched_s(600)
HEALTHY = Phase(0, sends_per_s=50, refreshes_per_s={"ok": 5.0})
FAILING = Phase(0, sends_per_s=50, error_share=1, refreshes_per_s={"ok": 5.0})
SLOW = Phase(0, sends_per_s=50, very_slow_share=0.9, refreshes_per_s={"ok": 5.0})
SIGNED_OUT = Phase(0, sends_per_s=50, refreshes_per_s={"ok": 1.0, "expired": 4.0})


@dataclass(frozen=True, slots=True)
class LiveFault:
    """One thing that goes wrong, how it is brought about, and the alerts that must come of it."""

    name: str
    change: Mapping[str, Any]
    alerts: tuple[str, ...]


def faults(features: Sequence[RolloutFeature]) -> tuple[LiveFault, ...]:
    """Return the faults that are made one after the other, each with the alerts it has to raise."""

    def of(*whats: str) -> tuple[str, ...]:
        return tuple(Names.of(feature).alert(what) for feature in features for what in whats)

    burning = ("NothingSucceeds", "FastErrorBudgetBurn", "SlowErrorBudgetBurn")
    sign_ins = [Names.of(one).alert("TokenRefreshFailing") for one in features if one.provider == "microsoft"]
    return (
        LiveFault(
            "every send fails",
            {"traffic": FAILING},
            of("HighErrorRateWarning", "HighErrorRateCritical", *burning),
        ),
        LiveFault(
            "sends are slow, sign-ins cannot be renewed",
            {"traffic": Phase(0, 50, very_slow_share=0.9, refreshes_per_s=SIGNED_OUT.refreshes_per_s)},
            (*of("HighLatencyWarning", "HighLatencyCritical"), *sign_ins),
        ),
        LiveFault(
            "features are paused and held, ticks fail, a sender is gone, an evaluation is missed",
            {
                "failing_ticks": True,
                "leaders": 0,
                "paused": True,
                "disagrees": True,
                "held": True,
                "unwatched": 1,
                "missed": True,
                "second_sender": False,
            },
            (
                "RolloutTicksFail",
                "RolloutNotOneLeader",
                "RolloutPaused",
                "RolloutJournalDisagrees",
                "RolloutHeldLong",
                "RolloutUnwatched",
                "RolloutEvidenceMissed",
                "RolloutSenderDown",
            ),
        ),
        LiveFault("the controller stands still", {"still": True}, ("RolloutNoTick",)),
        LiveFault(
            "the controller and every sender are gone",
            {"controller": False, "first_sender": False, "second_sender": False},
            ("RolloutControllerDown", "RolloutNoSenders"),
        ),
    )


@dataclass(slots=True)
class Watch:
    """The states in which each alert was seen, by /api/v1/rules."""

    client: httpx.Client
    url: str
    seen: dict[AlertKey, set[str]] = field(default_factory=dict)
    now: dict[AlertKey, str] = field(default_factory=dict)
    health: dict[AlertKey, str] = field(default_factory=dict)

    def look(self) -> None:
        """Ask Prometheus once how each alert is."""
        answer = self.client.get(f"{self.url}/api/v1/rules", params={"type": "alert"}).raise_for_status()
        for group in answer.json()["data"]["groups"]:
            # vmalert answers with recording rules too, and leaves out labels where there are none.
            for rule in (one for one in group["rules"] if one["type"] == "alerting"):
                key = (rule["name"], (rule.get("labels") or {}).get("feature", ""))
                self.now[key] = rule["state"]
                self.health[key] = rule["health"]
                self.seen.setdefault(key, set()).add(rule["state"])

    def until(self, done: Callable[[], bool], within_s: float) -> bool:
        """Look until it is so; says whether it came to be in time."""
        deadline = time.monotonic() + within_s
        while not done():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
            self.look()
        return True

    def all_are(self, state: str, names: Sequence[str]) -> Callable[[], bool]:
        """Return a check whether all alerts of these names are in a state."""
        return lambda: all(now == state for key, now in self.now.items() if key[0] in names)


def run_live(
    features: Sequence[RolloutFeature],
    progress: Callable[[str], None],
    backend: str = "prometheus",
    drawn: RolloutFeature | None = None,
) -> tuple[list[Result], dict[str, str]]:
    """Start everything, walk through the faults, stop everything; raises MissingServerError.

    Gives the results, and pictures of one feature where they are wanted.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rollout-alerts-")))
        processes = stack.enter_context(Processes(folder))
        exporter, notices = Exporter(features, HEALTHY), ReceivedNotices()
        first, second, controller = stack.enter_context(serving(exporter))
        alertmanager = start_alertmanager(processes, stack.enter_context(receiving(notices)))
        files = rule_files(features, SCALE)
        ports = Ports((first, second), controller, alertmanager)
        running = BACKENDS[backend](processes, files, SCALE, ports)
        flags = _start_controller(stack, processes, running, features)
        client = stack.enter_context(httpx.Client(trust_env=False, timeout=5))
        watch, started = Watch(client, running.rules_url), time.time()
        progress(f"{backend} and Alertmanager run; at first all is well")
        results = [_all_well(watch, exporter)]
        for fault in faults(features):
            results += _walk_through(fault, exporter, notices, watch, progress, flags, features)
        rules = [rule for file in files for rule in file.alerts]
        watch.until(lambda: all(_is_over(rule, watch, notices) for rule in rules), RESOLVE_WITHIN_S)
        results += [_result(rule, watch, notices) for rule in rules]
        drawings = pictures(client, running.query_url, drawn, started, time.time()) if drawn else {}
        return results, drawings


def _start_controller(
    stack: ExitStack, processes: Processes, backend: Backend, features: Sequence[RolloutFeature]
) -> "redis.Redis":
    """Start the daemon with every feature enabled at its first step; gives a client of its Redis."""
    redis_url = start_redis(processes)
    flags = open_redis(redis_url, 5.0)
    stack.callback(flags.close)
    for feature in features:
        values = {"enabled": "true", "internal_only": "false", "rollout_percent": "1", "paused": "false"}
        for flag, text in values.items():
            flags.set(flag_key(feature.name, flag), text)
    tables = "".join(
        f'[features.{one.name}]\nprovider = "{one.provider}"\naction = "{one.action}"\n' for one in features
    )
    start_daemon(processes, backend, redis_url, SCALE, tables)
    return flags


def _all_well(watch: Watch, exporter: Exporter) -> Result:
    """See that nothing is even pending for twice the window of the alerts' series, through a restart."""

    def quiet() -> bool:
        return bool(watch.now) and {*watch.health.values(), *watch.now.values()} == {"ok", "inactive"}

    watch.look()
    stayed = watch.until(quiet, 30) and not watch.until(lambda: not quiet(), QUIET_S / 2)
    exporter.restart()
    stayed = stayed and not watch.until(lambda: not quiet(), QUIET_S / 2)
    loud = sorted(key[0] for key, state in watch.now.items() if state != "inactive")
    case = "are inactive while all is well, and when senders restart"
    return Result("all alerts", case, stayed, "" if stayed else f"active: {loud}")


def _walk_through(
    fault: LiveFault,
    exporter: Exporter,
    notices: ReceivedNotices,
    watch: Watch,
    progress: Callable[[str], None],
    flags: "redis.Redis",
    features: Sequence[RolloutFeature],
) -> list[Result]:
    progress(f"fault: {fault.name}; waiting for {len(set(fault.alerts))} alerts to fire")
    exporter.change(**fault.change)
    started = time.monotonic()
    firing = watch.all_are("firing", fault.alerts)
    # An alert that is over before its notice left would never be told at all.
    watch.until(
        lambda: firing() and all("firing" in notices.of(name, "") for name in fault.alerts), FIRE_WITHIN_S
    )
    results = [] if "traffic" not in fault.change else _paused(fault, watch, flags, features)
    progress(f"firing after {time.monotonic() - started:.0f} s; the fault ends")
    exporter.change()
    watch.until(watch.all_are("inactive", fault.alerts), RESOLVE_WITHIN_S)
    return results


def _paused(
    fault: LiveFault, watch: Watch, flags: "redis.Redis", features: Sequence[RolloutFeature]
) -> list[Result]:
    """See whether the controller pauses what the alerts are about, and let it go on."""
    keys = {feature.name: flag_key(feature.name, "paused") for feature in features}
    watch.until(lambda: flags.mget(keys.values()) == ["true"] * len(keys), FIRE_WITHIN_S)
    results = []
    for feature in features:
        key = keys[feature.name]
        paused = flags.get(key) == "true"
        detail = "" if paused else f"flags:{feature.name}:paused is not true"
        results.append(Result("the controller", f"pauses {feature.name}: {fault.name}", paused, detail))
        flags.set(key, "false")
    return results


def _told(notices: ReceivedNotices, rule: Alert) -> bool:
    return notices.of(rule.name, rule.labels.get("feature", "")) >= {"firing", "resolved"}


def _is_over(rule: Alert, watch: Watch, notices: ReceivedNotices) -> bool:
    """Whether an alert is notified as resolved and inactive; a later fault may have raised it again."""
    key = (rule.name, rule.labels.get("feature", ""))
    return _told(notices, rule) and watch.now.get(key) == "inactive"


def _result(rule: Alert, watch: Watch, notices: ReceivedNotices) -> Result:
    """Say whether an alert went through all its states, and whether both notices arrived."""
    key = (rule.name, rule.labels.get("feature", ""))
    seen = watch.seen.get(key, set())
    wanted = {"inactive", "firing"} | ({"pending"} if rule.for_s else set())
    missing = [f"was never {state}" for state in sorted(wanted - seen)]
    if watch.now.get(key) != "inactive":
        missing.append("did not resolve")
    if not _told(notices, rule):
        told = sorted(notices.of(*key))
        missing.append(f"was told only {', '.join(told) or 'nothing'}")
    feature = f" ({key[1]})" if key[1] else ""
    return Result(rule.name, f"fires, is notified and resolves{feature}", not missing, "; ".join(missing))
