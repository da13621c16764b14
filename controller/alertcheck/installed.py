"""Looks at a running Prometheus, read only: is everything there that the rollout stands on?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from controller.alertcheck.result import Result
from controller.config.settings import PrometheusAccess, shown
from controller.contract import ACTION_LATENCY_SECONDS, CRITICAL_LATENCY_TIMES
from controller.decision.feature import RolloutFeature
from controller.rules.model import Alert, Recording, RuleKey, rule_key
from controller.rules.rule_files import rule_files
from controller.rules.scale import Scale, duration
from controller.rules.scope import DEFAULT_SCOPE, Scope

REQUEST_TIMEOUT_S = 5.0
OLDEST_EVALUATIONS = 3
_PARTS = (("h", 3600.0), ("ms", 0.001), ("m", 60.0), ("s", 1.0))


class NotThereError(Exception):
    """Prometheus cannot be asked; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Installation:
    """What a Prometheus says of itself."""

    now: float
    rules: Mapping[RuleKey, Mapping[str, Any]]
    """Loaded rules of this scope, each with the interval of its group."""
    targets: Sequence[Mapping[str, Any]]
    edges: Mapping[tuple[str, str], frozenset[float]]
    """Edges of the latency histogram by (provider, action)."""


def look_at(
    url: str,
    rules_url: str,
    access: PrometheusAccess,
    features: Sequence[RolloutFeature],
    scale: Scale,
    scope: Scope = DEFAULT_SCOPE,
) -> list[Result]:
    """Ask a Prometheus, and judge what it says; raises NotThereError where it gives no usable answer."""
    try:
        with httpx.Client(
            timeout=REQUEST_TIMEOUT_S, trust_env=False, headers=access.headers, verify=access.trust
        ) as client:
            found = _ask(client, url.rstrip("/"), (rules_url or url).rstrip("/"), scope)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, KeyError, TypeError) as error:
        raise NotThereError(
            f"{shown(url)} gives no answer of a Prometheus ({' '.join(str(error).split())}); check the URL"
        ) from error
    return [*judge(found, features, scale, scope)]


def _ask(client: httpx.Client, url: str, rules_url: str, scope: Scope) -> Installation:
    def get(address: str, **params: str) -> Any:
        response = client.get(address, params=params).raise_for_status().json()
        return response["data"]

    def query(expr: str) -> list[Mapping[str, Any]]:
        return list(get(f"{url}/api/v1/query", query=expr)["result"])

    groups = get(f"{rules_url}/api/v1/rules")["groups"]
    edges: dict[tuple[str, str], set[float]] = {}
    for one in query(f"count by (provider, action, le) ({ACTION_LATENCY_SECONDS}_bucket{scope.senders()})"):
        labels = one["metric"]
        edges.setdefault((labels["provider"], labels["action"]), set()).add(float(labels["le"]))
    return Installation(
        now=float(query("vector(time())")[0]["value"][1]),
        rules={
            rule_key(rule["name"], rule.get("labels")): {
                **rule,
                "interval": float(group["interval"]),
            }
            for group in groups
            for rule in group["rules"]
            if scope.covers(rule.get("labels") or {})
        },
        targets=get(f"{url}/api/v1/targets", state="active")["activeTargets"],
        edges={pair: frozenset(found) for pair, found in edges.items()},
    )


def judge(
    found: Installation, features: Sequence[RolloutFeature], scale: Scale, scope: Scope = DEFAULT_SCOPE
) -> Iterator[Result]:
    """Yield a result for each rule that should be installed: whether it is there, the same, and evaluated."""
    for file in rule_files(features, scale, scope):
        for group in file.groups:
            for rule in group.rules:
                yield _rule(found, rule, group.interval_s)
    yield from _targets(found, scale, scope)
    for feature in features:
        yield _edges(found, feature)


def _rule(found: Installation, rule: Recording | Alert, interval_s: float) -> Result:
    loaded, why = found.rules.get(rule_key(rule.name, rule.labels)), rule.labels.get("why")
    case = f"is loaded and evaluated{f' ({why})' if why else ''}"
    return _verdict(rule.name, case, _fault(loaded, rule, interval_s, found.now))


def _fault(loaded: Mapping[str, Any] | None, rule: Recording | Alert, interval_s: float, now: float) -> str:
    if loaded is None:
        return "is not loaded; add the folder to rule_files and reload Prometheus"
    if loaded.get("health", "ok") not in {"ok", "unknown"}:
        return f"its evaluation fails: {loaded.get('lastError', '')}"
    if loaded["interval"] != interval_s:
        return f"is evaluated every {loaded['interval']:g} s, and must be every {interval_s:g} s"
    if isinstance(rule, Alert) and float(loaded.get("duration", 0)) != rule.for_s:
        return f"fires after {loaded.get('duration')} s, and must after {rule.for_s:g} s"
    age_s = now - _unix(str(loaded.get("lastEvaluation", "")))
    if age_s > OLDEST_EVALUATIONS * interval_s + 1:
        return f"was evaluated {age_s:.0f} s ago, more than {OLDEST_EVALUATIONS} intervals"
    return ""


def _unix(text: str) -> float:
    """Read a time of the API; its nanoseconds are more than Python reads."""
    whole, _, rest = text.partition(".")
    zone = rest.lstrip("0123456789") if rest else ""
    try:
        return datetime.fromisoformat(f"{whole}{zone}").timestamp()
    except ValueError:
        return 0.0


def _targets(found: Installation, scale: Scale, scope: Scope) -> Iterator[Result]:
    senders = [one for one in found.targets if scope.selects(one["labels"])]
    missing = "" if senders else f"no target of {scope} is scraped"
    yield _verdict("senders", "are scraped", missing)
    down = sorted(one["labels"].get("instance", "?") for one in senders if one.get("health") != "up")
    yield _verdict("senders", "answer", f"{', '.join(down)} do not" if down else "")
    slow = sorted({one["scrapeTimeout"] for one in senders if _seconds(one, "scrapeTimeout") > scale.delay_s})
    yield _verdict(
        "senders",
        "answer in time for the evidence",
        f"scrape_timeout is {', '.join(slow)}; set it to {duration(scale.delay_s)}, "
        "or a slow scrape's sends are lost"
        if slow
        else "",
    )
    rare = sorted(
        {one["scrapeInterval"] for one in senders if _seconds(one, "scrapeInterval") > scale.window_s}
    )
    yield _verdict(
        "senders",
        "are scraped in every window",
        f"scrape_interval is {', '.join(rare)}, longer than a window of {scale.window_s:g} s" if rare else "",
    )


def _seconds(target: Mapping[str, Any], key: str) -> float:
    """Read a length as Prometheus writes it; one that is not told counts as nothing."""
    text, total = str(target.get(key, "")), 0.0
    while text:
        digits = len(text) - len(text.lstrip("0123456789"))
        unit, size_s = next(((u, s) for u, s in _PARTS if text[digits:].startswith(u)), ("", 0.0))
        if not unit or not digits:
            return 0.0
        total += int(text[:digits]) * size_s
        text = text[digits + len(unit) :]
    return total


def _edges(found: Installation, feature: RolloutFeature) -> Result:
    edges = found.edges.get((feature.provider, feature.action), frozenset())
    wanted = (feature.latency_limit_s, feature.latency_limit_s * CRITICAL_LATENCY_TIMES)
    case = f"has edges at {wanted[0]:g} s and {wanted[1]:g} s"
    if not edges:
        return _verdict(f"latency of {feature.name}", case, "no sender exports it yet")
    fault = "" if edges.issuperset(wanted) else f"its edges are {sorted(edges)}"
    return _verdict(f"latency of {feature.name}", case, fault)


def _verdict(rule: str, case: str, fault: str) -> Result:
    return Result(rule, case, not fault, fault)
