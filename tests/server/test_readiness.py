"""Readiness: who is ready, who is not, and why."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.servers import PrometheusServer, RedisServer
from kit.serving import serving
from kit.waiting import wait_until

from controller.loop.tick import Report


@pytest.fixture
def prometheus_server(tmp_path: Path) -> Iterator[PrometheusServer]:
    folder = tmp_path / "prometheus"
    folder.mkdir()
    with PrometheusServer(folder, "{}") as server:
        yield server


def test_a_daemon_that_ticks_with_both_neighbours_is_ready(
    redis_server: RedisServer, prometheus_server: PrometheusServer
) -> None:
    with serving(redis_server.url, prometheus_url=prometheus_server.url) as served:
        answer = served.http.get("/readyz")
        assert answer.status_code == 200
        told = answer.json()
        assert all(told[name] for name in ("ready", "tick_fresh", "redis", "prometheus"))
        assert (told["role"], told["dry_run"], told["detail"]) == ("leader", False, "")
        served.ticks.report = Report(leader=False)
        wait_until(lambda: served.http.get("/readyz").json()["role"] == "standby")
        assert served.http.get("/readyz").status_code == 200


def test_a_late_tick_and_a_lost_neighbour_are_not_ready_and_named(
    redis_server: RedisServer, prometheus_server: PrometheusServer
) -> None:
    with serving(redis_server.url, prometheus_url=prometheus_server.url) as served:
        served.ticks.on_time = False
        wait_until(lambda: served.http.get("/readyz").status_code == 503)
        assert served.http.get("/readyz").json()["tick_fresh"] is False
        served.ticks.on_time = True
        prometheus_server.kill()
        wait_until(lambda: not served.http.get("/readyz").json()["prometheus"])
        assert prometheus_server.url in served.http.get("/readyz").json()["detail"]
        redis_server.kill()
        wait_until(lambda: not served.http.get("/readyz").json()["redis"])
        assert served.http.get("/healthz").status_code == 200


def test_the_daemons_metrics_are_served(redis_server: RedisServer) -> None:
    with serving(redis_server.url) as served:
        answer = served.http.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        assert "# TYPE" in answer.text
