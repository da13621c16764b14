"""Looks at Prometheus: reachable, rules loaded, senders scraped, buckets at the limits, its clock."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import requests

from controller.config.settings import ControllerSettings, shown
from controller.contract import EVIDENCE_LATENCY_BUCKET, ROLLOUT_GATE_REVISION
from controller.doctor.finding import DoctorFinding, away, bad, note, ok, until_away
from controller.evidence.doubts import interval_s, late_in_words, listed, target_key, target_names
from controller.evidence.session import AnswerError, BoundedSession
from controller.rules.names import Names
from controller.rules.rule_files import rule_files
from controller.rules.scale import Scale

_CLOCK_S = 2.0
_SPAN_S = 300
_LATE = 1.5
"""Scrapes so many times farther apart than scrape_s are too rare."""
_NOT_PROMETHEUS = (AttributeError, LookupError, RecursionError, TypeError)
"""What comes of reading an answer of another shape."""


class Prometheus:
    """Asks Prometheus's API; raises OSError or ValueError for an answer that cannot be used."""

    def __init__(self, settings: ControllerSettings) -> None:
        self._settings = settings
        self._session = BoundedSession(settings.access_to_prometheus)

    @property
    def url(self) -> str:
        """Where Prometheus is asked."""
        return self._settings.prometheus_url

    def get(self, path: str, **params: str) -> Any:
        """Return the data of one answer of Prometheus's API; raises what the client raises."""
        base = self.url
        if path == "rules" and self._settings.rules_url:
            base = self._settings.rules_url
        try:
            answer = self._session.get(f"{base}/api/v1/{path}", params=params)
            if answer.status_code != requests.codes.ok:
                raise ValueError(f"HTTP {answer.status_code} for {path}")
            return answer.json()["data"]
        except (AnswerError, KeyError, TypeError) as error:
            raise ValueError(f"{shown(base)} does not answer as Prometheus does") from error

    def query(self, query: str) -> list[dict[str, Any]]:
        """Return the samples of an instant query."""
        found: list[dict[str, Any]] = self.get("query", query=query)["result"]
        return found

    def whole(self) -> Iterator[DoctorFinding]:
        """Yield a finding where some answer was partial by its own words."""
        if self._session.partial:
            yield bad(
                "prometheus answers", f"partial: {self._session.partial}", "see that each store answers"
            )


def look_at_prometheus(settings: ControllerSettings) -> Iterator[DoctorFinding]:
    """Yield the findings about Prometheus and what it measures."""
    prometheus = Prometheus(settings)
    looks: list[Callable[[], Iterator[DoctorFinding]]] = [
        partial(_server, prometheus),
        partial(_rules, prometheus, settings),
        partial(_targets, prometheus, settings),
        partial(_obeying, prometheus, settings),
        partial(_buckets, prometheus, settings),
        prometheus.whole,
    ]
    try:
        yield from until_away(looks)
    except (OSError, ValueError) as error:
        yield away("prometheus", f"{error}", "check prometheus_url")
    except _NOT_PROMETHEUS as error:
        seen = f"an answer that is not Prometheus's ({type(error).__name__})"
        yield away("prometheus", seen, "check prometheus_url")


def _server(prometheus: Prometheus) -> Iterator[DoctorFinding]:
    try:
        before = time.time()
        theirs = float(prometheus.query("vector(time())")[0]["value"][1])
    except requests.ConnectionError:
        yield away(
            "prometheus", f"{shown(prometheus.url)} does not answer", "start it, or check prometheus_url"
        )
        return
    except (OSError, ValueError, *_NOT_PROMETHEUS) as error:
        words = " ".join(str(error).split())[:160]
        yield away("prometheus", words, "start it, or check prometheus_url")
        return
    ahead_s = theirs - (before + time.time()) / 2
    seen = f"{ahead_s:+.1f} s from this machine's"
    if abs(ahead_s) <= _CLOCK_S:
        yield ok("prometheus clock", seen)
    else:
        yield bad("prometheus clock", seen, "synchronise both machines' clocks (chrony)")


def _rules(prometheus: Prometheus, settings: ControllerSettings) -> Iterator[DoctorFinding]:
    scale = Scale.of(settings.window_s, settings.window_s, settings.scrape_s)
    files = rule_files(settings.features.values(), scale, settings.scope)
    wanted = {rule.name for file in files for rule in file.recordings}
    loaded = {
        rule["name"]: rule
        for group in prometheus.get("rules", type="record")["groups"]
        for rule in group["rules"]
        if settings.scope.covers(rule.get("labels") or {})
    }
    missing = sorted(wanted - set(loaded))
    failing = sorted(name for name in wanted & set(loaded) if loaded[name].get("health") == "err")
    if missing:
        yield bad(
            "rules",
            f"{len(missing)} of {len(wanted)} are not loaded: {', '.join(missing[:3])} ...",
            "rollout rules render, add rules/*.yml to rule_files, reload Prometheus",
        )
    if failing:
        yield bad("rules", f"fail: {', '.join(failing[:3])}", f"see {shown(settings.prometheus_url)}/rules")
    if not missing and not failing:
        yield ok("rules", f"{len(wanted)} recorded series are loaded")


def _targets(prometheus: Prometheus, settings: ControllerSettings) -> Iterator[DoctorFinding]:
    """Look at the senders: whether they answer, and how often they are asked."""
    entries = prometheus.query(f"up{settings.scope.senders()}")
    names = target_names([entry["metric"] for entry in entries])
    down = sorted(names[target_key(one["metric"])] for one in entries if one["value"][1] != "1")
    if not entries:
        yield bad(
            "senders", f"no target of {settings.scope}", "scrape them under it, or set job and selector"
        )
    elif down:
        yield bad("senders", f"do not answer: {listed(down)}", "start them, or remove them from the job")
    else:
        yield ok("senders", f"{len(entries)} answer")
    yield from _intervals(prometheus, settings, names)


def _intervals(
    prometheus: Prometheus, settings: ControllerSettings, names: Mapping[frozenset[tuple[str, str]], str]
) -> Iterator[DoctorFinding]:
    span_s = max(_SPAN_S, round(6 * settings.scrape_s))
    seen = {
        names.get(target_key(entry["metric"]), "?"): interval_s([float(at) for at, _ in entry["values"]])
        for entry in prometheus.query(f"up{settings.scope.senders()}[{span_s}s]")
    }
    intervals_s = {name: interval for name, interval in seen.items() if interval}
    late = {name: one for name, one in intervals_s.items() if one > _LATE * settings.scrape_s}
    if late:
        words = late_in_words(late, late, settings.scrape_s)
        yield bad("scrape interval", words, "make scrape_interval and scrape_s the same")
    elif intervals_s:
        yield ok("scrape interval", f"{max(intervals_s.values()):.3g} s, scrape_s is {settings.scrape_s:g}")


def _obeying(prometheus: Prometheus, settings: ControllerSettings) -> Iterator[DoctorFinding]:
    """Name the senders that do not yet obey the flags that others obey."""
    obeyed = f"{ROLLOUT_GATE_REVISION}{settings.scope.senders()}"
    behind = prometheus.query(f"{obeyed} < on (feature) group_left () max by (feature) ({obeyed})")
    names = target_names([entry["metric"] for entry in behind])
    for feature in settings.features:
        lag = sorted(
            names[target_key(one["metric"])] for one in behind if one["metric"]["feature"] == feature
        )
        if lag:
            seen = f"{listed(lag)} obeys older flags than others"
            yield bad(f"senders of {feature}", seen, "see whether it reaches Redis, or restart it")


def _buckets(prometheus: Prometheus, settings: ControllerSettings) -> Iterator[DoctorFinding]:
    for feature in settings.features.values():
        selector = settings.scope.recorded(*Names.of(feature).pair)
        edges = {
            float(entry["metric"]["le"]) for entry in prometheus.query(f"{EVIDENCE_LATENCY_BUCKET}{selector}")
        }
        subject = f"latency edges of {feature.name}"
        if not edges:
            yield note(subject, "no sender exports any yet")
            continue
        wanted = [f"{edge_s:g} s" for edge_s in feature.latency_edges_s if edge_s in edges]
        missing = [f"{edge_s:g} s" for edge_s in feature.latency_edges_s if edge_s not in edges]
        if missing:
            yield bad(
                subject, f"none at {' and '.join(missing)}", "start the senders with this configuration"
            )
        else:
            yield ok(subject, f"{' and '.join(wanted)} among {len(edges)}")
