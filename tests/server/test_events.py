"""Server-sent events: live, resumed without a gap, bounded, and no hindrance to stopping."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from kit.servers import RedisServer, free_port
from kit.serving import Served
from kit.waiting import patience, wait_until

from controller.contract import decisions_key
from controller.decision.model import Kind
from controller.web import events
from controller.web.events import QUEUE, Event, Subscriber

ROLLOUT = Path(sys.executable).with_name("rollout")


@contextmanager
def listening(
    served: Served, path: str = "/api/v1/events", **headers: str
) -> Iterator[Iterator[dict[str, str]]]:
    with served.http.stream(
        "GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()}
    ) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield frames(answer.iter_lines())


def frames(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """Read a stream as a browser does: a blank line ends an event."""
    frame: dict[str, str] = {}
    for line in lines:
        if not line and frame:
            yield frame
            frame = {}
        elif line:
            name, _, value = line.partition(":")
            frame[name] = value.strip()


def next_decision(stream: Iterator[dict[str, str]]) -> tuple[str, dict[str, Any]]:
    frame = next(frame for frame in stream if frame.get("event") == "decision")
    return frame["id"], json.loads(frame["data"])


def test_a_stream_begins_with_how_to_come_back_and_how_it_stands(served: Served) -> None:
    with listening(served) as stream:
        assert next(stream) == {"retry": "2000"}
        health = next(stream)
    assert health["event"] == "health"
    assert json.loads(health["data"])["role"] == "leader"


def test_a_decision_is_told_as_it_is_written_whoever_wrote_it(served: Served) -> None:
    with listening(served) as stream:
        next(stream)
        next(stream)
        before = time.monotonic()
        done = served.person(Kind.ENABLE)
        _, record = next_decision(stream)
    assert record == json.loads(json.dumps(done))
    assert time.monotonic() - before < 2 * patience()


def test_a_stream_may_be_of_one_feature(served: Served) -> None:
    with listening(served, "/api/v1/events?feature=google") as stream:
        next(stream)
        next(stream)
        served.person(Kind.ENABLE, feature="microsoft")
        served.person(Kind.ENABLE, feature="google")
        assert next_decision(stream)[1]["feature"] == "google"
    assert served.http.get("/api/v1/events?feature=nothing").status_code == 404


def test_last_event_id_tells_what_was_missed_and_nothing_twice(served: Served) -> None:
    with listening(served) as stream:
        next(stream)
        next(stream)
        served.person(Kind.ENABLE)
        seen, _ = next_decision(stream)
    missed = [served.person(kind)["id"] for kind in (Kind.PAUSE, Kind.RESUME, Kind.DISABLE)]
    with listening(served, last_event_id=seen) as stream:
        told = [next_decision(stream)[1]["id"] for _ in missed]
        later = served.person(Kind.ENABLE)["id"]
        assert next_decision(stream)[1]["id"] == later
    assert told == missed


def test_of_one_millisecond_no_feature_is_skipped_on_resuming(
    served: Served, redis_client: redis.Redis
) -> None:
    """A tick writes all features in one go: their entries may have one and the same id."""
    record = json.dumps(served.person(Kind.ENABLE))
    for feature in ("google", "microsoft"):
        redis_client.xadd(decisions_key(feature), {"record": record}, id="99999999999999-0")
    with listening(served, last_event_id="99999999999998-5") as stream:
        ids = [next_decision(stream)[0] for _ in range(2)]
    assert ids == ["99999999999999-0"] * 2


def test_an_id_that_is_none_is_refused(served: Served) -> None:
    assert served.http.get("/api/v1/events", headers={"Last-Event-ID": "yesterday"}).status_code == 400


def test_a_lost_redis_skips_no_decision(served: Served, redis_server: RedisServer) -> None:
    with listening(served) as stream:
        next(stream)
        next(stream)
        redis_server.freeze()
        lost = next(frame for frame in stream if frame.get("event") == "health")
        assert json.loads(lost["data"])["redis"] is False
        redis_server.thaw()
        done = served.person(Kind.ENABLE)
        assert next_decision(stream)[1]["id"] == done["id"]


def test_a_silent_stream_is_kept_alive(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.1)
    with listening(served) as stream:
        assert {"": "alive"} in [next(stream) for _ in range(4)]


def test_a_reader_that_is_too_slow_is_cut_off_and_its_queue_stays_bounded() -> None:
    subscriber = Subscriber()
    for number in range(QUEUE * 3):
        subscriber.give(Event(str(number).encode()))
    assert subscriber.queue.qsize() == QUEUE
    assert subscriber.lost
    held = [subscriber.queue.get_nowait() for _ in range(QUEUE)]
    assert () in held


def test_the_daemon_stops_within_five_seconds_with_two_hundred_streams_open(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{free_port()}"
    env = os.environ | {
        "ROLLOUT_REDIS_URL": redis_server.url,
        "ROLLOUT_PROMETHEUS_URL": "http://127.0.0.1:1",
        "ROLLOUT_LISTEN": address,
        "ROLLOUT_INTERVAL_S": "1",
    }
    log = (tmp_path / "log").open("wb")
    daemon = subprocess.Popen([ROLLOUT, "run", "--no-adapter"], env=env, stdout=log, stderr=log, cwd=tmp_path)
    try:
        wait_until(lambda: _alive(address), within_s=30, what="the daemon")
        with ExitStack() as stack, ThreadPoolExecutor(20) as pool:
            limits = httpx.Limits(max_connections=None)
            client = stack.enter_context(
                httpx.Client(base_url=f"http://{address}", timeout=300, limits=limits)
            )

            def opened(_: int) -> Iterator[str]:
                answer = stack.enter_context(client.stream("GET", "/api/v1/events"))
                lines = answer.iter_lines()
                assert next(lines) == "retry: 2000"
                return lines

            streams = list(pool.map(opened, range(200)))
            assert len(streams) == 200
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(5 * patience()) == 0
    finally:
        daemon.kill()
        daemon.wait()
        log.close()


def _alive(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/healthz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
