"""Several sender processes, each with its metrics on a port of its own: nothing shared, nothing lost."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
import redis
from kit.sending import open_flags
from kit.servers import RedisServer
from kit.waiting import wait_until
from prometheus_client.parser import text_string_to_metric_families

from adapter.gate.rule import GateReason
from controller.contract import (
    ACTION_ERROR_TOTAL,
    ACTION_EXEC_TOTAL,
    FLAGS_CHANNEL,
    ROLLOUT_GATE_PERCENT,
    ROLLOUT_GATE_REVISION,
    ROLLOUT_GATE_TOTAL,
    flag_key,
    revision_key,
)

WORKER = """
import asyncio, sys
from prometheus_client import start_http_server
from adapter import EmailAddress, outlook_send
from adapter.sending.runtime import default_runtime

async def work():
    await default_runtime()
    server, _ = start_http_server(0, addr="127.0.0.1")
    print(server.server_port, flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        await outlook_send([EmailAddress("bob@corp.example")], "Hi", body_html="<p>Hi</p>", user_id="u1")
        print("sent", flush=True)

asyncio.run(work())
"""

LOOP_FOR_EACH_MAIL = """
import asyncio, gc
from adapter import EmailAddress, Runtime, outlook_send

for _ in range(3):
    mail = outlook_send([EmailAddress("bob@corp.example")], "Hi", body_html="<p>Hi</p>", user_id="u1")
    print(asyncio.run(mail).request_id != "")
gc.collect()
print(sum(isinstance(found, Runtime) for found in gc.get_objects()))
"""


@dataclass
class Worker:
    """One sender process."""

    process: "subprocess.Popen[str]"
    port: int = 0

    def heard(self) -> str:
        if self.process.stdout is None:
            raise RuntimeError("the worker has no output")
        return self.process.stdout.readline().strip()

    def send(self, count: int) -> None:
        for _ in range(count):
            if self.process.stdin is None:
                raise RuntimeError("the worker has no input")
            self.process.stdin.write("send\n")
            self.process.stdin.flush()
            assert self.heard() == "sent"

    def metric(self, name: str, **labels: str) -> list[float]:
        """Return the values of a metric's children with these labels, as a scrape sees them."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        return [
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]


@contextmanager
def worker(environment: dict[str, str]) -> Iterator[Worker]:
    with subprocess.Popen(
        [sys.executable, "-c", WORKER],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Worker(process)
        finally:
            process.kill()


@pytest.fixture
def environment(redis_server: RedisServer) -> Iterator[dict[str, str]]:
    """Yield the environment of a sender of a local Graph, which runs meanwhile."""
    command = [sys.executable, "-m", "adapter.sandbox.graph", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as graph:
        if graph.stdout is None:
            raise RuntimeError("the sandbox has no output")
        yield {
            **os.environ,
            "ROLLOUT_REDIS_URL": redis_server.url,
            "MS_GRAPH_URL": graph.stdout.readline().strip(),
            "PROVIDER_MICROSOFT_ENABLED": "true",
            "INTEGRATION_TESTS_ENABLED": "true",
            "MS_INTEGRATION_TOKEN": "sandbox-processes",
        }
        graph.terminate()


@pytest.fixture
def workers(environment: dict[str, str], redis_client: redis.Redis) -> Iterator[list[Worker]]:
    open_flags(redis_client)
    redis_client.set(revision_key("microsoft"), 1)
    with ExitStack() as stack:
        started = [stack.enter_context(worker(environment)) for _ in range(3)]
        for one in started:
            one.port = int(one.heard())
        yield started


def test_every_child_is_there_before_the_first_send(workers: list[Worker]) -> None:
    for one in workers:
        assert one.metric(ACTION_EXEC_TOTAL, provider="microsoft", action="outlook.send") == [0, 0]
        assert one.metric(ACTION_ERROR_TOTAL, provider="microsoft", action="outlook.send") == [0]
        gates = one.metric(ROLLOUT_GATE_TOTAL, feature="microsoft")
        assert gates == [0] * (len(GateReason) + 1)


def test_the_counts_of_the_processes_add_up_and_a_dead_one_takes_only_its_own_away(
    workers: list[Worker],
) -> None:
    for count, one in enumerate(workers, start=1):
        one.send(count)
    sent = [one.metric(ACTION_EXEC_TOTAL, action="outlook.send", status="ok") for one in workers]
    assert sent == [[1], [2], [3]]
    dead, *alive = workers
    dead.process.kill()
    dead.process.wait(5)
    alive[0].send(1)
    with pytest.raises(OSError, match="refused"):
        dead.metric(ACTION_EXEC_TOTAL)
    assert [one.metric(ACTION_EXEC_TOTAL, action="outlook.send", status="ok") for one in alive] == [[3], [3]]


def test_each_process_tells_which_flags_it_obeys_itself(
    workers: list[Worker], redis_client: redis.Redis
) -> None:
    assert [one.metric(ROLLOUT_GATE_REVISION, feature="microsoft") for one in workers] == [[1]] * 3
    with redis_client.pipeline() as together:
        together.set(flag_key("microsoft", "rollout_percent"), "12.5")
        together.incr(revision_key("microsoft"))
        together.publish(FLAGS_CHANNEL, "microsoft")
        together.execute()
    for one in workers:
        wait_until(
            lambda one=one: one.metric(ROLLOUT_GATE_REVISION, feature="microsoft") == [2],  # type: ignore[misc]
            what="the revision",
        )
        assert one.metric(ROLLOUT_GATE_PERCENT, feature="microsoft") == [12.5]


def test_a_process_that_runs_a_loop_for_each_mail_keeps_nothing_of_those_that_ended(
    environment: dict[str, str], redis_client: redis.Redis
) -> None:
    open_flags(redis_client)
    command = [sys.executable, "-c", LOOP_FOR_EACH_MAIL]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["True"] * 3 + ["0"], done.stderr
