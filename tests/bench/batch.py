"""Graph's `$batch` beside single posts: twenty small mails of one mailbox, four of them worked on at once."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import httpx
from bench.report import machine, median, say, table, write_section

from adapter.sandbox.faults import Faults
from adapter.sandbox.graph import Sandbox
from adapter.sandbox.http import Body, Head, SandboxReply

MAILS, AT_ONCE, ROUNDS = 20, 4, 5
WORK_S = 0.15
ROUND_TRIPS_S = (0.005, 0.05)
HEADERS = {"Authorization": "Bearer sandbox-token"}

TEXT = """## `$batch`

{machine} `make bench ARGS=batch` measures this part alone: {mails} small mails of one
mailbox at the sandbox, which works on {at_once} requests of a mailbox at once as Graph does, each for
{work_ms:.0f} ms; those within a batch too. Medians of {rounds} rounds.

{figures}

A batch saves round trips, and nothing of the time that Graph works: {saved}.
For that its mails share one fate. When its answer is lost, twenty outcomes are unknown at once; a pause stops
twenty mails or none; its body holds 4 MiB for all of them together; and each item that was throttled has to
be sent again by itself. So mails go one by one, four at once.
"""


class BatchSandbox(Sandbox):
    """Graph with `$batch`, behind a line on which each request takes a while."""

    round_trip_s = 0.0

    async def _served(self, head: Head, path: str, body: Body) -> SandboxReply:
        await asyncio.sleep(self.round_trip_s)
        if not path.endswith("/$batch"):
            return await super()._served(head, path, body)
        requests = json.loads(await body(head.length))["requests"]
        places = asyncio.Semaphore(AT_ONCE)
        answers = await asyncio.gather(*(self._item(head, one, places) for one in requests))
        content = json.dumps({"responses": answers}).encode()
        return SandboxReply(200, {"content-type": "application/json"}, content)

    async def _item(
        self, head: Head, given: dict[str, object], places: asyncio.Semaphore
    ) -> dict[str, object]:
        content = json.dumps(given["body"]).encode()
        headers = {**head.headers, "content-type": "application/json", "content-length": str(len(content))}

        async def read(_: int) -> bytes:
            return content

        async with places:
            inner = Head("POST", f"/v1.0{given['url']}", headers)
            answer = await super()._served(inner, inner.path, read)
        return {"id": given["id"], "status": answer.status}


def mail(number: int) -> dict[str, object]:
    return {
        "message": {
            "subject": f"Hi {number}",
            "body": {"contentType": "Text", "content": "Hi"},
            "toRecipients": [{"emailAddress": {"address": "bob@corp.example"}}],
            "internetMessageId": f"<{number}-{time.monotonic_ns()}@bench>",
        }
    }


async def one_by_one(client: httpx.AsyncClient) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def post(number: int) -> None:
        async with places:
            answer = await client.post("/me/sendMail", json=mail(number))
        assert answer.status_code == 202, answer.text

    await asyncio.gather(*map(post, range(MAILS)))


async def in_a_batch(client: httpx.AsyncClient) -> None:
    requests = [
        {"id": str(n), "method": "POST", "url": "/me/sendMail", "body": mail(n)} for n in range(MAILS)
    ]
    answer = await client.post("/$batch", json={"requests": requests})
    assert [one["status"] for one in answer.json()["responses"]] == [202] * MAILS


async def seconds(send: Callable[[httpx.AsyncClient], Awaitable[None]], client: httpx.AsyncClient) -> float:
    began = time.perf_counter()
    await send(client)
    return time.perf_counter() - began


async def measured() -> list[tuple[float, float, float]]:
    rows = []
    faults = Faults(latency_s=WORK_S, per_mailbox=AT_ONCE)
    async with (
        BatchSandbox(faults=faults) as graph,
        httpx.AsyncClient(base_url=graph.url, headers=HEADERS, trust_env=False, timeout=30) as client,
    ):
        await one_by_one(client)
        for round_trip_s in ROUND_TRIPS_S:
            graph.round_trip_s = round_trip_s
            rounds = [
                (await seconds(one_by_one, client), await seconds(in_a_batch, client)) for _ in range(ROUNDS)
            ]
            singly, batched = (median([one[way] for one in rounds]) for way in (0, 1))
            rows.append((round_trip_s, singly, batched))
            say(f"round trip {round_trip_s * 1000:.0f} ms: {singly:.3f} s singly, {batched:.3f} s batched")
    return rows


def main() -> None:
    rows = asyncio.run(measured())
    figures = table(
        ("round trip", "four at once, s", "one batch, s", "saved"),
        (
            (f"{trip * 1000:.0f} ms", f"{one:.3f}", f"{all_:.3f}", f"{1 - all_ / one:.0%}")
            for trip, one, all_ in rows
        ),
    )
    trip, one, all_ = rows[-1]
    saved = f"{(one - all_) * 1000 / MAILS:.0f} ms a mail on a line of {trip * 1000:.0f} ms"
    said = {"mails": MAILS, "at_once": AT_ONCE, "work_ms": WORK_S * 1000, "rounds": ROUNDS}
    write_section("batch", TEXT.format(machine=machine(), figures=figures, saved=saved, **said))


if __name__ == "__main__":
    main()
