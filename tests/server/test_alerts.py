"""Alertmanager's webhook: a tick at once, a pause where the feature says so, and a person is respected."""

from dataclasses import replace
from typing import Any

import httpx
import pytest
import redis
from kit.servers import RedisServer
from kit.serving import SIGNED, Served, entries, serving

from controller.decision.model import Kind
from controller.features import ROLLOUT_FEATURES

LABELS = {"alertname": "OutlookSendHighErrorRateCritical", "severity": "critical", "provider": "microsoft"}


def alert(status: str = "firing", starts_at: str = "2026-11-22T10:00:00Z", **labels: str) -> dict[str, Any]:
    return {
        "status": status,
        "labels": LABELS | {"action": "outlook.send"} | labels,
        "annotations": {"summary": "Outlook send error rate >5% (critical)"},
        "startsAt": starts_at,
        "fingerprint": "0a1b2c",
    }


def report(served: Served, *alerts: dict[str, Any]) -> httpx.Response:
    body = {"version": "4", "status": "firing", "receiver": "rollout", "alerts": list(alerts)}
    return served.http.post("/api/v1/alerts", json=body, headers=SIGNED)


@pytest.fixture
def strict(redis_server: RedisServer) -> Any:
    """Serve a feature that an alert pauses."""
    microsoft = replace(ROLLOUT_FEATURES["microsoft"], pause_on_alert=True)
    with serving(redis_server.url, features={"microsoft": microsoft}) as served:
        yield served


def test_a_firing_critical_alert_makes_a_tick_at_once(served: Served) -> None:
    answer = report(served, alert())
    assert answer.json() == {"ticked": True, "features": ["microsoft"], "paused": []}
    assert len(served.asked_ticks) == 1


@pytest.mark.parametrize(
    "other",
    [
        alert(status="resolved"),
        alert(severity="warning"),
        alert(action="gmail.send"),
        {"status": "firing", "labels": None},
        {},
    ],
)
def test_other_alerts_are_taken_and_change_nothing(served: Served, other: dict[str, Any]) -> None:
    assert report(served, other).json() == {"ticked": False, "features": [], "paused": []}
    assert served.asked_ticks == []


def test_an_alert_may_name_its_feature(served: Served) -> None:
    named = {"status": "firing", "labels": {"severity": "critical", "feature": "google"}}
    assert report(served, named).json()["features"] == ["google"]


def test_it_pauses_where_the_feature_says_so_with_the_alert_in_the_record(strict: Served) -> None:
    strict.person(Kind.ENABLE)
    assert report(strict, alert()).json()["paused"] == ["microsoft"]
    record = strict.http.get("/api/v1/features/microsoft/decisions?limit=1").json()["decisions"][0]
    assert (record["kind"], record["actor"], record["to"]["paused"]) == ("pause", "alertmanager", True)
    assert record["note"].startswith("OutlookSendHighErrorRateCritical is firing: Outlook send error rate")


def test_a_person_who_resumes_is_not_overruled_by_the_same_firing_told_again(
    strict: Served, redis_client: redis.Redis
) -> None:
    report(strict, alert())
    report(strict, alert())
    assert entries(redis_client) == 1
    strict.person(Kind.RESUME)
    assert report(strict, alert()).json()["paused"] == []
    assert report(strict, alert(starts_at="2026-11-22T11:00:00Z")).json()["paused"] == ["microsoft"]


def test_nobody_reports_an_alert_without_a_token(strict: Served, redis_client: redis.Redis) -> None:
    answer = strict.http.post("/api/v1/alerts", json={"alerts": [alert()]})
    assert answer.status_code == 401
    assert entries(redis_client) == 0


@pytest.mark.parametrize("body", [{}, {"alerts": 7}, {"alerts": ["x"]}])
def test_what_is_no_webhook_is_refused(served: Served, body: dict[str, Any]) -> None:
    assert served.http.post("/api/v1/alerts", json=body, headers=SIGNED).status_code == 422
