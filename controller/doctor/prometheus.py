"""Looks at Prometheus: reachable, rules loaded, senders scraped, buckets at the limits, its clock."""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import requests

from controller.config.settings import ControllerSettings, shown
from controller.contract import EVIDENCE_LATENCY_BUCKET, SENDER_JOB
from controller.doctor.finding import DoctorFinding, away, bad, note, ok, until_away
from controller.evidence.session import AnswerError, BoundedSession
from controller.rules.rule_files import rule_files
from controller.rules.scale import Scale

_CLOCK_S = 2.0
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


def look_at_prometheus(settings: ControllerSettings) -> Iterator[DoctorFinding]:
    """Yield the findings about Prometheus and what it measures."""
    prometheus = Prometheus(settings)
    looks = [
        partial(_server, prometheus),
        partial(_rules, prometheus, settings),
        partial(_targets, prometheus),
        partial(_buckets, prometheus, settings),
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
        theirs = float(prometheus.get("query", query="time()")["result"][1])
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
    files = rule_files(settings.features.values(), scale)
    wanted = {rule.name for file in files for rule in file.recordings}
    loaded = {
        rule["name"]: rule
        for group in prometheus.get("rules", type="record")["groups"]
        for rule in group["rules"]
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


def _targets(prometheus: Prometheus) -> Iterator[DoctorFinding]:
    up = {
        entry["metric"].get("instance", "?"): entry["value"][1] == "1"
        for entry in prometheus.query(f'up{{job="{SENDER_JOB}"}}')
    }
    down = sorted(name for name, answers in up.items() if not answers)
    if not up:
        yield bad("senders", f"no target of the job {SENDER_JOB}", f"add a scrape job named {SENDER_JOB}")
    elif down:
        yield bad("senders", f"do not answer: {', '.join(down)}", "start them, or remove them from the job")
    else:
        yield ok("senders", f"{len(up)} answer")


def _buckets(prometheus: Prometheus, settings: ControllerSettings) -> Iterator[DoctorFinding]:
    for feature in settings.features.values():
        selector = f'provider="{feature.provider}",action="{feature.action}"'
        edges = {
            float(entry["metric"]["le"])
            for entry in prometheus.query(f"{EVIDENCE_LATENCY_BUCKET}{{{selector}}}")
        }
        subject = f"latency edges of {feature.name}"
        if not edges:
            yield note(subject, "no sender exports any yet")
        elif feature.latency_limit_s in edges:
            yield ok(subject, f"{feature.latency_limit_s:g} s is one of {len(edges)}")
        else:
            yield bad(
                subject, f"none at {feature.latency_limit_s:g} s", "start the senders with this configuration"
            )
