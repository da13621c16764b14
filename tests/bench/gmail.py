"""Measures sending through Gmail beside the plainest way and writes its section of docs/benchmarks.md.

Usage: python tests/bench/run.py gmail
"""

import asyncio
import base64
import json
import tempfile
from functools import partial
from pathlib import Path

import httpx
from bench.report import machine, median, quantile, say, table, write_section
from bench.send_mails import AT_ONCE, MAILS, TOKEN
from bench.send_race import IDS, Contender, Rounds, at_once, message_of, peers, rounds, sandbox
from kit.sending import open_flags
from kit.servers import RedisServer
from prometheus_client import CollectorRegistry

from adapter import Runtime, Settings, StaticTokens, gmail_send
from adapter.checks.message_checks import check
from adapter.message import Limits, OutgoingMessage
from adapter.providers.gmail import Gmail

OURS, BARE, RAW = "gmail_send", "bare httpx, bytes ready", "bare httpx, `raw` in JSON"
PEER = {"google-api-python-client": "google-api-python-client==2.187.0"}
HEADERS = ("", "ms", "against bare httpx", "middle half of rounds")

TEXT = """## Sending through Gmail

{machine} `make bench ARGS=gmail` measures this part alone.

Sending {at_once} mails at once for one mailbox to a local Gmail in another process, in turns. Bare httpx
posts the bytes that `gmail_send` makes, which are ready; `raw` in JSON builds the request that most clients
make, with every file as base64 in base64. Google's own client has no `async` and runs in threads, in an
environment of its own. The local Gmail reads no further than the head of a mail.

{races}
"""


def ours(message: OutgoingMessage, runtime: Runtime) -> Contender:
    send = partial(
        gmail_send,
        message.to,
        message.subject,
        message.body_html,
        attachments=message.attachments,
        inline_images=message.inline_images,
        user_id="bench",
        runtime=runtime,
    )

    async def once() -> None:
        await send()

    return lambda: at_once(once)


def bare(message: OutgoingMessage, client: httpx.AsyncClient, url: str, *, raw: bool) -> Contender:
    request = Gmail().prepare(check(message, Limits()), IDS, Limits())
    body = bytes(request.body)

    async def once() -> None:
        if raw:
            content = json.dumps({"raw": base64.urlsafe_b64encode(body).decode()}).encode()
            path, kind = "/gmail/v1/users/me/messages/send", "application/json"
        else:
            content, path, kind = body, request.path, "message/rfc822"
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind}
        (await client.post(url + path, content=content, headers=headers)).raise_for_status()

    return lambda: at_once(once)


async def race(redis_url: str, url: str) -> dict[str, Rounds]:
    environment = {"ROLLOUT_REDIS_URL": redis_url, "GOOGLE_API_URL": url, "PROVIDER_GOOGLE_ENABLED": "true"}
    settings, tokens = Settings.from_environment(environment), {"google": StaticTokens(TOKEN)}
    async with (
        Runtime.open(settings, tokens=tokens, registry=CollectorRegistry()) as runtime,
        httpx.AsyncClient(verify=False) as client,  # noqa: S501 (plain http on loopback)
    ):
        with peers(url, "gmail", PEER.values()) as ask:
            return {
                name: await rounds(
                    {
                        OURS: ours(message_of(mail), runtime),
                        BARE: bare(message_of(mail), client, url, raw=False),
                        RAW: bare(message_of(mail), client, url, raw=True),
                        **{peer: ask(peer, name) for peer in PEER},
                    }
                )
                for name, mail in MAILS.items()
            }


def row(name: str, raced: Rounds) -> tuple[str, ...]:
    ratios = [turn[name] / turn[BARE] for turn in raced]
    return (
        name,
        f"{median([turn[name] for turn in raced]) * 1e3:.2f}",
        f"{median(ratios):.2f}x",
        f"{quantile(ratios, 0.25):.2f} to {quantile(ratios, 0.75):.2f}",
    )


def main() -> None:
    say("sending through Gmail, in turns")
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder)) as server,
        server.client() as client,
        sandbox(None, "gmail", "--heads-only") as url,
    ):
        open_flags(client, "google")
        raced = asyncio.run(race(server.url, url))
    races = (
        f"{mail[0].upper()}{mail[1:]}:\n\n{table(HEADERS, [row(name, turns) for name in turns[0]])}"
        for mail, turns in raced.items()
    )
    write_section("gmail", TEXT.format(machine=machine(), at_once=AT_ONCE, races="\n\n".join(races)))


if __name__ == "__main__":
    main()
