"""What every request passes first: rates, the body's time, and headers for browsers."""

import socket
import time

import pytest
from kit.servers import RedisServer
from kit.serving import SIGNED, TOKEN, Served, serving

from controller.web.middleware import HEADERS, Rates


def test_an_address_that_asks_no_faster_than_it_may_never_waits() -> None:
    rates = Rates(10)
    assert [rates.spend("a", number / 10) for number in range(1000)] == [0.0] * 1000


def test_an_address_may_ask_ten_seconds_worth_at_once_and_then_waits_for_the_next_one() -> None:
    rates = Rates(10)
    assert [rates.spend("a", 0.0) for _ in range(100)] == [0.0] * 100
    assert rates.spend("a", 0.0) == pytest.approx(0.1)
    assert rates.spend("b", 0.0) == 0.0
    assert rates.spend("a", 0.11) == 0.0
    assert rates.spend("a", 0.11) > 0.0


def test_refused_tokens_slow_their_address_down_to_a_tenth() -> None:
    rates = Rates(10)
    asked = [
        rates.spend("a", number / 100) or rates.spend("a", number / 100, 10) for number in range(100_000)
    ]
    assert asked.count(0.0) < 1.1 * 100_000 / 100 + 10


def test_however_many_addresses_ask_only_so_many_are_remembered() -> None:
    rates = Rates(10)
    for number in range(10_000):
        rates.spend(str(number), 0.0)
    assert len(rates._budgets) == 4096


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/metrics", "/nothing", "/api/v1/features", "/page/style.css", "/openapi.json"]
)
def test_every_answer_carries_the_headers_that_keep_browsers_strict(served: Served, path: str) -> None:
    headers = served.http.get(path).headers
    assert {name.lower() for name in HEADERS} <= set(headers)
    assert "'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_who_asks_too_often_is_told_when_to_come_back_and_nobody_else_is_refused(
    redis_server: RedisServer,
) -> None:
    with serving(redis_server.url, requests_per_s=1.0) as served:
        answers = [served.http.get("/healthz") for _ in range(30)]
        other = served.http.get("/healthz", headers={"X-Forwarded-For": "192.0.2.1"})
        ofrep = served.http.post("/ofrep/v1/evaluate/flags")
        time.sleep(1.1)
        again = served.http.get("/healthz")
    refused = [one for one in answers if one.status_code == 429]
    assert refused
    assert refused[0].headers["retry-after"] == "1"
    assert refused[0].json()["status"] == 429
    assert {one.status_code for one in answers} == {200, 429}
    assert (other.status_code, again.status_code) == (200, 200)
    assert ofrep.json()["errorDetails"]


def test_guessing_tokens_uses_up_the_rate_ten_times_as_fast(redis_server: RedisServer) -> None:
    def asked(token: str) -> int:
        with serving(redis_server.url, requests_per_s=5.0) as served:
            answers = [
                served.act("approve", headers={"Authorization": f"Bearer {token}"}, reason="x")
                for _ in range(40)
            ]
            return [one.status_code for one in answers].count(429)

    assert asked(TOKEN) == 0
    assert asked("guessed") >= 30


def test_a_body_that_never_ends_is_refused_and_so_is_one_whose_sender_left(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "POST /api/v1/features/microsoft/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
    head += f"Authorization: {SIGNED['Authorization']}\r\n\r\n"
    address = served.settings.listen_address
    with socket.create_connection(address, timeout=10) as slow:
        slow.sendall(head.encode() + b'{"reason": ')
    monkeypatch.setattr("controller.web.middleware.BODY_WITHIN_S", 0.2)
    with socket.create_connection(address, timeout=10) as slow:
        slow.sendall(head.encode() + b'{"reason": ')
        answer = b""
        while part := slow.recv(1000):
            answer += part
    assert answer.startswith(b"HTTP/1.1 408")
    assert served.http.get("/healthz").status_code == 200
