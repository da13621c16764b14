"""Reads evidence from Prometheus: three requests for all features, each bounded in time and size."""

import math
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar, cast

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.exceptions import ReadTimeoutError
from urllib3.util.retry import Retry

from controller.config.settings import shown
from controller.contract import (
    EVIDENCE_ERRORS,
    EVIDENCE_GATE_REVISION,
    EVIDENCE_LATENCY_BUCKET,
    EVIDENCE_SENDS,
    EVIDENCE_SERIES,
    SENDER_JOB,
)
from controller.decision.model import Evidence
from controller.evidence.progress import Lengths, was_set_back
from controller.evidence.session import AnswerError, BoundedSession
from controller.evidence.windows import (
    EvidenceRequest,
    Pair,
    PrometheusReading,
    Series,
    Target,
    evidence_of,
    unreachable,
)

LONGEST_LOOK_BACK_S = 6 * 3600.0
"""Sends that were measured longer ago than this and never judged are left out."""

_NOW = f"""
label_replace(vector(time()), "what", "now", "", "")
or label_replace(up{{job="{SENDER_JOB}"}}, "what", "up", "", "")
or label_replace(timestamp(up{{job="{SENDER_JOB}"}}), "what", "scraped_at", "", "")
or ALERTS{{alertstate=~"pending|firing"}}
""".strip()
"""The source's own clock, the senders, the time of their last scrape, and the alerts, in one answer. An
instant query stamps every value with the evaluation's time, so the time of a scrape has to be asked for."""

_AHEAD = f"count(count_over_time({EVIDENCE_SENDS}[52w] offset -52w))"
"""Whether there are samples from after the source's own time; asked only where its clock was set back."""

_RULES_ASKED = {"type": "record", "rule_name[]": EVIDENCE_SERIES}
"""Prometheus before 2.44 knows no names and gives all: thousands of rules where there are many features."""

MOST_READINGS = 16
"""Further ones are not begun while so many that were given up still wait for their answers."""
_THREAD = "evidence"

_Entry = Mapping[str, Any]
T = TypeVar("T")
_SLACK_S = 0.1
"""So that a request's own time-out, which says more, comes first."""


class _Present(NamedTuple):
    """What the first request tells, as of the source's own time."""

    now: float
    targets: Mapping[str, Target]
    alerts: Mapping[Pair, tuple[str, ...]]


class PrometheusSource:
    """A MetricSource on Prometheus, or on what answers its API."""

    def __init__(
        self,
        url: str,
        lengths: Lengths,
        *,
        rules_url: str = "",
        headers: Mapping[str, str] | None = None,
        request_timeout_s: float = 5.0,
    ) -> None:
        self._headers = dict(headers or {})
        self._request_timeout_s = request_timeout_s
        self._rules_url = f"{rules_url or url}/api/v1/rules"
        self._url = url
        self._shown = shown(url)
        self._connect()
        self._lengths = lengths

    def read(
        self, questions: Sequence[EvidenceRequest], now: float, deadline_s: float
    ) -> dict[str, Evidence]:
        """Return the evidence by feature, read within `deadline_s`; a failure is a problem in it."""
        self._session.deadline = time.monotonic() + deadline_s
        try:
            return _in_time(lambda: self._read(questions, now), deadline_s)
        except TimeoutError:
            self._connect()
            return unreachable(questions, now, f"{self._shown}: no answer in time")

    def _connect(self) -> None:
        """Begin with new connections; a reading that was given up may still hold the old ones."""
        self._session = BoundedSession(self._headers)
        self._session.request_timeout_s = self._request_timeout_s
        self._api = PrometheusConnect(self._url, session=self._session, retry=Retry(total=0))

    def _read(self, questions: Sequence[EvidenceRequest], now: float) -> dict[str, Evidence]:
        try:
            measured = self._measure(questions)
        except (OSError, PrometheusApiClientException, AnswerError) as error:
            return unreachable(questions, now, f"{self._shown}: {_in_words(error)}")
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            return unreachable(
                questions, now, f"{self._shown}: the answer is not Prometheus's ({_in_words(error)})"
            )
        return {q.feature.name: evidence_of(q, measured, self._lengths) for q in questions}

    def close(self) -> None:
        """Close what is open."""
        self._session.close()

    def _measure(self, questions: Sequence[EvidenceRequest]) -> PrometheusReading:
        present = _read_present(self._query(_NOW))
        judged = [q.state.judged_to for q in questions if q.state.judged_to > 0]
        recorded = self._query(self._selector(questions, judged, present.now), at=present.now)
        loaded = _loaded_rules(self._session.request("GET", self._rules_url, params=_RULES_ASKED))
        missing = tuple(name for name in EVIDENCE_SERIES if name not in loaded)
        measured = _measured(present, recorded, missing, min(judged, default=math.inf))
        set_back = any(was_set_back(q.state, measured.now, self._lengths) for q in questions)
        return replace(measured, ahead=bool(self._query(_AHEAD))) if set_back else measured

    def _query(self, query: str, *, at: float | None = None) -> list[_Entry]:
        """Ask as of now, or as of an instant on the source's clock."""
        answer = self._api.custom_query(query, None if at is None else {"time": f"{at:.3f}"})
        if not isinstance(answer, list):
            raise AnswerError("the answer is not a list")
        return cast("list[_Entry]", answer)

    def _selector(self, questions: Sequence[EvidenceRequest], judged: Sequence[float], now: float) -> str:
        """Ask for the recorded samples themselves: only a range selector gives their own timestamps."""
        limits_s = {q.feature.latency_limit_s for q in questions}
        edges = {text for limit_s in limits_s for text in _spellings(limit_s)}
        edge_pattern = "|".join(re.escape(edge) for edge in ("", "+Inf", *sorted(edges))).replace(
            "\\", "\\\\"
        )
        behind_s = [now - instant for instant in judged]
        # A feature that nobody sends any more must not ask for hours of all others at each tick.
        recent_s = [one for one in behind_s if one < LONGEST_LOOK_BACK_S] or behind_s
        # The first window behind the judged instant asks which flags were obeyed when it began; the
        # evaluation that tells it may be missing, and then the one before does.
        before_s = self._lengths.begun_s + self._lengths.window_s
        reach_s = max(max([0.0, *recent_s]) + before_s, self._lengths.oldest_sample_s)
        reach_ms = math.ceil(min(reach_s, LONGEST_LOOK_BACK_S) * 1000)
        names = "|".join(EVIDENCE_SERIES)
        return f'{{__name__=~"{names}",le=~"{edge_pattern}"}}[{reach_ms}ms]'


def _in_time(work: Callable[[], T], within_s: float) -> T:
    """Do some work in a thread and give its result; raises TimeoutError where it takes longer.

    A server that drips its headers byte by byte defeats every time-out that counts from byte to byte. The
    thread of a reading that was given up goes on as long as it drips, so there are never many.
    """
    if sum(thread.name == _THREAD for thread in threading.enumerate()) >= MOST_READINGS:
        raise TimeoutError
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            future.set_exception(error)

    threading.Thread(target=run, name=_THREAD, daemon=True).start()
    return future.result(max(within_s, 0.0) + _SLACK_S)


def _spellings(edge_s: float) -> tuple[str, ...]:
    """Write an edge as the clients do: 1.0 in Python, 1 in Go."""
    return tuple({repr(float(edge_s)), f"{edge_s:g}"})


def _loaded_rules(response: requests.Response) -> set[str]:
    if response.status_code != requests.codes.ok:
        raise AnswerError(f"HTTP {response.status_code} for the rules")
    groups = response.json()["data"]["groups"]
    return {rule["name"] for group in groups for rule in group["rules"] if rule.get("health") != "err"}


def _measured(
    present: _Present, recorded: Iterable[_Entry], rules_missing: tuple[str, ...], judged_to: float
) -> PrometheusReading:
    """Understand an answer; of counts, all that is newer than `judged_to`, and the two newest."""
    counts: dict[str, dict[Pair, Series]] = {EVIDENCE_SENDS: {}, EVIDENCE_ERRORS: {}}
    buckets: dict[Pair, dict[float, Series]] = defaultdict(dict)
    revisions: dict[str, Series] = {}
    doubled: set[Pair] = set()
    for entry in recorded:
        labels = entry["metric"]
        name = labels["__name__"]
        if name == EVIDENCE_GATE_REVISION:
            revisions[labels["feature"]] = _samples(entry["values"])
            continue
        series = _samples(entry["values"], judged_to)
        pair = (labels["provider"], labels["action"])
        in_buckets = name == EVIDENCE_LATENCY_BUCKET
        home: dict[Any, Series] = buckets[pair] if in_buckets else counts[name]
        key = float(labels["le"]) if in_buckets else pair
        if key in home:
            doubled.add(pair)
        home[key] = series
    return PrometheusReading(
        now=present.now,
        sends=counts[EVIDENCE_SENDS],
        errors=counts[EVIDENCE_ERRORS],
        buckets=buckets,
        gate_revisions=revisions,
        targets=present.targets,
        alerts=present.alerts,
        rules_missing=rules_missing,
        doubled=frozenset(doubled),
    )


def _samples(values: Sequence[tuple[Any, Any]], since: float = 0.0) -> Series:
    """Read samples from after an instant, and the two newest: the last may still be lacking elsewhere.

    VictoriaMetrics gives the mark of a gap as NaN; a gap that is over is no sample.
    """
    if not values:
        return {}
    newest = values[-1][0]
    last_two = values[-2:][0][0]
    samples = {}
    for at, value in values:
        if at > since or at >= last_two:
            samples[float(at)] = float(value)
    if not math.isnan(sum(samples.values())):
        return samples
    return {at: value for at, value in samples.items() if at == newest or not math.isnan(value)}


def _read_present(entries: Iterable[_Entry]) -> _Present:
    values: dict[str, dict[str, float]] = defaultdict(dict)
    alerts: dict[Pair, tuple[str, ...]] = {}
    for entry in entries:
        labels, value = entry["metric"], float(entry["value"][1])
        if not math.isfinite(value):
            raise ValueError(f"{value} in place of a number")
        if "what" in labels:
            values[labels["what"]][labels.get("instance", "")] = value
        else:
            pair = (labels.get("provider", ""), labels.get("action", ""))
            alerts[pair] = (*alerts.get(pair, ()), labels["alertname"])
    up, scraped_at = values["up"], values["scraped_at"]
    targets = {name: Target(up[name] == 1, scraped_at.get(name, 0.0)) for name in up}
    return _Present(values["now"][""], targets, alerts)


def _in_words(error: Exception) -> str:
    cause = getattr(error.args[0], "reason", error) if error.args else error  # hidden in a MaxRetryError
    if isinstance(error, requests.Timeout) or isinstance(cause, ReadTimeoutError):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "cannot be reached"
    return " ".join(str(error).split())[:200] or type(error).__name__
