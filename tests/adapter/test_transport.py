"""Connections: TLS with its own trust, kept alive, and the one question of whether a mail may have left."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpcore
import pytest
import trustme
from kit.waiting import until

from adapter.providers.body import Body
from adapter.providers.provider import MAX_REPLY_BYTES, Request
from adapter.sandbox.faults import Faults
from adapter.sandbox.graph import Sandbox
from adapter.transport.post import Attempt, NotSentError, OutcomeUnknownError, Transport
from adapter.transport.wire import AsyncioBackend

BODY = b'{"message":{"toRecipients":[{"emailAddress":{"address":"a@b.com"}}],"subject":"Hi"}}'
REQUEST = Request("/me/sendMail", {"Content-Type": "application/json"}, Body.of(BODY))
TOKEN: Mapping[str, str] = {"Authorization": "Bearer sandbox-x"}

ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(talk: Talk) -> AsyncIterator[int]:
    """Serve one way of talking; gives the port."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(served, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def posting(base_url: str, ca_file: str = "") -> AsyncIterator[Transport]:
    transport = Transport(base_url, ca_file=ca_file)
    try:
        yield transport
    finally:
        await transport.aclose()


async def read_post(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(len(BODY))


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def test_the_named_certificates_are_trusted(tls: ssl.SSLContext, ca_file: str) -> None:
    async with Sandbox(tls=tls) as graph:
        transport = Transport(graph.url, ca_file=ca_file)
        reply = await transport.post(REQUEST, TOKEN, 10.0, Attempt())
        await transport.aclose()
    assert reply.status == 202


async def test_other_certificates_are_not_and_nothing_leaves(tls: ssl.SSLContext) -> None:
    async with Sandbox(tls=tls) as graph:
        transport = Transport(graph.url)
        attempt = Attempt()
        with pytest.raises(NotSentError):
            await transport.post(REQUEST, TOKEN, 10.0, attempt)
        await transport.aclose()
    assert (attempt.body_began, graph.posts) == (False, 0)


async def test_a_refused_connection_sent_nothing() -> None:
    transport = Transport("http://127.0.0.1:1")
    attempt = Attempt()
    with pytest.raises(NotSentError):
        await transport.post(REQUEST, TOKEN, 5.0, attempt)
    await transport.aclose()
    assert not attempt.body_began


async def test_a_server_that_never_accepts_tls_sent_nothing() -> None:
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport = Transport(f"https://127.0.0.1:{port}", connect_timeout_s=0.3)
    with pytest.raises(NotSentError):
        await transport.post(REQUEST, TOKEN, 5.0, Attempt())
    await transport.aclose()
    server.close()
    await ended.wait()


async def test_no_answer_in_time_is_unknown(graph: Sandbox) -> None:
    graph.faults = Faults(hang=True)
    transport = Transport(graph.url)
    attempt = Attempt()
    with pytest.raises(OutcomeUnknownError):
        await transport.post(REQUEST, TOKEN, 0.5, attempt)
    await transport.aclose()
    assert attempt.body_began


async def test_a_process_that_was_stopped_until_its_time_was_over_sends_nothing(graph: Sandbox) -> None:
    transport = Transport(graph.url)
    await transport.post(REQUEST, TOKEN, 5.0, Attempt())
    attempt = Attempt()
    with pytest.raises(NotSentError):
        await transport.post(Request("/me/sendMail", Stopping(), Body.of(BODY)), TOKEN, 0.1, attempt)
    await transport.aclose()
    assert (attempt.body_began, graph.posts) == (False, 1)


class Stopping(Mapping[str, str]):
    """Headers that take longer to read than the send may take, as when the process is stopped meanwhile."""

    def __getitem__(self, name: str) -> str:
        raise KeyError(name)

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[str]:
        time.sleep(0.2)
        return iter(())


async def test_more_sends_at_once_than_there_are_connections_all_arrive(graph: Sandbox) -> None:
    transport = Transport(graph.url)
    replies = await asyncio.gather(*(transport.post(REQUEST, TOKEN, 20.0, Attempt()) for _ in range(200)))
    again = await asyncio.gather(*(transport.post(REQUEST, TOKEN, 20.0, Attempt()) for _ in range(8)))
    await transport.aclose()
    assert {reply.status for reply in (*replies, *again)} == {202}
    assert graph.posts == 208


async def test_a_proxy_of_the_environment_stands_not_before_this_machine(
    graph: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    transport = Transport(graph.url)
    assert (await transport.post(REQUEST, TOKEN, 5.0, Attempt())).status == 202
    await transport.aclose()


async def test_a_proxy_of_the_environment_is_used(graph: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", graph.base)
    async with posting("http://graph.example/v1.0") as transport:
        assert (await transport.post(REQUEST, TOKEN, 5.0, Attempt())).status == 202
    assert graph.posts == 1


async def test_a_proxy_passes_tls_on_and_sees_none_of_it(
    authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("graph.example").configure_cert(context)
    asked: list[bytes] = []

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")[0])
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", int(graph.base.split(":")[2]))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(relay(reader, there_writer), relay(there_reader, writer))

    async with Sandbox(tls=context) as graph, listening(tunnel) as port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        async with posting("https://graph.example/v1.0", ca_file) as transport:
            replies = [await transport.post(REQUEST, TOKEN, 5.0, Attempt()) for _ in range(2)]
    assert [reply.status for reply in replies] == [202, 202]
    assert asked == [b"CONNECT graph.example:443 HTTP/1.1"]


async def test_what_came_before_tls_never_passes_for_an_answer_within_it() -> None:
    async def forge(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ACCEPTED)
        await writer.drain()

    async with listening(forge) as port:
        wire = await AsyncioBackend().connect_tcp("127.0.0.1", port)
        assert await wire.read(1)
        with pytest.raises(httpcore.ConnectError):
            await wire.start_tls(ssl.create_default_context(), "graph.example")


async def test_who_gives_up_just_when_a_connection_is_made_leaves_none_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, made = asyncio.get_running_loop(), []
    connect = loop.sock_connect

    async def connect_and_give_up(sock: socket.socket, address: tuple[str, int]) -> None:
        await connect(sock, address)
        made.append(sock)
        loop.call_soon(connecting.cancel)

    monkeypatch.setattr(loop, "sock_connect", connect_and_give_up)
    async with listening(relay) as port:
        connecting = asyncio.create_task(AsyncioBackend().connect_tcp("127.0.0.1", port))
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await until(lambda: [sock.fileno() for sock in made] == [-1])


async def test_an_address_that_refuses_or_says_nothing_keeps_nobody_from_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def read(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(read) as port:
        loop, asked = asyncio.get_running_loop(), []
        connect = loop.sock_connect

        async def hang_on_ipv6(sock: socket.socket, address: tuple[Any, ...]) -> None:
            asked.append(address)
            if sock.family is socket.AF_INET6:
                await asyncio.Event().wait()
            await connect(sock, address)

        async def found(*_: object, **__: object) -> list[tuple[Any, ...]]:
            silent = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))
            refusing = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))
            answering = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
            return [silent, silent, refusing, answering]

        monkeypatch.setattr(loop, "sock_connect", hang_on_ipv6)
        monkeypatch.setattr(loop, "getaddrinfo", found)
        wire = await AsyncioBackend().connect_tcp("graph.example", port, timeout=10)
        assert wire.get_extra_info("peername") == ("127.0.0.1", port)
        assert [len(address) for address in asked] == [4, 2, 4, 2]
        await wire.aclose()


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


async def test_sends_one_after_the_other_share_a_connection() -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await read_post(reader)
            writer.write(ACCEPTED)

    async with listening(talk) as port, posting(f"http://127.0.0.1:{port}") as transport:
        for _ in range(5):
            await transport.post(REQUEST, TOKEN, 5.0, Attempt())
    assert connections == 1


@pytest.mark.parametrize("farewell", [b"", b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"])
async def test_a_connection_that_the_server_gave_up_is_not_used_again(farewell: bytes) -> None:
    left = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_post(reader)
        writer.write(ACCEPTED)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(farewell)
        writer.close()
        await writer.wait_closed()
        left.set()

    async with listening(talk) as port, posting(f"http://127.0.0.1:{port}") as transport:
        for _ in range(3):
            left.clear()
            assert (await transport.post(REQUEST, TOKEN, 5.0, Attempt())).status == 202
            await left.wait()
            await asyncio.sleep(0.05)


async def test_of_an_endless_reply_only_the_beginning_is_read() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_post(reader)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 99999999999\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with listening(talk) as port, posting(f"http://127.0.0.1:{port}") as transport:
        reply = await transport.post(REQUEST, TOKEN, 5.0, Attempt())
    assert (reply.status, len(reply.body)) == (400, MAX_REPLY_BYTES)


async def test_a_reply_that_drips_holds_nobody_beyond_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapter.transport.post.READ_BODY_S", 3600.0)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_post(reader)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 99999999999\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with listening(talk) as port, posting(f"http://127.0.0.1:{port}") as transport:
        reply = await transport.post(REQUEST, TOKEN, 0.4, Attempt())
    assert reply.status == 400


async def test_a_mail_that_is_given_up_half_way_does_not_leave_later() -> None:
    body = Body.of(b"x" * 32_000_000)
    received = 0
    stopped, ended = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await stopped.wait()
        try:
            while data := await reader.read(65536):
                received += len(data)
        finally:
            ended.set()

    async with listening(talk) as port, posting(f"http://127.0.0.1:{port}") as transport:
        attempt = Attempt()
        with pytest.raises(OutcomeUnknownError):
            await transport.post(Request("/me/sendMail", {}, body), TOKEN, 0.3, attempt)
        stopped.set()
        await ended.wait()
    assert attempt.body_began
    assert received < len(body)


async def test_headers_that_come_twice_are_both_kept() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_post(reader)
        writer.write(
            b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="a"\r\n'
            b'WWW-Authenticate: Bearer claims="e30="\r\nContent-Length: 0\r\n\r\n'
        )
        await writer.drain()

    async with listening(talk) as port, posting(f"http://127.0.0.1:{port}") as transport:
        reply = await transport.post(REQUEST, TOKEN, 5.0, Attempt())
    assert reply.headers["www-authenticate"] == 'Basic realm="a", Bearer claims="e30="'


async def test_small_blocks_leave_at_once_and_do_not_wait_for_an_answer_to_the_one_before(
    graph: Sandbox,
) -> None:
    wire = await AsyncioBackend().connect_tcp("127.0.0.1", int(graph.base.split(":")[2]))
    opened = wire.get_extra_info("socket")
    assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    await wire.aclose()
