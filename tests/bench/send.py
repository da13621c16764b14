"""Measures sending beside the plainest way to do it and writes the section "Sending" of docs/benchmarks.md.

Usage: python tests/bench/run.py send
"""

import asyncio
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from bench.report import ROOT, machine, median, quantile, say, table, write_section
from bench.send_mails import AT_ONCE, MAILS
from bench.send_processes import HEADERS as PROCESS_HEADERS
from bench.send_processes import over_processes
from bench.send_race import (
    BARE,
    IDS,
    OURS,
    PEER_PACKAGES,
    Rounds,
    environment,
    message_of,
    race,
    race_over_tls,
    sandbox,
)
from kit.sending import open_flags
from kit.servers import RedisServer

from adapter.checks.message_checks import check
from adapter.message import Limits, OutgoingMessage
from adapter.providers.outlook import Outlook

BUILDS = 80
BIG, SMALL = (message_of(mail) for mail in MAILS.values())

Pair = tuple[float, float]
"""Seconds of ours and of the plain way, measured one right after the other."""


def plain_json(message: OutgoingMessage) -> bytes:
    """Build the same request as anybody would: base64 to text, then json.dumps over everything."""
    files = [
        {
            "@odata.type": "#microsoft.graph.fileAttachment",
            "name": file.name,
            "contentType": file.content_type,
            "contentBytes": base64.b64encode(file.content[:]).decode(),
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


def row(name: str, pairs: list[Pair]) -> tuple[str, ...]:
    ratios = [ours / plain for ours, plain in pairs]
    return (
        name,
        f"{median(ratios):.2f}x",
        f"{quantile(ratios, 0.25):.2f} to {quantile(ratios, 0.75):.2f}",
        f"{median([ours for ours, _ in pairs]) * 1e3:.2f}",
        f"{median([plain for _, plain in pairs]) * 1e3:.2f}",
    )


def race_rows(rounds: Rounds) -> list[tuple[str, ...]]:
    """Return each contender's time, and by how much ours is faster in the same round."""
    names = [name for name in (OURS, BARE, *PEER_PACKAGES) if name in rounds[0]]
    return [(name, *figures([turn[name] for turn in rounds], rounds)) for name in names]


def figures(times: list[float], rounds: Rounds) -> tuple[str, ...]:
    to_bare = [own / turn[BARE] for own, turn in zip(times, rounds, strict=True)]
    to_ours = [own / turn[OURS] for own, turn in zip(times, rounds, strict=True)]
    return (
        f"{median(times) * 1e3:.2f}",
        f"{median(to_bare):.2f}x",
        f"{quantile(to_bare, 0.25):.2f} to {quantile(to_bare, 0.75):.2f}",
        f"{median(to_ours):.2f}x",
    )


def many(redis_url: str, graph_url: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.send_many"],
        env={**os.environ, **environment(redis_url, graph_url)},
        stdout=subprocess.PIPE,
        check=True,
        cwd=ROOT,
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


BUILD_HEADERS = ("", "ratio", "middle half of rounds", "ours, ms", "the plain way, ms")
RACE_HEADERS = ("", "ms", "against bare httpx", "middle half of rounds", "against ours")

TEXT = """## Sending

{machine} `make bench ARGS=send` measures this part alone.

Building one request, beside the plainest way to build the same:

{builds}

Sending {at_once} mails at once for one mailbox to a local Graph in another process, in turns. Bare httpx
posts bytes that are ready; all others build each mail. Ours besides checks it, asks the gate twice, takes
its place in the mailbox (two Redis round trips) and counts. The peers run in an environment of their own, set
up as their documentation says (O365, which has no `async`, in threads and without its delay of 200 ms).

{races}

10,000 small mails with an idempotency key each from one process, 16 at once: {mails_s:.0f} mails/s; resident
memory {early_mb:.1f} MB after the first 1,000 and {late_mb:.1f} MB after all.

From several processes, 16 sends at once in each, each with a port of its own for its metrics; what all ports
count adds up to the sends. The sandbox, which is one process, and Redis share the cores with them and are the
limit here: how it grows follows from what a send costs its own process.

{processes}
"""


def main() -> None:
    say("building")
    built = builds()
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder)) as server,
        server.client() as client,
        sandbox() as graph_url,
        sandbox(Path(folder) / "certificates") as tls_url,
    ):
        open_flags(client)
        say("sending in turns")
        raced = asyncio.run(race(server.url, graph_url))
        ca_file = Path(folder) / "certificates" / "ca.pem"
        raced |= asyncio.run(race_over_tls(server.url, tls_url, ca_file))
        say("sending many")
        sent = many(server.url, graph_url)
        say("sending from several processes")
        shared = over_processes(environment(server.url, graph_url), client)
    write_section(
        "sending",
        TEXT.format(
            machine=machine(),
            builds=table(BUILD_HEADERS, [row(*measured) for measured in built]),
            at_once=AT_ONCE,
            races="\n\n".join(
                f"{name[0].upper()}{name[1:]}:\n\n{table(RACE_HEADERS, race_rows(rounds))}"
                for name, rounds in raced.items()
            ),
            processes=table(PROCESS_HEADERS, shared),
            **sent,
        ),
    )


if __name__ == "__main__":
    main()
