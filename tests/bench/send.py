"""Measures sending beside the plainest way to do it and writes the section "Sending" of docs/benchmarks.md.

Usage: python tests/bench/run.py send
"""

import asyncio
import base64
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path

import httpx
from bench.report import machine, median, quantile, say, table, write_section
from prometheus_client import CollectorRegistry
from sending import open_flags
from servers import RedisServer

from adapter import EmailAddress, InlineImage, Runtime, Settings, StaticTokens, outlook_send
from adapter.checks import check
from adapter.message import Attachment, OutgoingMessage, SendIds
from adapter.providers.outlook import Outlook
from adapter.providers.provider import Limits

BUILDS = 80
ROUNDS = 60
AT_ONCE = 4
IDS = SendIds("5b8f1c0e-0000-4000-8000-000000000001", "<m1@bench>")
HTML = '<p>Hi</p><img src="cid:a"><img src="cid:b">' + "<p>Lorem ipsum dolor sit amet</p>" * 60
PICTURES = tuple(InlineImage(f"{cid}.png", "image/png", bytes(range(256)) * 80, cid) for cid in "ab")
BIG = OutgoingMessage(
    to=(EmailAddress("bob@corp.example", "Bob"),),
    subject="Quarterly report",
    body_html=HTML,
    attachments=(Attachment("report.pdf", "application/pdf", bytes(range(256)) * 4096),),
    inline_images=PICTURES,
)
SMALL = OutgoingMessage(to=BIG.to, subject="Hi", body_html="<p>Hi</p>")

Pair = tuple[float, float]
"""Seconds of ours and of the plain way, measured one right after the other."""


def plain_json(message: OutgoingMessage) -> bytes:
    """Build the same request as anybody would: base64 to text, then json.dumps over everything."""
    files = [
        {
            "@odata.type": "#microsoft.graph.fileAttachment",
            "name": file.name,
            "contentType": file.content_type,
            "contentBytes": base64.b64encode(file.content).decode(),
        }
        for file in message.files
    ]
    fields = {
        "subject": message.subject,
        "body": {"contentType": "HTML", "content": message.body_html},
        "toRecipients": [{"emailAddress": {"address": a.address, "name": a.name}} for a in message.to],
        "attachments": files,
    }
    return json.dumps({"message": fields, "saveToSentItems": True}).encode()


def plain_mime(message: OutgoingMessage) -> bytes:
    """Build the MIME form with the standard library alone."""
    mail = EmailMessage()
    mail["To"] = ", ".join(a.address for a in message.to)
    mail["Subject"] = message.subject
    mail.set_content("Hi")
    mail.add_alternative(message.body_html, subtype="html")
    for file in message.files:
        maintype, subtype = file.content_type.split("/")
        mail.add_attachment(file.content, maintype=maintype, subtype=subtype, filename=file.name)
    return base64.b64encode(mail.as_bytes())


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def in_turns(ours: Callable[[], object], plain: Callable[[], object]) -> list[Pair]:
    ours(), plain()
    return [(timed(ours), timed(plain)) for _ in range(BUILDS)]


def builds() -> list[tuple[str, list[Pair]]]:
    outlook, limits = Outlook(), Limits()
    both = OutgoingMessage(**{name: getattr(BIG, name) for name in BIG.__slots__} | {"body_text": "Hi"})
    return [
        (
            "JSON, 1 MB attachment and two pictures, against json.dumps",
            in_turns(lambda: bytes(outlook.prepare(BIG, IDS, limits).body), lambda: plain_json(BIG)),
        ),
        (
            "the same with every check before it",
            in_turns(
                lambda: bytes(outlook.prepare(check(BIG, limits), IDS, limits).body), lambda: plain_json(BIG)
            ),
        ),
        (
            "MIME, the same mail with a text body, against email.message",
            in_turns(lambda: bytes(outlook.prepare(both, IDS, limits).body), lambda: plain_mime(both)),
        ),
        (
            "JSON, a small mail, against json.dumps",
            in_turns(lambda: bytes(outlook.prepare(SMALL, IDS, limits).body), lambda: plain_json(SMALL)),
        ),
    ]


@contextmanager
def sandbox() -> Iterator[str]:
    command = [sys.executable, "-m", "adapter.sandbox.graph", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout is None:
            raise RuntimeError("the sandbox has no output")
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def posts(redis_url: str, graph_url: str) -> list[tuple[str, list[Pair]]]:
    settings = Settings.from_environment(
        {"ROLLOUT_REDIS_URL": redis_url, "MS_GRAPH_URL": graph_url, "PROVIDER_MICROSOFT_ENABLED": "true"}
    )
    tokens = {"microsoft": StaticTokens("sandbox-bench")}
    async with (
        Runtime.open(settings, tokens=tokens, registry=CollectorRegistry()) as runtime,
        httpx.AsyncClient() as client,
    ):
        return [
            (name, await races(message, runtime, client, graph_url))
            for name, message in (("1 MB attachment and two pictures", BIG), ("a small mail", SMALL))
        ]


async def races(
    message: OutgoingMessage, runtime: Runtime, client: httpx.AsyncClient, graph_url: str
) -> list[Pair]:
    body = bytes(Outlook().prepare(message, IDS, Limits()).body)
    headers = {"Authorization": "Bearer sandbox-bench", "Content-Type": "application/json"}

    async def bare() -> None:
        reply = await client.post(f"{graph_url}/me/sendMail", content=body, headers=headers)
        reply.raise_for_status()

    async def ours() -> None:
        await outlook_send(
            message.to,
            message.subject,
            message.body_html,
            attachments=message.attachments,
            inline_images=message.inline_images,
            user_id="bench",
            runtime=runtime,
        )

    await at_once(ours)
    await at_once(bare)
    return [(await at_once(ours), await at_once(bare)) for _ in range(ROUNDS)]


async def at_once(send: Callable[[], Awaitable[None]]) -> float:
    started = time.perf_counter()
    await asyncio.gather(*(send() for _ in range(AT_ONCE)))
    return time.perf_counter() - started


def row(name: str, pairs: list[Pair]) -> tuple[str, ...]:
    ratios = [ours / plain for ours, plain in pairs]
    return (
        name,
        f"{median(ratios):.2f}x",
        f"{quantile(ratios, 0.25):.2f} to {quantile(ratios, 0.75):.2f}",
        f"{median([ours for ours, _ in pairs]) * 1e3:.2f}",
        f"{median([plain for _, plain in pairs]) * 1e3:.2f}",
    )


HEADERS = ("", "ratio", "middle half of rounds", "ours, ms", "the plain way, ms")

TEXT = """## Sending

{machine} `make bench ARGS=send` measures this part alone.

Building one request, beside the plainest way to build the same:

{builds}

Posting {at_once} mails at once for one mailbox to a local Graph in another process, beside as many bare
`httpx` POSTs of bytes that lie ready. Ours makes each mail anew while it is sent (the base64 alone is most of
the difference at 1 MB), checks it, asks the gate twice, takes its place in the mailbox (two Redis round
trips) and counts.

{posts}
"""


def main() -> None:
    say("building")
    built = builds()
    say("posting")
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder)) as server,
        server.client() as client,
    ):
        open_flags(client)
        with sandbox() as graph_url:
            posted = asyncio.run(posts(server.url, graph_url))
    write_section(
        "sending",
        TEXT.format(
            machine=machine(),
            builds=table(HEADERS, [row(*measured) for measured in built]),
            at_once=AT_ONCE,
            posts=table(HEADERS, [row(*measured) for measured in posted]),
        ),
    )


if __name__ == "__main__":
    main()
