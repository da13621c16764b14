"""Connections: TLS with its own trust, kept alive, and the one question of whether a mail may have left."""

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme
from servers import free_port

from adapter.providers.body import Body
from adapter.providers.provider import Request
from adapter.sandbox.faults import Faults
from adapter.sandbox.graph import Sandbox
from adapter.transport import Attempt, NotSentError, OutcomeUnknownError, Transport

BODY = b'{"message":{"toRecipients":[{"emailAddress":{"address":"a@b.com"}}],"subject":"Hi"}}'
REQUEST = Request("/me/sendMail", {"Content-Type": "application/json"}, Body.of(BODY))
TOKEN: Mapping[str, str] = {"Authorization": "Bearer sandbox-x"}

pytestmark = pytest.mark.servers


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
    transport = Transport(f"http://127.0.0.1:{free_port()}")
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


async def test_more_sends_at_once_than_one_pool_holds_all_arrive(graph: Sandbox) -> None:
    transport = Transport(graph.url)
    replies = await asyncio.gather(*(transport.post(REQUEST, TOKEN, 20.0, Attempt()) for _ in range(200)))
    again = await asyncio.gather(*(transport.post(REQUEST, TOKEN, 20.0, Attempt()) for _ in range(8)))
    await transport.aclose()
    assert {reply.status for reply in (*replies, *again)} == {202}
    assert graph.posts == 208


async def test_a_proxy_of_the_environment_stands_not_before_this_machine(
    graph: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    transport = Transport(graph.url)
    assert (await transport.post(REQUEST, TOKEN, 5.0, Attempt())).status == 202
    await transport.aclose()
