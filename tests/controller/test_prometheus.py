"""Reading Prometheus: each strange answer over a real socket is a named problem, in bounded time."""

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import patch
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from controller.config.settings import ControllerSettings
from controller.contract import EVIDENCE_ERRORS, EVIDENCE_LATENCY_BUCKET, EVIDENCE_SENDS, EVIDENCE_SERIES
from controller.daemon.wiring import open_source
from controller.decision.model import Evidence, Reason, State
from controller.evidence import session
from controller.evidence.answers import read_present, read_samples
from controller.evidence.progress import Lengths
from controller.evidence.prometheus import PrometheusSource
from controller.evidence.windows import EvidenceRequest
from controller.features import ROLLOUT_FEATURES
from controller.whatif.recorded import Recorded, RecordedError

Answer = Callable[[BaseHTTPRequestHandler], None]
QUESTIONS = [EvidenceRequest(feature, 0, State()) for feature in ROLLOUT_FEATURES.values()]


class Server:
    """An HTTP server that answers as a test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Answer = healthy
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked.append(self.path)
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                return None

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server()
    yield served
    served.close()


def read(server: Server, *, deadline_s: float = 2.0) -> Evidence:
    source = PrometheusSource(server.url, Lengths(30, 10), request_timeout_s=0.5)
    evidence = source.read(QUESTIONS, time.time(), deadline_s)
    source.close()
    assert set(evidence) == {"google", "microsoft"}
    return evidence["microsoft"]


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def said(result: object, status: str = "success") -> bytes:
    return json.dumps({"status": status, "data": {"resultType": "vector", "result": result}}).encode()


def healthy(
    handler: BaseHTTPRequestHandler, now: float | None = None, recorded: Sequence[object] = ()
) -> None:
    if "/rules" in handler.path:
        rules = [{"name": name, "health": "ok"} for name in EVIDENCE_SERIES]
        send(handler, json.dumps({"status": "success", "data": {"groups": [{"rules": rules}]}}).encode())
    elif "rollout:evidence" in parse_qs(urlsplit(handler.path).query)["query"][0]:
        send(handler, said(list(recorded)))
    else:
        send(handler, said([{"metric": {"what": "now"}, "value": [0, str(now or time.time())]}]))


def drip(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(100):
        try:
            handler.wfile.write(b" ")
        except OSError:
            return
        time.sleep(0.1)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.close()


def half(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b'{"status": "succ')
    handler.connection.close()


STRANGE: dict[str, Answer] = {
    "nothing before the time-out": lambda _: time.sleep(1),
    "a body that drips": drip,
    "a connection that is cut": hang_up,
    "half a body": half,
    "503 while starting": lambda h: send(h, b"Service Unavailable", 503),
    "503 that asks to wait": lambda h: send(h, b"", 503, Retry_After="30"),
    "400 with an error in JSON": lambda h: send(h, b'{"status":"error","errorType":"bad_data"}', 400),
    "422": lambda h: send(h, b"{}", 422),
    "a login page with 200": lambda h: send(h, b"<html>sign in</html>"),
    "a redirect to itself": lambda h: send(h, b"", 302, Location="/"),
    "200 with status error": lambda h: send(h, b'{"status":"error"}'),
    "a JSON list": lambda h: send(h, b"[]"),
    "null": lambda h: send(h, b"null"),
    "nothing": lambda h: send(h, b""),
    "a scalar": lambda h: send(h, said([0, "1"])),
    "values that are words": lambda h: send(h, said([{"metric": {"what": "now"}, "value": [0, "later"]}])),
    "samples without labels": lambda h: send(h, said([{"value": [0, "1"]}])),
    "deep nesting": lambda h: send(h, b"[" * 100_000),
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_answer_is_unreachable_in_words_and_never_a_crash(server: Server, name: str) -> None:
    server.answer = STRANGE[name]
    evidence = read(server)
    assert evidence.problem is Reason.METRICS_UNREACHABLE
    assert server.url in evidence.detail
    assert evidence.windows == ()


def test_nobody_listening_is_unreachable() -> None:
    gone = Server()
    gone.close()
    assert read(gone).problem is Reason.METRICS_UNREACHABLE


def test_a_failed_request_is_tried_once_more_and_then_ends_the_reading(server: Server) -> None:
    server.answer = STRANGE["503 that asks to wait"]
    read(server)
    assert len(server.asked) == 2


@pytest.mark.parametrize("failure", ["503 while starting", "a connection that is cut", "half a body"])
def test_of_two_replicas_that_a_balancer_alternates_one_may_be_down(server: Server, failure: str) -> None:
    def alternating(handler: BaseHTTPRequestHandler) -> None:
        (STRANGE[failure] if len(server.asked) % 2 else healthy)(handler)

    server.answer = alternating
    assert read(server).problem is Reason.METRICS_INCOMPLETE
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"warnings": ["partial response: store eu-1 is away"]}, "partial response: store eu-1 is away"),
        ({"isPartial": True}, "isPartial"),
    ],
)
@pytest.mark.parametrize("where", ["/rules", "what", "rollout:evidence"])
def test_an_answer_that_is_partial_by_its_own_words_proves_nothing_and_moves_nothing(
    server: Server, where: str, more: dict[str, object], why: str
) -> None:
    def partly(handler: BaseHTTPRequestHandler) -> None:
        if where not in unquote(handler.path):
            healthy(handler, recorded=[])
            return
        answers: list[bytes] = []
        with patch(f"{__name__}.send", lambda _, body: answers.append(body)):
            healthy(handler)
        send(handler, json.dumps(json.loads(answers[0]) | more).encode())

    server.answer = partly
    evidence = read(server)
    assert evidence.problem is Reason.METRICS_INCOMPLETE
    assert f"partial ({why})" in evidence.detail
    assert (evidence.windows, evidence.judged_to, bool(evidence.rules_missing)) == ((), 0.0, True)


def test_what_a_query_could_do_better_is_not_a_partial_answer(server: Server) -> None:
    infos = {"infos": ["PromQL info: might not be a counter"], "warnings": ["PromQL info: the same"]}

    def informing(handler: BaseHTTPRequestHandler) -> None:
        answers: list[bytes] = []
        with patch(f"{__name__}.send", lambda _, body: answers.append(body)):
            healthy(handler)
        send(handler, json.dumps(json.loads(answers[0]) | infos).encode())

    server.answer = informing
    assert "no target" in read(server).detail


def test_a_deadline_that_is_over_asks_nothing(server: Server) -> None:
    assert read(server, deadline_s=0).problem is Reason.METRICS_UNREACHABLE
    assert server.asked == []


@pytest.mark.parametrize("count", [1, 10, 100])
def test_three_requests_serve_any_number_of_features(server: Server, count: int) -> None:
    feature = ROLLOUT_FEATURES["microsoft"]
    questions = [EvidenceRequest(feature, 0, State()) for _ in range(count)]
    source = PrometheusSource(server.url, Lengths(30, 10))
    source.read(questions, time.time(), 5)
    source.close()
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("judged_s_ago", "asked_s"),
    [([], 75), ([0], 75), ([30, 600], 675), ([30, 7 * 3600], 105), ([7 * 3600], 21_600), ([-600], 75)],
)
def test_it_looks_back_to_what_was_judged_last_but_not_for_a_feature_that_was_silent_for_hours(
    server: Server, judged_s_ago: list[float], asked_s: int
) -> None:
    there, feature = 1.8e9, ROLLOUT_FEATURES["microsoft"]
    server.answer = partial(healthy, now=there)
    questions = [EvidenceRequest(feature, 0, State(judged_to=there - ago)) for ago in judged_s_ago]
    source = PrometheusSource(server.url, Lengths(30, 10))
    source.read([EvidenceRequest(feature, 0, State()), *questions], time.time(), 5)
    source.close()
    asked = [parse_qs(urlsplit(path).query).get("query", [""])[0] for path in server.asked]
    assert any(query.endswith(f"[{asked_s}000ms]") for query in asked)


@pytest.mark.parametrize("judged_s_ago", [None, 60, 30, -3600])
def test_an_evaluation_that_is_half_stored_hides_no_moment_that_is_whole(
    server: Server, judged_s_ago: float | None
) -> None:
    there, feature = 1.8e9, ROLLOUT_FEATURES["microsoft"]
    pair = {"provider": feature.provider, "action": feature.action}
    whole = [[there - ago, "100"] for ago in (120, 90, 60, 30)]

    def series(name: str, values: object, **labels: str) -> object:
        return {"metric": {"__name__": name, **pair, **labels}, "values": values}

    recorded = [
        series(EVIDENCE_SENDS, [*whole, [there, "100"]]),
        series(EVIDENCE_ERRORS, whole),
        series(EVIDENCE_LATENCY_BUCKET, whole, le="+Inf"),
        series(EVIDENCE_LATENCY_BUCKET, whole, le="0.5"),
    ]
    server.answer = partial(healthy, now=there, recorded=recorded)
    state = State(judged_to=0.0 if judged_s_ago is None else there - judged_s_ago, counted_from=there - 600)
    source = PrometheusSource(server.url, Lengths(30, 10))
    evidence = source.read([EvidenceRequest(feature, 0, state)], time.time(), 5)["microsoft"]
    source.close()
    assert evidence.sample_age_s == 30
    assert [window.at for window in evidence.windows] == ([there - 30] if judged_s_ago == 60 else [])


def test_an_empty_prometheus_is_incomplete_not_unreachable(server: Server) -> None:
    evidence = read(server)
    assert evidence.problem is Reason.METRICS_INCOMPLETE
    assert "no target" in evidence.detail


def test_a_rule_that_is_missing_or_broken_is_named(server: Server) -> None:
    def without_errors(handler: BaseHTTPRequestHandler) -> None:
        if "/rules" not in handler.path:
            healthy(handler)
            return
        rules = [{"name": name, "health": "err" if "errors" in name else "ok"} for name in EVIDENCE_SERIES]
        send(handler, json.dumps({"status": "success", "data": {"groups": [{"rules": rules}]}}).encode())

    server.answer = without_errors
    evidence = read(server)
    assert evidence.problem is Reason.METRICS_INCOMPLETE
    assert evidence.rules_missing == ("rollout:evidence_errors",)


def test_age_is_measured_on_prometheus_own_clock(server: Server) -> None:
    """A server whose clock is an hour ahead gives no fresh or stale sample by that alone."""

    def ahead(handler: BaseHTTPRequestHandler) -> None:
        query = parse_qs(urlsplit(handler.path).query).get("query", [""])[0]
        if "what" in query:
            now = str(time.time() + 3600)
            send(handler, said([{"metric": {"what": "now"}, "value": [0, now]}]))
        else:
            healthy(handler)

    server.answer = ahead
    assert read(server).now == pytest.approx(time.time() + 3600, abs=60)


def test_an_answer_without_end_is_given_up_at_a_bounded_size(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LARGEST_ANSWER_BYTES", 2**20)
    sent = 0

    def endless(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        for _ in range(2**10):
            try:
                sent += handler.wfile.write(b" " * 2**16)
            except OSError:
                return

    server.answer = endless
    evidence = read(server)
    assert evidence.problem is Reason.METRICS_UNREACHABLE
    assert "larger than 1 MiB" in evidence.detail
    assert sent < 2**26


def test_two_series_where_one_is_expected_are_incomplete_and_not_added_up(server: Server) -> None:
    now = time.time()

    def doubled(handler: BaseHTTPRequestHandler) -> None:
        query = parse_qs(urlsplit(handler.path).query).get("query", [""])[0]
        if "what" in query:
            clock = [
                {"metric": {"what": what, "instance": "a:1"}, "value": [0, str(value)]}
                for what, value in (("up", 1), ("scraped_at", now))
            ]
            send(handler, said([{"metric": {"what": "now"}, "value": [0, str(now)]}, *clock]))
        elif "rollout:evidence" in query:
            labels = {"provider": "microsoft", "action": "outlook.send"}
            values = [[now - 60, "9"], [now - 30, "9"]]
            names = ("sends", "sends", "errors", "latency_bucket", "latency_bucket")
            more = ({"region": "a"}, {"region": "b"}, {"le": "1"}, {"le": "0.5"}, {"le": "+Inf"})
            metrics = [
                {"__name__": f"rollout:evidence_{name}"} | labels | others
                for name, others in zip(names, more, strict=True)
            ]
            send(handler, said([{"metric": metric, "values": values} for metric in metrics]))
        else:
            healthy(handler)

    server.answer = doubled
    evidence = read(server)
    assert evidence.problem is Reason.METRICS_INCOMPLETE
    assert evidence.detail == "several series where one is expected for microsoft outlook.send"


def test_the_mark_of_a_gap_that_is_over_is_no_sample() -> None:
    assert read_samples([(10, "1"), (20, "NaN"), (30, "2")]) == {10.0: 1.0, 30.0: 2.0}
    assert math.isnan(read_samples([(10, "1"), (20, "NaN")])[20.0])


def tenant_only(handler: BaseHTTPRequestHandler) -> None:
    """Answer as Mimir does: nothing without a tenant."""
    if handler.headers["X-Scope-OrgID"] != "mail" or handler.headers["Authorization"] != "Bearer s3cret":
        send(handler, b"no org id", 401)
    else:
        healthy(handler)


def test_every_request_carries_the_headers_of_a_backend_with_tenants(server: Server) -> None:
    server.answer = tenant_only
    told = {}
    for headers in ("X-Scope-OrgID=mail,THANOS-TENANT=mail", ""):
        settings = ControllerSettings(
            prometheus_url=server.url, prometheus_token="s3cret", prometheus_headers=headers, interval_s=4
        )
        source = open_source(settings)
        told[headers] = source.read(QUESTIONS, time.time(), 2.0)["microsoft"].problem
        source.close()
    assert list(told.values()) == [Reason.METRICS_INCOMPLETE, Reason.METRICS_UNREACHABLE]


@pytest.mark.parametrize("result", [[0], [{"value": []}], [{"value": [0, "later"]}], "none", {}, []])
def test_a_past_that_is_strange_is_an_error_in_one_line_too(server: Server, result: object) -> None:
    server.answer = lambda handler: send(handler, said(result))
    with pytest.raises(RecordedError, match="not Prometheus's"):
        Recorded(server.url).ticks(ROLLOUT_FEATURES["microsoft"], 60, 30)


def test_a_past_with_two_series_where_one_is_expected_is_not_replayed(server: Server) -> None:
    def doubled(handler: BaseHTTPRequestHandler) -> None:
        if "vector" in handler.path:
            send(handler, said([{"metric": {}, "value": [0, str(time.time())]}]))
            return
        metrics = [{"__name__": EVIDENCE_SERIES[0], "region": region} for region in "ab"]
        send(handler, said([{"metric": metric, "values": [[0, "1"]]} for metric in metrics]))

    server.answer = doubled
    with pytest.raises(RecordedError, match="several series"):
        Recorded(server.url).ticks(ROLLOUT_FEATURES["microsoft"], 60, 30)


def test_a_prometheus_that_thinks_for_too_long_is_told_from_one_that_is_away(server: Server) -> None:
    server.answer = lambda _: time.sleep(0.8)
    assert read(server).detail.endswith("no answer in time")
    away = PrometheusSource("http://127.0.0.1:1", Lengths(30, 10), request_timeout_s=0.5)
    assert away.read(QUESTIONS, time.time(), 2.0)["microsoft"].detail.endswith("cannot be reached")


@pytest.mark.parametrize("number", ["NaN", "+Inf", "-Inf"])
@pytest.mark.parametrize("what", ["now", "up", "scraped_at"])
def test_what_is_no_number_is_no_answer_of_prometheus(what: str, number: str) -> None:
    with pytest.raises(ValueError, match="in place of a number"):
        read_present([{"metric": {"what": what}, "value": [10, number]}])
