"""The same mails to the same sandbox by `outlook_send`, bare httpx and the peers, in turns."""

import asyncio
import os
import random
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
from bench.peers import peers_python
from bench.report import ROOT, say
from bench.send_mails import AT_ONCE, MAILS, TOKEN, Sample
from prometheus_client import CollectorRegistry

from adapter import Attachment, EmailAddress, InlineImage, Runtime, Settings, StaticTokens, outlook_send
from adapter.message import Limits, OutgoingMessage, SendIds
from adapter.providers.outlook import Outlook

ROUNDS = 60
PEER_PACKAGES = {"msgraph-sdk": "msgraph-sdk==1.65.0", "O365": "O365==2.1.10"}
OURS, BARE = "outlook_send", "bare httpx, bytes ready"
IDS = SendIds("5b8f1c0e-0000-4000-8000-000000000001", "<m1@bench>")

Rounds = list[dict[str, float]]
"""Seconds by contender."""
Contender = Callable[[], Awaitable[float]]


def message_of(mail: Sample) -> OutgoingMessage:
    return OutgoingMessage(
        to=(EmailAddress(mail.to),),
        subject=mail.subject,
        body_html=mail.html,
        attachments=tuple(
            Attachment(f.name, f.content_type, f.content) for f in mail.files if not f.content_id
        ),
        inline_images=tuple(
            InlineImage(f.name, f.content_type, f.content, f.content_id) for f in mail.files if f.content_id
        ),
    )


def environment(redis_url: str, graph_url: str, ca_file: Path | None = None) -> dict[str, str]:
    return {
        "ROLLOUT_REDIS_URL": redis_url,
        "MS_GRAPH_URL": graph_url,
        "MS_CA_FILE": str(ca_file or ""),
        "PROVIDER_MICROSOFT_ENABLED": "true",
    }


@contextmanager
def sandbox(cert_dir: Path | None = None, kind: str = "graph", *options: str) -> Iterator[str]:
    """Serve a provider in a process of its own, over TLS if certificates have a place; yields its URL."""
    secure = ["--cert-dir", str(cert_dir)] if cert_dir else []
    command = [sys.executable, "-m", f"adapter.sandbox.{kind}", "--port", "0", *secure, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout is None:
            raise RuntimeError("the sandbox has no output")
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def race(redis_url: str, graph_url: str) -> dict[str, Rounds]:
    """Return the rounds of each mail; what does not run here is left out."""
    async with opened(redis_url, graph_url) as (runtime, client):
        with peers(graph_url) as ask:
            return {
                name: await rounds(
                    {
                        OURS: ours(message_of(mail), runtime),
                        BARE: bare(message_of(mail), client, graph_url),
                        **{peer: ask(peer, name) for peer in PEER_PACKAGES},
                    }
                )
                for name, mail in MAILS.items()
            }


async def race_over_tls(redis_url: str, graph_url: str, ca_file: Path) -> dict[str, Rounds]:
    """As `race`, without the peers, and over TLS as to the real Graph."""
    async with opened(redis_url, graph_url, ca_file) as (runtime, client):
        return {
            f"{name}, over TLS as to the real Graph": await rounds(
                {
                    OURS: ours(message_of(mail), runtime),
                    BARE: bare(message_of(mail), client, graph_url),
                }
            )
            for name, mail in MAILS.items()
        }


@asynccontextmanager
async def opened(
    redis_url: str, graph_url: str, ca_file: Path | None = None
) -> AsyncIterator[tuple[Runtime, httpx.AsyncClient]]:
    """Open what ours and bare httpx send with."""
    settings = Settings.from_environment(environment(redis_url, graph_url, ca_file))
    tokens = {"microsoft": StaticTokens(TOKEN)}
    trust = ssl.create_default_context(cafile=ca_file) if ca_file else False
    async with (
        Runtime.open(settings, tokens=tokens, registry=CollectorRegistry()) as runtime,
        httpx.AsyncClient(verify=trust) as client,
    ):
        yield runtime, client


async def rounds(contenders: Mapping[str, Contender]) -> Rounds:
    """Let each send in turn, in another order each round: who comes after whom matters too."""
    names = [name for name, contender in contenders.items() if await contender() > 0]
    orders = random.Random(8)
    return [
        {name: await contenders[name]() for name in orders.sample(names, len(names))} for _ in range(ROUNDS)
    ]


async def send_as(message: OutgoingMessage, runtime: Runtime, user_id: str) -> None:
    await outlook_send(
        message.to,
        message.subject,
        message.body_html,
        attachments=message.attachments,
        inline_images=message.inline_images,
        user_id=user_id,
        runtime=runtime,
    )


def ours(message: OutgoingMessage, runtime: Runtime) -> Contender:
    async def send() -> None:
        await send_as(message, runtime, "bench")

    return lambda: at_once(send)


def bare(message: OutgoingMessage, client: httpx.AsyncClient, graph_url: str) -> Contender:
    body = bytes(Outlook().prepare(message, IDS, Limits()).body)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}

    async def send() -> None:
        reply = await client.post(f"{graph_url}/me/sendMail", content=body, headers=headers)
        reply.raise_for_status()

    return lambda: at_once(send)


async def at_once(send: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await asyncio.gather(*(send() for _ in range(AT_ONCE)))
    return time.perf_counter() - began


@contextmanager
def peers(
    url: str, race: str = "send", packages: Iterable[str] = PEER_PACKAGES.values()
) -> Iterator[Callable[[str, str], Contender]]:
    """Run the peers beside us; each contender waits for its turn there. One that fails gives -1."""
    command = [str(peers_python(race, packages)), "-m", f"bench.{race}_peers", url]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the peers have no pipes")
        to, back = process.stdin, process.stdout

        def contender(peer: str, mail: str) -> Contender:
            async def turn() -> float:
                to.write(f"{peer}\t{mail}\n")
                to.flush()
                answer = await asyncio.to_thread(back.readline)
                try:
                    return float(answer)
                except ValueError:
                    say(f"{peer}: {answer.strip()}")
                    return -1.0

            return turn

        yield contender
        to.close()
