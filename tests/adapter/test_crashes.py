"""A send that is given up or killed anywhere between its call and its end makes no second copy."""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from kit.examples import amount
from kit.sending import Sender, open_flags, open_sender
from kit.servers import RedisServer
from kit.waiting import patience, until

from adapter.sandbox.faults import Faults
from adapter.sandbox.graph import Sandbox
from adapter.sending.idempotency import redis_key
from adapter.sending.one_send import new_ids

KILLS = amount("KILLS", soak=50, usually=1)
GIVEN_UP = amount("MAILS", soak=1000, usually=150)
MAILS = 24

WORKER = """
import asyncio
from adapter import EmailAddress, Runtime, StaticTokens, outlook_send

async def work():
    async with Runtime.open(tokens={"microsoft": StaticTokens("sandbox-token")}) as runtime:
        print("ready", flush=True)
        await asyncio.gather(*(
            outlook_send([EmailAddress("ann@corp.example", "Ann")], "Hi", "<p>Hi</p>", user_id=f"u{n}",
                         idempotency_key="k", runtime=runtime)
            for n in range(%d)
        ))

asyncio.run(work())
"""


async def settled(sender: Sender, **given: str) -> tuple[str, bool]:
    """Return the code of a call, and whether it gave an earlier result, once no other call is under way."""
    async with asyncio.timeout(30 * patience()):
        while True:
            outcome = await sender.outcome(**given)
            if outcome.code != "MS_SEND_PENDING":
                return outcome.code, outcome.result is not None and outcome.result.replayed
            await asyncio.sleep(0.05)


async def given_up(sender: Sender, key: str, after_s: float) -> str:
    """Give a send up, call again, and return how the key ended; raises AssertionError for a second copy."""
    graph, posts = sender.graph, sender.graph.posts
    task = asyncio.create_task(sender.send(idempotency_key=key))
    await asyncio.sleep(after_s)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    code, replayed = await settled(sender, idempotency_key=key)
    copies = graph.copies[new_ids("outlook.send", "u1", key).internet_message_id]
    assert copies == 1 or (copies == 0 and code == "MS_SEND_UNKNOWN")
    assert replayed or code or graph.posts == posts + 1, "a key is free only where nothing had left"
    return code or ("replayed" if replayed else "sent now")


async def test_a_send_that_is_given_up_at_any_moment_is_free_sent_or_unknown(
    sender: Sender, graph: Sandbox, redis_client: redis.Redis
) -> None:
    graph.faults = Faults(latency_s=0.003)
    dice, loop = random.Random(20), asyncio.get_running_loop()
    began = loop.time()
    await sender.send(idempotency_key="first")
    whole_s = loop.time() - began
    moments = [0.0, *(dice.uniform(0, whole_s) for _ in range(GIVEN_UP))]
    ends = {await given_up(sender, f"k{n}", moment) for n, moment in enumerate(moments)}
    assert {"sent now", "MS_SEND_UNKNOWN"} <= ends <= {"sent now", "MS_SEND_UNKNOWN", "replayed"}
    assert redis_client.keys("rollout:mailbox:*") == []


@contextmanager
def worker(environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", WORKER % MAILS], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_a_process_that_is_killed_leaves_nothing_that_is_sent_twice(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    open_flags(redis_client)
    dice = random.Random(20)
    settings = {
        "ROLLOUT_REDIS_URL": redis_server.url,
        "MS_GRAPH_URL": graph.url,
        "PROVIDER_MICROSOFT_ENABLED": "true",
        "ROLLOUT_SEND_DEADLINE_S": "2",
    }
    for _ in range(KILLS):
        redis_client.delete(*(redis_key("outlook.send", f"u{n}", "k") for n in range(MAILS)))
        graph.copies.clear()
        graph.faults = Faults(latency_s=0.1, latency_share=0.7, seed=dice.randrange(1000))
        posts = graph.posts
        with worker({**os.environ, **settings}) as process:
            if process.stdout is None:
                raise RuntimeError("the worker has no output")
            await asyncio.to_thread(process.stdout.readline)
            await until(lambda: graph.posts > posts + MAILS // 3)  # noqa: B023 (called before it changes)
            await asyncio.sleep(dice.random() / 10)
            process.kill()
        graph.faults = Faults()
        async with open_sender(redis_server.url, graph, environment=settings) as sender:
            ends = await asyncio.gather(
                *(settled(sender, idempotency_key="k", user_id=f"u{n}") for n in range(MAILS))
            )
        assert {code for code, _ in ends} <= {"", "MS_SEND_UNKNOWN"}
        assert max(graph.copies.values()) == 1
        sure = sum(not code for code, _ in ends)
        assert sure <= len(graph.copies), "what is called sent is there"
