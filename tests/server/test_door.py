"""What every request passes first: rates, the body's time, and headers for browsers."""

import socket
import time

import pytest
from kit.servers import RedisServer
from kit.serving import SIGNED, Served, serving

from controller.web.guard.limits import HEADERS
from controller.web.guard.rates import GUESSES_AT_ONCE, GUESSES_PER_S, Rates


def test_a_caller_that_asks_no_faster_than_it_may_never_waits() -> None:
    rates = Rates(10, 100)
    assert [rates.spend("a", number / 10) for number in range(1000)] == [0.0] * 1000


def test_a_caller_may_ask_so_much_at_once_and_then_waits_for_the_next_one() -> None:
    rates = Rates(10, 100)
    assert [rates.spend("a", 0.0) for _ in range(100)] == [0.0] * 100
    assert rates.spend("a", 0.0) == pytest.approx(0.1)
    assert rates.spend("b", 0.0) == 0.0
    assert rates.spend("a", 0.11) == 0.0
    assert rates.spend("a", 0.11) > 0.0


def test_however_many_callers_ask_only_so_many_are_remembered() -> None:
    rates = Rates(10, 100)
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
        acting = served.act("pause", reason="a person with a token is counted apart")
        ofrep = served.http.post("/ofrep/v1/evaluate/flags")
        time.sleep(1.1)
        again = served.http.get("/healthz")
    refused = [one for one in answers if one.status_code == 429]
    assert refused
    assert refused[0].headers["retry-after"] == "1"
    assert refused[0].json()["status"] == 429
    assert {one.status_code for one in answers} == {200, 429}
    assert (other.status_code, again.status_code) == (429, 200)
    assert acting.status_code == 200
    assert ofrep.json()["errorDetails"]


def guess(served: Served, token: str, number: int = 0) -> int:
    """Return the status of a call with this token and a forwarding header that nobody asked for."""
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": f"198.51.100.{number % 256}, 10.0.0.1"}
    return served.act("approve", headers=headers, reason="x").status_code


def test_ten_thousand_wrong_tokens_with_forged_addresses_are_limited(redis_server: RedisServer) -> None:
    with serving(redis_server.url, requests_per_s=1_000_000) as served:
        started = time.monotonic()
        answers = [guess(served, f"guess-{number}", number) for number in range(10_000)]
        looked_at = answers.count(403)
        assert answers.count(429) == 10_000 - looked_at
        assert looked_at <= GUESSES_AT_ONCE + GUESSES_PER_S * (time.monotonic() - started) + 1


def test_after_too_many_wrong_tokens_a_short_right_one_waits_and_a_long_one_does_not(
    redis_server: RedisServer,
) -> None:
    with serving(redis_server.url, token="ann/operate:short,bob/operate:0123456789abcdef") as served:
        before = [guess(served, token) for token in ("short", "0123456789abcdef")]
        wrong = [guess(served, "wrong") for _ in range(50)]
        after = [guess(served, token) for token in ("short", "0123456789abcdef")]
    assert before == [409, 409]
    assert {403, 429} == set(wrong)
    assert after == [429, 409]


def test_a_token_without_the_right_is_no_guess(redis_server: RedisServer) -> None:
    with serving(redis_server.url, token="am/alert:short") as served:
        assert {guess(served, "short") for _ in range(60)} == {403}


def test_a_token_that_nobody_asked_for_limits_nothing(served: Served) -> None:
    headers = {"Authorization": "Bearer of-a-gateway"}
    assert {served.http.get("/healthz", headers=headers).status_code for _ in range(60)} == {200}


def test_forwarding_headers_are_believed_of_trusted_proxies_alone(redis_server: RedisServer) -> None:
    with serving(redis_server.url, trusted_proxies=("10.0.0.0/8", "127.0.0.1")) as served:
        by_one = [guess(served, "wrong", 1) for _ in range(50)]
        by_another = guess(served, "wrong", 2)
    assert set(by_one[:30]) == {403}
    assert by_one[-1] == 429
    assert by_another == 403


def test_a_body_that_never_ends_is_refused_and_so_is_one_whose_sender_left(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "POST /api/v1/features/microsoft/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
    head += f"Authorization: {SIGNED['Authorization']}\r\n\r\n"
    address = served.settings.listen_address
    with socket.create_connection(address, timeout=10) as slow:
        slow.sendall(head.encode() + b'{"reason": ')
    monkeypatch.setattr("controller.web.guard.limits.BODY_WITHIN_S", 0.2)
    with socket.create_connection(address, timeout=10) as slow:
        slow.sendall(head.encode() + b'{"reason": ')
        answer = b""
        while part := slow.recv(1000):
            answer += part
    assert answer.startswith(b"HTTP/1.1 408")
    assert served.http.get("/healthz").status_code == 200
