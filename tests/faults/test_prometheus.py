"""A Prometheus that drips, cuts, lies or is frozen costs a tick no more than its deadline."""

import threading
import time
from typing import Any

import pytest
from kit.bad_server import (
    Bad,
    body_for_ever,
    cut_body,
    cut_chunk,
    deep_json,
    headers_for_ever,
    no_gzip,
    no_http,
    nothing,
)
from kit.waiting import patience, wait_until

from controller.decision.model import Reason, State
from controller.evidence.progress import Lengths
from controller.evidence.prometheus import MOST_READINGS, PrometheusSource
from controller.evidence.windows import EvidenceRequest
from controller.features import ROLLOUT_FEATURES
from controller.whatif.recorded import Recorded, RecordedError

QUESTIONS = [EvidenceRequest(feature, 0, State()) for feature in ROLLOUT_FEATURES.values()]
ENDING = [body_for_ever, cut_body, cut_chunk, no_gzip, no_http, nothing, deep_json]


@pytest.mark.parametrize("pieces", [headers_for_ever, *ENDING], ids=lambda pieces: pieces.__name__)
def test_it_is_metrics_unreachable_for_every_feature_within_the_deadline(pieces: Any) -> None:
    server = Bad(pieces, 0.05)
    source = PrometheusSource(server.url, Lengths(30, 10), request_timeout_s=0.5)
    for _ in range(2):
        started = time.monotonic()
        evidence = source.read(QUESTIONS, time.time(), 1.0)
        assert time.monotonic() - started < 2 * patience()
        assert {one.problem for one in evidence.values()} == {Reason.METRICS_UNREACHABLE}
        assert all(one.detail.startswith(server.url) for one in evidence.values())
    source.close()
    server.close()


def test_readings_that_were_given_up_do_not_add_up_and_it_recovers_when_they_end() -> None:
    def readings() -> int:
        return sum(thread.name == "evidence" for thread in threading.enumerate())

    server = Bad(headers_for_ever, 0.01)
    source = PrometheusSource(server.url, Lengths(30, 10), request_timeout_s=0.5)
    for _ in range(MOST_READINGS + 3):
        source.read(QUESTIONS, time.time(), 0.1)
    assert readings() <= MOST_READINGS
    server.close()
    wait_until(lambda: readings() == 0, 5)
    assert source.read(QUESTIONS, time.time(), 1.0)["microsoft"].detail.endswith("cannot be reached")
    source.close()


@pytest.mark.parametrize("pieces", ENDING, ids=lambda pieces: pieces.__name__)
def test_a_replay_of_it_is_one_named_error(pieces: Any) -> None:
    server = Bad(pieces, 0.05)
    with pytest.raises(RecordedError):
        Recorded(server.url, timeout_s=0.5).ticks(ROLLOUT_FEATURES["microsoft"], 60, 30)
    server.close()
