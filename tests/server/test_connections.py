"""Silent, slow, greedy and malformed clients, on real sockets: none keeps a person's pause out."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from kit.servers import RedisServer
from kit.serving import SIGNED, Served, serving
from kit.waiting import patience, wait_until

from controller.web import events
from controller.web.guard import connections
from controller.web.guard.connections import MOST_CONNECTIONS

PAUSED_WITHIN_S = 5.0
CROWD = MOST_CONNECTIONS + 50
PAUSE = b"POST /api/v1/features/microsoft/pause HTTP/1.1\r\nHost: x\r\n"
SLOW_BODY = b"POST /ofrep/v1/evaluate/flags HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
BEGINNINGS = {
    "silent": b"",
    "slow head": PAUSE[:60],
    "slow body": SLOW_BODY,
    "slow body of an act": PAUSE + b"Content-Length: 9\r\n\r\n{",
    "answered, and a body to come": b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{",
}
GREEDY = """
import asyncio, sys
host, port, path, connections, for_s = sys.argv[1:]
async def one():
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
            while True:
                writer.write(f"GET {path} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n".encode() * 20)
                await writer.drain()
                if not await reader.read(65536):
                    break
        except OSError:
            await asyncio.sleep(0.05)
async def crowd():
    await asyncio.gather(*(one() for _ in range(int(connections))))
print(flush=True)
try:
    asyncio.run(asyncio.wait_for(crowd(), float(for_s)))
except TimeoutError:
    pass
"""


def paused_after_s(served: Served) -> float:
    """Pause as a person does, over a connection of its own, and return how long it took."""
    started = time.monotonic()
    url = f"{served.url}/api/v1/features/microsoft/pause"
    with httpx.Client(trust_env=False, timeout=30) as http:
        answer = http.post(url, json={"reason": "a person"}, headers=SIGNED)
    assert answer.status_code == 200
    [stored] = served.store.read(["microsoft"])
    assert stored.flags.paused
    return time.monotonic() - started


@contextmanager
def opened(served: Served, count: int, beginning: bytes) -> Iterator[list[socket.socket]]:
    """Hold so many connections that each sent the beginning of something."""
    with ExitStack() as stack:
        held = []
        for _ in range(count):
            one = stack.enter_context(socket.create_connection(served.settings.listen_address, timeout=10))
            one.sendall(beginning)
            held.append(one)
        yield held


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS)
def test_a_person_pauses_beside_more_connections_than_there_is_room_for(
    served: Served, beginning: bytes
) -> None:
    with opened(served, CROWD, beginning):
        assert paused_after_s(served) < PAUSED_WITHIN_S * patience()
        assert served.http.get("/healthz").status_code in {200, 429}


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/features", "/openapi.json", "/metrics"])
def test_a_person_pauses_beside_hundreds_of_clients_that_never_stop_asking(served: Served, path: str) -> None:
    host, port = served.settings.listen_address
    command = [sys.executable, "-c", GREEDY, host, str(port), path, "400", "30"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as greedy:
        try:
            assert greedy.stdout is not None
            greedy.stdout.readline()
            time.sleep(1)
            assert max(paused_after_s(served) for _ in range(3)) < PAUSED_WITHIN_S * patience()
        finally:
            greedy.kill()


def drip(one: socket.socket) -> None:
    """Send header after header; raises OSError when the server has had enough."""
    for number in range(1000):
        one.sendall(b"X-%d: 1\r\n" % number)
        time.sleep(0.05)


def test_what_keeps_the_server_waiting_is_closed_in_time(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_WITHIN_S", 0.3)
    with serving(redis_server.url) as served, ExitStack() as stack:
        for beginning in (BEGINNINGS["silent"], BEGINNINGS["slow head"]):
            [one] = stack.enter_context(opened(served, 1, beginning))
            assert one.recv(1000) == b""
        [answered] = stack.enter_context(opened(served, 1, BEGINNINGS["answered, and a body to come"]))
        answer = b""
        while part := answered.recv(10_000):
            answer += part
        assert answer.startswith(b"HTTP/1.1 404")
        [dripping] = stack.enter_context(opened(served, 1, b"GET /healthz HTTP/1.1\r\nHost: x\r\n"))
        with pytest.raises(OSError, match=r"reset|pipe"):
            drip(dripping)


def test_a_client_that_does_not_read_its_answer_is_cut_off(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "READ_WITHIN_S", 0.3)
    with serving(redis_server.url) as served, socket.socket() as greedy:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.connect(served.settings.listen_address)
        greedy.settimeout(0.2)

        def is_cut_off() -> bool:
            try:
                greedy.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
            except TimeoutError:
                return False
            except OSError:
                return True
            return False

        wait_until(is_cut_off, 20, "the end of the connection")


def test_one_address_has_its_share_of_the_event_streams_and_no_more(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MOST_STREAMS_OF_AN_ADDRESS", 3)
    address = served.settings.listen_address
    asking = b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n"
    with opened(served, 3, asking) as streams:
        assert all(one.recv(1000).startswith(b"HTTP/1.1 200") for one in streams)
        assert served.http.get("/api/v1/events").status_code == 429
        with socket.create_connection(address, source_address=("127.0.0.9", 0), timeout=10) as another:
            another.sendall(asking)
            assert another.recv(1000).startswith(b"HTTP/1.1 200")


def test_however_many_streams_are_open_everybody_else_is_answered(served: Served) -> None:
    with opened(served, 100, b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n") as streams:
        assert all(one.recv(1000).startswith(b"HTTP/1.1 200") for one in streams)
        for _ in range(20):
            assert served.http.get("/healthz").status_code == 200


def test_streams_are_not_what_gives_way_to_a_crowd(served: Served) -> None:
    with opened(served, 1, b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n") as [stream]:
        assert stream.recv(100).startswith(b"HTTP/1.1 200")
        with opened(served, CROWD, b""):
            assert paused_after_s(served) < PAUSED_WITHIN_S * patience()
            told = b""
            while b"event: decision" not in told:
                part = stream.recv(65_536)
                assert part
                told += part


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (PAUSE + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (
            b"POST /ofrep/v1/evaluate/flags HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
            400,
        ),
        (b"POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdefgh\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: x/resume?\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: evil.example.com\r\n\r\n", 421),
        (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1.nip.io:80\r\n\r\n", 421),
        (b"GET /healthz HTTP/1.1\r\nHost: rollout.corp.example.org.\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: LocalHost:8003\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: [::1]:8003\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: rollout.default.svc.cluster.local\r\n\r\n", 200),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)
def test_a_malformed_request_or_a_strangers_host_is_refused_without_a_traceback(
    redis_server: RedisServer, capfd: pytest.CaptureFixture[str], sent: bytes, status: int
) -> None:
    with serving(redis_server.url, allowed_hosts=("*.corp.example.org",)) as served:
        with opened(served, 1, sent) as [one]:
            one.shutdown(socket.SHUT_WR)
            assert one.recv(1000).startswith(b"HTTP/1.1 %d" % status)
        assert served.http.get("/healthz").status_code == 200
    assert "Traceback" not in capfd.readouterr().err


def test_no_host_header_turns_a_pause_into_a_resume(served: Served) -> None:
    body = json.dumps({"reason": "x"}).encode()
    head = f"POST /api/v1/features/microsoft/pause HTTP/1.1\r\nAuthorization: {SIGNED['Authorization']}\r\n"
    for host in (
        "x/resume?",
        "x/resume#",
        "x/api/v1/features/microsoft/resume?",
        "[::1]/resume?",
        "x:80/resume?",
    ):
        raw = f"{head}Host: {host}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        with opened(served, 1, raw) as [one]:
            assert one.recv(1000).startswith(b"HTTP/1.1 400")
    assert served.act("pause", reason="x").json()["kind"] == "pause"


def test_an_answer_is_not_held_back_until_the_client_acknowledges_its_head(served: Served) -> None:
    with socket.create_connection(served.settings.listen_address, timeout=10) as one:
        assert served.http.get("/healthz").status_code == 200
        for _ in range(20):
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert one.recv(10_000)
    with connections.listen_on("127.0.0.1", 0) as listening:
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
