"""Reads evidence from Prometheus: three requests for all features, each bounded in time and size."""

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeVar, cast

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.exceptions import ReadTimeoutError
from urllib3.util.retry import Retry

from controller.config.settings import PrometheusAccess, shown
from controller.contract import EVIDENCE_SERIES, Doubt, evidence_delay_s
from controller.decision.model import Evidence
from controller.evidence.answers import Entry, missing_rules, read_counters, read_measured, read_present
from controller.evidence.doubts import interval_s, target_key
from controller.evidence.progress import Lengths, was_set_back
from controller.evidence.questions import Questions, as_recorded, concerned, joined
from controller.evidence.reading import Pair, PrometheusReading
from controller.evidence.session import AnswerError, BoundedSession
from controller.evidence.twins import are_one, suspects
from controller.evidence.windows import EvidenceRequest, evidence_of, partial, unreachable
from controller.rules.scope import DEFAULT_SCOPE, Scope

_RULES_ASKED = {"type": "record", "rule_name[]": EVIDENCE_SERIES}
"""Prometheus before 2.44 knows no names and gives all: thousands of rules where there are many features."""

MOST_READINGS = 16
"""Further ones are not begun while so many that were given up still wait for their answers."""
_THREAD = "evidence"

T = TypeVar("T")
_SLACK_S = 0.1
"""So that a request's own time-out, which says more, comes first."""


class PrometheusSource:
    """A MetricSource on Prometheus, or on what answers its API."""

    def __init__(
        self,
        url: str,
        lengths: Lengths,
        *,
        rules_url: str = "",
        access: PrometheusAccess | None = None,
        scope: Scope = DEFAULT_SCOPE,
        request_timeout_s: float = 5.0,
    ) -> None:
        self._access = access
        self._asked = Questions(scope, lengths)
        self._told_apart: set[tuple[str, str, float]] = set()
        """Targets whose processes began at once and that are two; with the start."""
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
        self._session = BoundedSession(self._access)
        self._session.request_timeout_s = self._request_timeout_s
        self._api = PrometheusConnect(self._url, session=self._session, retry=Retry(total=0))

    def _read(self, questions: Sequence[EvidenceRequest], now: float) -> dict[str, Evidence]:
        self._session.partial = ""
        try:
            measured = self._measure(questions)
        except (OSError, PrometheusApiClientException, AnswerError) as error:
            return unreachable(questions, now, f"{self._shown}: {_in_words(error)}")
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            return unreachable(
                questions, now, f"{self._shown}: the answer is not Prometheus's ({_in_words(error)})"
            )
        if self._session.partial:
            return partial(questions, measured.now, self._session.partial)
        return {q.feature.name: evidence_of(q, measured, self._lengths) for q in questions}

    def close(self) -> None:
        """Close what is open."""
        self._session.close()

    def _measure(self, questions: Sequence[EvidenceRequest]) -> PrometheusReading:
        asked, scope = self._asked, self._asked.scope
        present = read_present(self._query(asked.present))
        judged = [q.state.judged_to for q in questions if q.state.judged_to > 0]
        recorded = self._query(asked.recorded(questions, judged, present.now), at=present.now)
        missing = missing_rules(self._rules(), scope)
        since = min(judged, default=math.inf)
        lost = asked.lost_windows(recorded, judged)
        if lost:
            recorded = joined([*recorded, *self._counted_again(lost)], scope)
        measured = read_measured(present, recorded, missing, since, scope)
        measured = replace(measured, **self._looked_into(measured, questions))
        set_back = any(was_set_back(q.state, measured.now, self._lengths) for q in questions)
        return replace(measured, ahead=bool(self._query(asked.ahead))) if set_back else measured

    def _looked_into(
        self, measured: PrometheusReading, questions: Sequence[EvidenceRequest]
    ) -> dict[str, Any]:
        """Ask who is concerned where something is doubtful; where all is well, nothing more is asked."""
        kinds = {doubt.why for doubts in measured.doubts.values() for doubt in doubts}
        late = Doubt.LATE in kinds or (measured.input_age_s or 0) > self._lengths.oldest_input_s
        return {
            "twins": self._twins(measured),
            "intervals_s": self._intervals_s(measured) if late else {},
            "lacking": self._lacking(measured, questions) if Doubt.EDGE in kinds else {},
        }

    def _twins(self, measured: PrometheusReading) -> dict[tuple[str, str], bool]:
        starts = {name: one.started for name, one in measured.targets.items() if one.up and one.started}
        pairs = [pair for pair in suspects(starts) if (*pair, starts[pair[0]]) not in self._told_apart]
        if not pairs:
            return {}
        instances = {measured.targets[name].labels.get("instance", "") for pair in pairs for name in pair}
        counters = read_counters(self._query(self._asked.counters(instances)), measured.names)
        slack_s = evidence_delay_s(self._lengths.scrape_s)
        verdicts = {(one, other): are_one(counters[one], counters[other], slack_s) for one, other in pairs}
        self._told_apart |= {(*pair, starts[pair[0]]) for pair, one in verdicts.items() if one is False}
        return {pair: bool(one) for pair, one in verdicts.items() if one is not False}

    def _intervals_s(self, measured: PrometheusReading) -> dict[str, float]:
        seen = {
            measured.names.get(target_key(entry["metric"]), ""): interval_s(
                [float(at) for at, _ in entry["values"]]
            )
            for entry in self._query(self._asked.scrapes)
        }
        return {name: interval for name, interval in seen.items() if name and interval}

    def _lacking(
        self, measured: PrometheusReading, questions: Sequence[EvidenceRequest]
    ) -> dict[Pair, list[str]]:
        found: dict[Pair, list[str]] = {}
        for feature in (q.feature for q in questions if concerned(q.feature, measured)):
            entries = self._query(self._asked.edgeless(feature))
            names = [measured.names.get(target_key(entry["metric"]), "?") for entry in entries]
            found[feature.provider, feature.action] = names
        return found

    def _counted_again(self, lost: tuple[float, float]) -> list[Entry]:
        """Count from the raw counters what an evaluation of the rules would have recorded."""
        first, last = lost
        params = {
            "query": self._asked.counted_again,
            "start": f"{first:.3f}",
            "end": f"{last:.3f}",
            "step": f"{self._lengths.window_s:g}",
            "nocache": "1",
        }
        answer = self._session.request("POST", f"{self._url}/api/v1/query_range", data=params)
        if answer.status_code != requests.codes.ok:
            return []
        return [as_recorded(entry) for entry in answer.json()["data"]["result"]]

    def _rules(self) -> list[Any]:
        response = self._session.request("GET", self._rules_url, params=_RULES_ASKED)
        if response.status_code != requests.codes.ok:
            raise AnswerError(f"HTTP {response.status_code} for the rules")
        return cast("list[Any]", response.json()["data"]["groups"])

    def _query(self, query: str, *, at: float | None = None) -> list[Entry]:
        """Ask as of now, or as of an instant on the source's clock."""
        answer = self._api.custom_query(query, None if at is None else {"time": f"{at:.3f}"})
        if not isinstance(answer, list):
            raise AnswerError("the answer is not a list")
        return cast("list[Entry]", answer)


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


def _in_words(error: Exception) -> str:
    cause = getattr(error.args[0], "reason", error) if error.args else error  # hidden in a MaxRetryError
    if isinstance(error, requests.Timeout) or isinstance(cause, ReadTimeoutError):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "cannot be reached"
    return " ".join(str(error).split())[:200] or type(error).__name__
